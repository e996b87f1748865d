"""``postage doctor`` on a broker: logins, rights, alarms, and nothing that stays."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

import pytest
from pika import spec

from postage.broker import BrokerThread
from postage.testing.polling import wait_until
from postage.testing.rabbitmq import RabbitMQNode
from tests.cli.doctor import Found, doctor
from tests.cli.support import SOON, running, with_url
from tests.support.broker_commands import control
from tests.support.certificates import Certificates
from tests.support.peer import Peer, listening
from tests.support.wire import method

PATIENT = ("--timeout", "20")
PREFIX = "postage-doctor-"
ACTS = ["declare a queue", "declare an exchange", "bind", "publish", "consume"]


def examined(env: Any, *arguments: str, **login: str) -> Found:
    """Run the command on the broker of *env*, as the user of *login*."""
    user, password = login.get("user", env.user), login.get("password", env.password)
    vhost = quote(login.get("vhost", env.vhost), safe="")
    url = f"amqp://{user}:{password}@{env.host}:{env.port}/{vhost}"
    return doctor(*PATIENT, *arguments, env=with_url(url))


def test_nothing_fails_on_a_sound_broker(broker_env: Any) -> None:
    found = examined(broker_env)

    assert (found.code, found.failed(), found.stderr) == (0, [], "")
    for name in ("login", "virtual host", "limits", "heartbeat", "alarm", *ACTS):
        assert found.checks[name]["rating"] == "ok", found.checks[name]
    assert found.checks["version"]["rating"] in ("ok", "warning")
    assert "clock" not in found.checks  # no broker here has the plugin for timestamps


def test_a_wrong_password(broker_env: Any) -> None:
    found = examined(broker_env, password="wrong-secret")

    assert (found.code, found.failed()) == (3, ["login"])
    assert "change_password guest" in found.checks["login"]["remedy"]
    assert "wrong-secret" not in found.stdout + found.stderr


def test_a_missing_virtual_host(broker_env: Any) -> None:
    found = examined(broker_env, vhost="no such")

    assert (found.code, found.failed()) == (3, ["virtual host"])
    assert found.checks["login"]["rating"] == "ok"
    assert "rabbitmqctl add_vhost 'no such'" in found.checks["virtual host"]["remedy"]


def test_no_heartbeat_is_a_warning(broker_env: Any) -> None:
    found = doctor(*PATIENT, env=with_url(f"{broker_env.url}?heartbeat=0"))

    assert (found.code, found.checks["heartbeat"]["rating"]) == (0, "warning")


# --- rights


def rights(node: RabbitMQNode, vhost: str, user: str, *patterns: str) -> None:
    """Make *user*, whose rights are *patterns*: configure, write and read."""
    told = ", ".join(f'<<"{each}">>' for each in (user, vhost, *patterns, "t"))
    made = f'rabbit_auth_backend_internal:add_user(<<"{user}">>, <<"pw">>, <<"t">>)'
    control(node, "eval", f"{made}, rabbit_auth_backend_internal:set_permissions({told}).")


@pytest.mark.needs_rabbitmq("permissions")
def test_a_user_without_rights(broker_env: Any, rabbitmq: RabbitMQNode) -> None:
    rights(rabbitmq, broker_env.vhost, "doctor-none", "^$", "^$", "^$")
    found = examined(broker_env, user="doctor-none", password="pw")

    assert found.code == 4
    assert found.failed() == ["declare a queue", "declare an exchange", "publish"]
    for name, right in {
        "declare a queue": "configure on the queue",
        "declare an exchange": "configure on the exchange",
        "publish": "write on the exchange 'amq.default'",
    }.items():
        assert f"lacks the permission {right}" in found.checks[name]["text"]
        assert "set_permissions" in found.checks[name]["remedy"]
    assert found.checks["bind"]["rating"] == found.checks["consume"]["rating"] == "skipped"


@pytest.mark.needs_rabbitmq("permissions")
def test_a_user_who_may_only_declare(broker_env: Any, rabbitmq: RabbitMQNode) -> None:
    rights(rabbitmq, broker_env.vhost, "doctor-some", "^postage-doctor-", "^$", "^$")
    found = examined(broker_env, user="doctor-some", password="pw")

    assert found.failed() == ["bind", "publish", "consume"]
    assert "read on the queue" in found.checks["consume"]["text"]
    assert left_on(rabbitmq, broker_env.vhost) == []


@pytest.mark.needs_rabbitmq("permissions")
def test_a_prefix_suits_a_user_with_patterns(broker_env: Any, rabbitmq: RabbitMQNode) -> None:
    rights(rabbitmq, broker_env.vhost, "doctor-shop", "^shop-", "^shop-", "^shop-")
    found = examined(broker_env, "--prefix", "shop-", user="doctor-shop", password="pw")

    assert (found.code, found.failed()) == (0, [])


@pytest.mark.needs_rabbitmq("TLS")
def test_tls_up_to_the_rights(
    broker_env: Any, rabbitmq: RabbitMQNode, certificates: Certificates
) -> None:
    where = f"localhost:{rabbitmq.tls_port}/{broker_env.vhost}?cacertfile={certificates.ca}"
    found = doctor(*PATIENT, env=with_url(f"amqps://guest:guest@{where}"))

    assert (found.code, found.failed()) == (0, [])
    assert "host name and chain are right" in found.named("TLS 127.0.0.1:")["text"]


# --- what stays on the broker


def left_on(node: RabbitMQNode, vhost: str) -> list[str]:
    """Return the queues and exchanges of the command that exist on a node."""
    code = (
        f'[N || {{resource, _, _, N}} <- rabbit_amqqueue:list_names(<<"{vhost}">>) ++ '
        f'[element(2, X) || X <- rabbit_exchange:list(<<"{vhost}">>)]].'
    )
    return [each for each in control(node, "eval", code).splitlines() if PREFIX in each]


@pytest.mark.needs_rabbitmq("commands")
def test_nothing_stays_on_rabbitmq(broker_env: Any, rabbitmq: RabbitMQNode) -> None:
    assert examined(broker_env).code == 0

    assert left_on(rabbitmq, broker_env.vhost) == []


@contextmanager
def private_broker() -> Iterator[BrokerThread]:
    """A broker for one test, whose faults disturb no other."""
    with BrokerThread() as broker:
        yield broker


def names_on(broker: BrokerThread) -> str:
    """Return all that is declared on *broker*, as text."""
    return str(broker.statistics())


def test_an_alarm_is_found_and_explained() -> None:
    with private_broker() as broker:
        broker.faults.block("low on disk space")
        found = doctor(*PATIENT, env=with_url(broker.url))
        assert PREFIX not in names_on(broker)

    assert (found.code, found.failed()) == (4, ["alarm"])
    assert "low on disk space" in found.checks["alarm"]["text"]
    assert "disk_free_limit" in found.checks["alarm"]["remedy"]
    assert found.checks["publish"]["rating"] == "skipped"
    assert found.checks["consume"]["rating"] == "ok"


@pytest.mark.needs_rabbitmq("memory alarms")
def test_a_memory_alarm_of_rabbitmq_is_found(broker_env: Any, rabbitmq: RabbitMQNode) -> None:
    control(rabbitmq, "set_vm_memory_high_watermark", "0")
    try:
        found = examined(broker_env)
    finally:
        control(rabbitmq, "set_vm_memory_high_watermark", "0.4")

    assert (found.code, found.failed()) == (4, ["alarm"])
    assert "memory" in found.checks["alarm"]["text"]
    assert left_on(rabbitmq, broker_env.vhost) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_leaves_nothing(number: signal.Signals) -> None:
    with private_broker() as broker:
        broker.faults.delay_confirms(100.0)
        with running("doctor", "--timeout", "100", env=with_url(broker.url)) as program:
            program.wait_for_line("bind: permitted", SOON)
            assert PREFIX in names_on(broker)
            program.popen.send_signal(number)
            ended = program.wait(SOON)

        assert ended.code == 128 + number, ended
        assert ended.stderr == "Stopped; nothing is left on the broker.\n"
        wait_until(lambda: PREFIX not in names_on(broker))


ANSWERS: dict[type[Any], Any] = {
    spec.Exchange.Declare: spec.Exchange.DeclareOk(),
    spec.Queue.Bind: spec.Queue.BindOk(),
    spec.Queue.Delete: spec.Queue.DeleteOk(0),
    spec.Exchange.Delete: spec.Exchange.DeleteOk(),
}


def test_interrupted_in_a_declaration_it_still_deletes() -> None:
    """The broker may carry out the declaration after the signal, so the removal must follow it."""
    deleted: list[str] = []

    def serve(peer: Peer) -> None:
        peer.handshake()
        number = peer.open_channel()
        queue = peer.expect(spec.Queue.Declare).method.queue
        program.popen.send_signal(signal.SIGINT)
        answer: Any = spec.Queue.DeclareOk(queue, 0, 0)
        while True:
            peer.send(method(number, answer))
            asked = peer.next().method  # the next declaration, if the answer was faster
            if isinstance(asked, spec.Queue.Delete):
                deleted.append(asked.queue)
            answer = ANSWERS[type(asked)]

    with listening(serve) as settings:
        url = f"amqp://guest:guest@127.0.0.1:{settings.port}/"
        with running("doctor", "--timeout", "100", env=with_url(url)) as program:
            ended = program.wait(SOON)

    assert ended.code == 128 + signal.SIGINT, ended
    (name,) = deleted
    assert name.startswith(PREFIX)
