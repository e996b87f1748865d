"""Which programs of RabbitMQ a node runs, and what it permits."""

from __future__ import annotations

import socket
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pika
import pika.exceptions
import pytest

from postage.broker import BrokerThread
from postage.testing import installations
from postage.testing import rabbitmq as rabbitmq_module
from postage.testing.installations import RabbitMQMissing, is_installed, program, programs_of
from postage.testing.rabbitmq import RabbitMQFailed, RabbitMQNode, TlsFiles
from postage.testing.vhosts import RabbitMQVhosts


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with RabbitMQ 3.10.8 as Debian has it; the folder for other versions is empty."""
    (tmp_path / "system" / "lib" / "rabbitmq_server-3.10.8").mkdir(parents=True)
    monkeypatch.setattr(installations, "DEBIAN_PROGRAMS", tmp_path / "system" / "bin")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "postage"


def unpack(cache: Path, version: str) -> Path:
    """Make the folder of a version; return that of its programs."""
    folder = cache / f"rabbitmq-{version}"
    (folder / "lib" / f"rabbitmq_server-{version}").mkdir(parents=True)
    return folder / "bin"


@pytest.mark.parametrize(
    ("asked", "found"),
    [("4", "4.10.0"), ("4.3", "4.3.6"), ("4.3.6", "4.3.6"), ("4.0", "4.0.5"), ("4.1", "4.1.0")],
)
def test_the_newest_version_that_fits_is_found(cache: Path, asked: str, found: str) -> None:
    folders = {
        version: unpack(cache, version)
        for version in ("4.3.6", "4.10.0", "4.0.5", "4.3.5", "4.1.0", "5.0.0")
    }

    assert programs_of(asked) == folders[found]


@pytest.mark.parametrize("asked", ["3", "3.10", "3.10.8"])
def test_the_version_of_the_system_is_found(cache: Path, asked: str) -> None:
    unpack(cache, "4.3.6")

    assert programs_of(asked) == cache.parent / "system" / "bin"


@pytest.mark.parametrize("asked", ["4", "4.30", "3.1", "3.10.80", "4.3.6.1"])
def test_a_missing_version_names_those_found(cache: Path, asked: str) -> None:
    if asked != "4":
        unpack(cache, "4.3.6")

    with pytest.raises(RabbitMQMissing, match=rf"RabbitMQ {asked} .*\(found: 3.10.8(, 4.3.6)?\)"):
        programs_of(asked)


def test_the_folder_in_the_environment_comes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("rabbitmq-server", "epmd"):
        (tmp_path / name).touch()
    monkeypatch.setenv("POSTAGE_RABBITMQ_BIN", str(tmp_path))

    assert program("rabbitmq-server") == str(tmp_path / "rabbitmq-server")
    assert program("epmd") == str(tmp_path / "epmd")


def test_a_folder_without_programs_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POSTAGE_RABBITMQ_BIN", str(tmp_path))

    with pytest.raises(RabbitMQMissing, match=f"rabbitmqctl is missing in {tmp_path}"):
        program("rabbitmqctl")
    assert not is_installed()


def test_erlang_may_be_outside_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    epmd = tmp_path / "elsewhere" / "epmd"
    epmd.parent.mkdir()
    epmd.touch(mode=0o755)
    monkeypatch.setenv("POSTAGE_RABBITMQ_BIN", str(tmp_path))
    monkeypatch.setenv("PATH", str(epmd.parent))

    assert program("epmd") == str(epmd)


# --- what a node permits


def declare_transient(node: RabbitMQNode) -> None:
    with pika.BlockingConnection(pika.ConnectionParameters(node.host, node.port)) as connection:
        connection.channel().queue_declare("q", durable=False)


def test_a_node_denies_shared_transient_queues(rabbitmq: RabbitMQNode) -> None:
    """As RabbitMQ 4.3 does by itself, whatever the packager prefers; 3.10 cannot."""
    if rabbitmq.ctl("version").startswith("3."):
        declare_transient(rabbitmq)
    else:
        with pytest.raises(pika.exceptions.ConnectionClosedByBroker, match="transient_nonexcl"):
            declare_transient(rabbitmq)


def test_a_node_may_permit_them_and_be_configured(rabbitmq: RabbitMQNode) -> None:
    with RabbitMQNode(transient_queues=True, configuration="heartbeat = 7\n") as node:
        declare_transient(node)
        assert "{ok,7}" in node.ctl("eval", "application:get_env(rabbit, heartbeat).")
        data = node.base
        assert data is not None

    assert not node.running
    assert not data.exists()


# --- virtual hosts


def test_a_node_gets_more_virtual_hosts_while_it_runs(rabbitmq: RabbitMQNode) -> None:
    more = ["more 1", "more 2"]

    rabbitmq.add_vhosts(more)

    for name in more:
        where = pika.ConnectionParameters(rabbitmq.host, rabbitmq.port, name)
        with pika.BlockingConnection(where) as connection:
            connection.channel().queue_declare("q", durable=True)  # guest may configure


def test_virtual_hosts_that_are_used_up_are_made_many_at_once() -> None:
    made: list[list[str]] = []
    node: Any = SimpleNamespace(host="h", port=1, add_vhosts=lambda names: made.append([*names]))
    vhosts, first = RabbitMQVhosts(node), RabbitMQVhosts.NAMES
    given = [vhosts.open_vhost() for _ in range(3 * len(first))]

    assert given == [*first, *made[0], *made[1]]
    assert len(set(given)) == len(given)


# --- where the data is


@pytest.mark.parametrize(("room", "used"), [(0, True), (1 << 60, False)])
def test_the_data_is_in_memory_if_there_is_room(
    room: int, used: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rabbitmq_module, "MEMORY", tmp_path)
    monkeypatch.setattr(rabbitmq_module, "ROOM", room)

    assert rabbitmq_module._data() == (tmp_path if used else None)


def test_without_a_memory_file_system_the_data_is_on_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rabbitmq_module, "MEMORY", Path("/none"))

    assert rabbitmq_module._data() is None


def test_wrong_configuration_is_reported(rabbitmq: Any) -> None:
    with pytest.raises(RabbitMQFailed, match="no_such_setting"):
        RabbitMQNode(configuration="no_such_setting = 7\n").start()


def test_a_node_is_ready_when_it_listens_for_tls_too() -> None:
    """A node opens that port later, so a test that uses TLS at once would be refused."""
    pem = Path("never-read.pem")
    node = RabbitMQNode(tls=TlsFiles(pem, pem, pem))
    with BrokerThread(port=node.port):
        assert not node._is_ready()
        with socket.create_server((node.host, node.tls_port)):
            assert node._is_ready()
