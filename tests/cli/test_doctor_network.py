"""``postage doctor`` at addresses where no broker answers, or none that it may trust."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
from collections.abc import Iterator
from typing import Any

import gevent.server
import gevent.socket
import gevent.ssl
import pytest
from pika import spec

from tests.cli.doctor import Found, doctor
from tests.cli.support import running, with_url
from tests.support.certificates import Certificates
from tests.support.peer import OPEN_OK, START, TUNE, Peer, listening
from tests.support.wire import method

SECRET = "secret-word"
#: Seconds for each step: long enough for a busy machine, except where a server is silent.
PATIENT, SILENT = "20", "1"


def at(
    port: int, timeout: str = PATIENT, *, scheme: str = "amqp", host: str = "127.0.0.1"
) -> Found:
    url = f"{scheme}://guest:{SECRET}@{host}:{port}/"
    found = doctor("--timeout", timeout, env=with_url(url))
    assert SECRET not in found.stdout + found.stderr
    return found


@contextlib.contextmanager
def server(handle: Any, certificates: Certificates | None = None) -> Iterator[int]:
    """Serve every connection with *handle*, in a greenlet, by TLS with *certificates*.

    Yields the port.
    """
    options: dict[str, Any] = {}
    if certificates is not None:
        context = options["ssl_context"] = gevent.ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificates.broker.certfile, certificates.broker.keyfile)

    def handle_all(sock: gevent.socket.socket, _address: object) -> None:
        with contextlib.suppress(OSError, EOFError), sock:
            handle(sock)

    listener = gevent.server.StreamServer(("127.0.0.1", 0), handle_all, **options)
    listener.start()
    try:
        yield listener.server_port
    finally:
        listener.stop(timeout=0)


def until_gone(sock: gevent.socket.socket) -> None:
    while sock.recv(1000):
        pass


def http(sock: gevent.socket.socket) -> None:
    received = b""
    while b"\r\n\r\n" not in received:
        if not (more := sock.recv(1000)):
            return
        received += more
    sock.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")


def amqp(sock: gevent.socket.socket) -> None:
    sock.recv(8)
    sock.sendall(START)
    until_gone(sock)


def test_a_port_that_nobody_listens_on() -> None:
    with socket.socket() as bound:  # bound, and not listening: nobody else gets the port
        bound.bind(("127.0.0.1", 0))
        found = at(bound.getsockname()[1])

    check = found.named("connect 127.0.0.1:")
    assert (found.code, check["rating"]) == (3, "failed")
    assert "no program listens" in check["text"]
    assert "start the broker" in check["remedy"]
    assert found.checks["broker"]["rating"] == "skipped"


def test_a_host_name_that_nobody_has() -> None:
    found = at(5672, host="no-such-host.invalid")

    check = found.checks["look up no-such-host.invalid"]
    assert (found.code, check["rating"]) == (3, "failed")
    assert "correct the host" in check["remedy"] or "name servers" in check["remedy"]


def test_a_port_that_is_silent() -> None:
    with server(until_gone) as port:
        found = at(port, SILENT)

    check = found.named("protocol")
    assert (found.code, check["rating"]) == (3, "failed")
    assert "is silent" in check["text"]
    assert "hangs" in check["remedy"]


def test_a_port_that_speaks_http() -> None:
    with server(http) as port:
        found = at(port, "4")

    check = found.named("protocol")
    assert (found.code, check["rating"]) == (3, "failed")
    assert "HTTP" in check["text"]
    assert "15672" in check["remedy"]


def test_a_port_for_tls_that_is_asked_without(certificates: Certificates) -> None:
    with server(amqp, certificates) as port:
        found = at(port)

    check = found.named("protocol")
    assert (found.code, check["rating"]) == (3, "failed")
    assert "amqps://" in check["remedy"]


def test_a_port_without_tls_that_is_asked_for_it() -> None:
    with server(http) as port:
        found = at(port, "4", scheme="amqps")

    check = found.named("TLS")
    assert (found.code, check["rating"]) == (3, "failed")
    assert "TLS" in check["text"] + check["remedy"]
    assert not [name for name in found.checks if name.startswith("protocol")]


@pytest.mark.parametrize(
    ("ca", "options", "rating", "says"),
    [
        ("ca", "", "ok", "host name and chain are right"),
        ("stranger", "", "failed", "cacertfile"),
        ("ca", "&server_name_indication=other.example", "failed", "another name"),
        ("ca", "&verify=verify_none", "warning", "verify is off"),
        ("missing", "", "failed", "cacertfile"),
    ],
)
def test_certificates(
    certificates: Certificates, ca: str, options: str, rating: str, says: str
) -> None:
    trusted = getattr(certificates, ca, "/no/such/file")
    with server(amqp_that_refuses, certificates) as port:
        url = f"amqps://guest:{SECRET}@127.0.0.1:{port}/?cacertfile={trusted}{options}"
        found = doctor("--timeout", PATIENT, env=with_url(url))

    check = found.named("TLS")
    assert check["rating"] == rating
    assert says in check["text"]
    speaks = rating != "failed"
    assert any(name.startswith("protocol") for name in found.checks) is speaks
    assert found.failed() == (["login"] if speaks else [check["name"]])


def amqp_that_refuses(sock: gevent.socket.socket) -> None:
    """Do the handshake up to the login, and refuse that."""
    peer = Peer(sock)
    peer.next()
    peer.send(START)
    peer.expect(spec.Connection.StartOk)
    peer.send(method(0, spec.Connection.Close(403, "ACCESS_REFUSED - no", 10, 11)))
    peer.until_gone()


def test_of_two_hosts_the_one_that_answers_is_examined() -> None:
    with socket.socket() as bound, server(amqp_that_refuses) as port:
        bound.bind(("127.0.0.1", 0))
        refusing = bound.getsockname()[1]
        url = f"amqp://guest:{SECRET}@127.0.0.1:{refusing},localhost:{port}/"
        found = doctor("--timeout", PATIENT, env=with_url(url))

    assert found.checks[f"connect 127.0.0.1:{refusing}"]["rating"] == "failed"
    assert found.checks["login"]["rating"] == "failed"
    assert "RabbitMQ accepts guest" not in found.checks["login"]["remedy"]


def hang_up(peer: Peer) -> None:
    peer.handshake()
    peer.open_channel()
    peer.next()


def test_a_broker_that_hangs_up_ends_no_other_check() -> None:
    with listening(hang_up) as settings:
        found = at(settings.port)

    assert found.code == 4
    assert "was lost" in found.checks["declare a queue"]["text"]
    assert found.checks["publish"]["rating"] == "failed"


# --- a broker that wants to harm the terminal

ODD = "\x1b[31mRed\nok       login: \u202etxet" + "x" * 2000
HOSTILE_START = method(
    0,
    spec.Connection.Start(
        server_properties={"product": ODD, "version": "4" + ODD[:200]},
        mechanisms="PLAIN",
        locales="en_US",
    ),
)


def hostile(peer: Peer) -> None:
    peer.next()
    peer.send(HOSTILE_START)
    peer.expect(spec.Connection.StartOk)
    peer.send(TUNE)
    peer.expect(spec.Connection.Open)
    peer.send(OPEN_OK)
    number = peer.open_channel()
    peer.expect(spec.Queue.Declare)
    peer.send(method(number, spec.Channel.Close(403, ODD[:200], 50, 10)))
    peer.until_gone()


def test_texts_of_a_hostile_broker_stay_on_their_lines() -> None:
    with listening(hostile) as settings:
        url = f"amqp://guest:{SECRET}@127.0.0.1:{settings.port}/"
        with running("doctor", "--timeout", "3", env=with_url(url)) as program:
            ended = program.wait(30.0)

    lines = ended.stdout.splitlines()
    assert ended.stdout.replace("\n", "").isprintable()
    assert [each for each in lines if each.startswith("ok       login")] == [
        "ok       login: user 'guest'"
    ]
    (version,) = [each for each in lines if " version: " in each]
    assert r"\x1b[31mRed\nok" in version
    assert max(map(len, lines)) < 1500
    assert any("lacks the permission configure on the queue" in each for each in lines)
    assert ended.code == 4, ended


def test_the_same_texts_in_json() -> None:
    with listening(hostile) as settings:
        url = f"amqp://guest:{SECRET}@127.0.0.1:{settings.port}/"
        with running("doctor", "--json", "--timeout", "3", env=with_url(url)) as program:
            ended = program.wait(30.0)

    assert ended.stdout.rstrip("\n").isprintable()
    assert len(json.loads(ended.stdout)["checks"]) > 10
