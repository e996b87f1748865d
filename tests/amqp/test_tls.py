"""TLS with certificates made for the tests: trust, logins, and intact messages."""

from __future__ import annotations

import os
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gevent
import gevent.event
import gevent.socket
import pytest

from postage import messaging
from postage.errors import ConnectionFailed, SettingsError
from postage.green.amqp.connecting import connect_socket, targets
from postage.green.amqp.connection import Connection
from postage.green.amqp.properties import Properties
from postage.green.amqp.stream import SecureStream
from postage.green.runtime import close
from postage.settings import Settings
from postage.testing.polling import wait_until
from postage.testing.rabbitmq import RabbitMQNode
from tests.support.background_thread import repeated_in_thread
from tests.support.certificates import Certificates
from tests.support.definitions import CERTIFIED
from tests.support.raw import listen, raw_to
from tests.support.running import running

pytestmark = pytest.mark.needs_rabbitmq("TLS and EXTERNAL")

SOON = 10.0
MB = 1 << 20
BIG = os.urandom(MB) * 20


@pytest.fixture
def where(rabbitmq: RabbitMQNode, certificates: Certificates) -> Callable[..., Settings]:
    """Make settings for the node, with the changes of a test."""

    def settings(**values: Any) -> Settings:
        base = {"host": "localhost", "port": rabbitmq.tls_port, "tls": True}
        return Settings(**base | {"cacertfile": str(certificates.ca)} | values)

    return settings


@pytest.fixture
def env(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Set the URL, and nothing else, in the environment."""
    for name in [name for name in os.environ if name.startswith("POSTAGE_")]:
        monkeypatch.delenv(name)
    return lambda url: monkeypatch.setenv("POSTAGE_URL", url)


def connected(settings: Settings) -> gevent.socket.socket:
    """Return a socket connected to the address of *settings*, within a limit."""
    with gevent.Timeout(SOON):
        host, port = settings.addresses[0]
        *_, (target, _) = targets(host, port, 10)  # IPv4, if it is localhost
        return connect_socket(settings, host, target)


# --- trust


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_a_broker_with_a_good_certificate_is_trusted(where: Any, host: str) -> None:
    sock = connected(where(host=host))
    try:
        assert sock.version() in ("TLSv1.2", "TLSv1.3")
        assert sock.getsockopt(gevent.socket.IPPROTO_TCP, gevent.socket.TCP_NODELAY)
    finally:
        sock.close()


def test_a_broker_of_another_authority_is_refused(where: Any, certificates: Certificates) -> None:
    for cacertfile in (str(certificates.stranger), ""):
        with pytest.raises(ssl.SSLCertVerificationError) as refused:
            connected(where(cacertfile=cacertfile))
        assert refused.value.verify_code in (19, 20)  # X509_V_ERR_..._ISSUER..., SELF_SIGNED


def test_a_certificate_for_another_host_is_refused(where: Any) -> None:
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        connected(where(host="127.0.0.1", server_name_indication="rabbit.example.org"))


def test_server_hostname_may_differ_from_the_host(where: Any) -> None:
    connected(where(host="127.0.0.1", server_name_indication="localhost")).close()


def test_without_verify_any_certificate_is_accepted(where: Any) -> None:
    connected(where(verify=False, cacertfile="", server_name_indication="other")).close()


def test_a_port_that_speaks_no_tls(where: Any, rabbitmq: RabbitMQNode) -> None:
    with pytest.raises((ssl.SSLError, ConnectionResetError)):
        connected(where(port=rabbitmq.port))


@pytest.mark.parametrize("name", ["cacertfile", "certfile"])
def test_a_file_that_cannot_be_used_is_named(where: Any, name: str, tmp_path: Path) -> None:
    no_pem = tmp_path / "no.pem"
    no_pem.write_text("nothing")
    for file in (tmp_path / "missing.pem", no_pem):
        with pytest.raises(SettingsError, match=f"{name} {file} cannot be used"):
            connected(where(**{name: str(file)}))


def test_an_encrypted_key_does_not_ask_for_its_password(
    where: Any, certificates: Certificates, tmp_path: Path
) -> None:
    from cryptography.hazmat.primitives import serialization as s

    key = s.load_pem_private_key(certificates.client_key.read_bytes(), None)
    secret = s.BestAvailableEncryption(b"secret")
    encrypted = tmp_path / "encrypted.pem"
    encrypted.write_bytes(
        key.private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8, secret)  # type: ignore[union-attr]
    )
    with pytest.raises(SettingsError, match=f"with keyfile {encrypted} cannot be used"):
        connected(where(certfile=str(certificates.client), keyfile=str(encrypted)))


@pytest.mark.parametrize("limit", [gevent.Timeout, TimeoutError])
def test_a_limit_ends_the_handshake_and_leaves_no_socket(limit: type[BaseException]) -> None:
    gone = gevent.event.Event()
    with gevent.socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()

        def serve() -> None:
            peer, _ = silent.accept()
            with peer:
                while peer.recv(65536):
                    pass
            gone.set()

        server = gevent.spawn(serve)
        where = Settings(host="127.0.0.1", port=silent.getsockname()[1], tls=True)
        error = None if limit is gevent.Timeout else limit("over")
        ((target, _),) = targets(where.host, where.port, 10)
        with pytest.raises(limit), gevent.Timeout(1.0, error):  # loading certificates takes time
            connect_socket(where, where.host, target)
        assert gone.wait(SOON)
        server.join(SOON)


# --- logins


def test_a_client_is_known_by_its_certificate(
    where: Any, certificates: Certificates, rabbitmq: RabbitMQNode, connect: Any
) -> None:
    connect(
        where(
            certfile=str(certificates.client_both),
            auth_mechanism="EXTERNAL",
            user="ignored",
            password="ignored",
        )
    )
    rows = rabbitmq.connections("user", "ssl", "auth_mechanism")
    assert {"user": CERTIFIED, "ssl": True, "auth_mechanism": "EXTERNAL"} in rows


def test_without_a_certificate_external_is_refused(where: Any) -> None:
    with pytest.raises(ConnectionFailed):
        Connection(where(auth_mechanism="EXTERNAL"), "a test", lambda *_: None)


def test_the_url_can_hold_all_tls_settings(
    rabbitmq: RabbitMQNode, certificates: Certificates, env: Callable[[str], None]
) -> None:
    query = "&".join(
        (
            f"cacertfile={certificates.ca}",
            f"certfile={certificates.client}",
            f"keyfile={certificates.client_key}",
            "auth_mechanism=external",
            "server_name_indication=localhost",
        )
    )
    env(f"amqps://127.0.0.1:{rabbitmq.tls_port}?{query}")
    settings = Settings.resolve()
    sock = connected(settings)
    sock.close()
    assert settings.auth_mechanism == "EXTERNAL"


# --- all bytes arrive


def test_big_messages_both_ways(where: Any, connect: Any) -> None:
    publishing, consuming = (connect(where()) for _ in range(2))
    assert isinstance(publishing.transport._stream, SecureStream)
    queue = consuming.open_channel()
    name = queue.queue_declare("", exclusive=True)
    got: list[bytes] = []
    sizes = [0, 1, 16_384, 65_536, MB, len(BIG), 100]
    queue.consume(name, lambda delivery: got.append(delivery.body), prefetch=0)
    channel = publishing.confirming.get()

    for size in sizes:
        channel.publish_confirmed("", name, Properties(), BIG[:size], limit=60)
    wait_until(lambda: len(got) == len(sizes), 30)

    assert [len(body) for body in got] == sizes
    assert got[-2] == BIG


def test_many_small_messages(where: Any, connect: Any) -> None:
    connection = connect(where())
    channel = connection.open_channel()
    name = channel.queue_declare("", exclusive=True)
    got: list[bytes] = []
    channel.consume(name, lambda delivery: got.append(delivery.body), prefetch=0)
    bodies = [str(number).encode() for number in range(20_000)]

    for body in bodies:
        channel.publish("", name, Properties(), body)
    wait_until(lambda: len(got) == len(bodies), 30)

    assert got == bodies


@pytest.mark.parametrize("sender", ["beat", "send_waiting"])
def test_two_threads_may_write_while_one_reads(where: Any, connect: Any, sender: str) -> None:
    connection = connect(where())
    channel, confirming = connection.open_channel(), connection.confirming.get()
    name = channel.queue_declare("", exclusive=True)
    got: list[bytes] = []
    # Without acks: the budget of bytes in hand would let the rest of the messages wait.
    channel.consume(name, lambda delivery: got.append(delivery.body), no_ack=True)
    bodies = [BIG[: MB * (number % 5) + number] for number in range(30)]
    with repeated_in_thread(getattr(connection.transport, sender)):
        for body in bodies:
            confirming.publish_confirmed("", name, Properties(), body, limit=60)
        wait_until(lambda: len(got) == len(bodies), 30)
    assert got == bodies


class Exchange(messaging.Exchange):
    name = "tls"


class Echo(messaging.MessageProcessor):
    @messaging.RpcHandler("command", "echo")
    def echo(self, content: Any, reply: Any) -> None:
        reply(content["parameters"])


class Client(messaging.GenericProducer):
    eks = ((Exchange, "echo"),)


def test_a_call_over_tls(
    rabbitmq: RabbitMQNode, certificates: Certificates, env: Callable[[str], None]
) -> None:
    env(f"amqps://localhost:{rabbitmq.tls_port}?cacertfile={certificates.ca}")
    try:
        with running(Echo(eqk=[(Exchange, [("tls-queue", "echo")])])):
            assert Client().rpc_echo("hello").value == "hello"
    finally:
        close()


def test_what_is_written_leaves_while_the_hub_is_held(
    rabbitmq: RabbitMQNode, certificates: Certificates, env: Callable[[str], None]
) -> None:
    env(f"amqps://localhost:{rabbitmq.tls_port}?cacertfile={certificates.ca}")
    user, password, vhost = "guest", "guest", "/"
    hup = {"host": "localhost", "port": rabbitmq.port, "user": user, "password": password}
    try:
        with raw_to(hup, vhost) as raw:
            producer = Client()
            producer.confirm = False
            queue = listen(raw, Exchange, "echo")
            for number in range(20):
                producer.message_hello(number)
                found, end = None, time.monotonic() + SOON
                while not found and time.monotonic() < end:  # in a way that lets no greenlet run
                    found = raw.channel.basic_get(queue, auto_ack=True)[0]
                assert found
    finally:
        close()


def test_a_forked_child_does_not_end_the_session_of_its_parent(where: Any, connect: Any) -> None:
    connection = connect(where())
    child = os.fork()
    if not child:
        try:
            connection.close_socket()
            os._exit(0)
        finally:
            os._exit(1)  # else the child would go on with the tests
    assert os.waitpid(child, 0)[1] == 0
    channel = connection.open_channel()
    name = channel.queue_declare("", exclusive=True)
    connection.confirming.get().publish_confirmed("", name, Properties(), b"x", limit=SOON)


def test_a_connection_that_is_cut_is_noticed(where: Any, connect: Any) -> None:
    connection = connect(where())

    connection.transport.cut()

    wait_until(lambda: not connection.alive, SOON)


def test_a_close_is_announced_to_the_broker(
    where: Any, rabbitmq: RabbitMQNode, connect: Any
) -> None:
    before = rabbitmq.log_text()
    connect(where()).close()

    wait_until(lambda: "closing AMQP connection" in rabbitmq.log_text()[len(before) :], SOON)
    assert "closed unexpectedly" not in rabbitmq.log_text()[len(before) :]
