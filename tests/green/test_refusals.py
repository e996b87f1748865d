"""Brokers that cannot be used: one clear error, in time."""

from __future__ import annotations

import gevent
import gevent.server
import pika.exceptions
import pytest

from postage.errors import (
    AuthenticationFailed,
    BrokerUnreachable,
    ConnectionFailed,
    VhostRefused,
)
from postage.testing.rabbitmq import free_ports
from tests.support.components import SEND, EnvExchange, Producer, every_component
from tests.support.definitions import ALICE, SECRET_OF_ALICE, VHOSTS
from tests.support.programs import run_program
from tests.support.raw import listen, take
from tests.support.stopwatch import Stopwatch

pytestmark = pytest.mark.usefixtures("broker_env")


@pytest.fixture
def impostor():
    """A function that starts a server which is no broker, and returns its port."""
    servers = []

    def start(handle):
        server = gevent.server.StreamServer(("127.0.0.1", 0), handle)
        server.start()
        servers.append(server)
        return server.server_port

    yield start
    for server in servers:
        server.stop(timeout=1)


def silent(sock, _address):
    """Accept, and never say a word."""
    while sock.recv(1000):
        pass


def web(sock, _address):
    """Answer as a web server would."""
    sock.recv(8)
    sock.sendall(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")


def hasty(sock, _address):
    """Hang up at once."""


def newer(sock, _address):
    """Speak another version of AMQP, as the standard tells how to."""
    sock.recv(8)
    sock.sendall(b"AMQP\x00\x01\x00\x00")


def binary(sock, _address):
    """Answer what looks like the start of a frame, and is none."""
    sock.recv(8)
    sock.sendall(b"\x01\x00\x00\x00\x00\x00\x04\x00\x0a\x00\x0b\xff" * 20)
    sock.recv(1000)


CONNECT_TIMEOUT = 1.0

#: What is changed of the hup, the vhost; what is raised, and what its text names.
REFUSALS = {
    "wrong password": ({"password": "hush"}, None, AuthenticationFailed, "user 'guest'"),
    "unknown user": ({"user": "nobody"}, None, AuthenticationFailed, "user 'nobody'"),
    "no password": ({"password": ""}, None, AuthenticationFailed, "user 'guest'"),
    "unknown vhost": ({}, "no-such-vhost", VhostRefused, "'no-such-vhost'"),
    "forbidden vhost": (
        {"user": ALICE, "password": SECRET_OF_ALICE},
        VHOSTS[1],
        VhostRefused,
        f"user 'alice' the virtual host '{VHOSTS[1]}'",
    ),
    "no such host": ({"host": "no-such-host.invalid"}, None, BrokerUnreachable, "no-such-host"),
    "nobody listens": ({"port": None}, None, BrokerUnreachable, "127.0.0.1:"),
}
# The embedded broker has no permissions: every user may enter every virtual host.
CASES = [
    pytest.param(case, marks=pytest.mark.needs_rabbitmq("permissions"))
    if case == "forbidden vhost"
    else case
    for case in REFUSALS
]
IMPOSTORS = [silent, web, hasty, newer, binary]


def assert_clear(error, hup):
    """Check that *error* says where, in one line, tells no secret, and keeps its cause."""
    assert isinstance(error, ConnectionFailed)
    assert (error.host, error.port) == (hup["host"], hup["port"])
    assert f"{hup['host']}:{hup['port']}" in str(error)
    assert "\n" not in str(error)
    assert not any(secret in str(error) for secret in ("hush", SECRET_OF_ALICE))
    assert isinstance(error.__cause__, (pika.exceptions.AMQPError, OSError))


@pytest.fixture
def quick(monkeypatch, broker_env):
    """A short connect timeout, by the only way that leads through the whole library."""
    for name in broker_env.variables():
        monkeypatch.delenv(name)
    monkeypatch.setenv("POSTAGE_URL", f"{broker_env.url}?connect_timeout={CONNECT_TIMEOUT}")


@pytest.mark.behaviour("login-failure")
@every_component
@pytest.mark.parametrize("case", CASES)
def test_a_refusal_is_one_clear_error_at_once(broker_env, quick, component, case):
    changes, vhost, kind, named = REFUSALS[case]
    hup = {**broker_env.hup, **changes}
    hup["port"] = hup["port"] or free_ports(1)[0]
    watch = Stopwatch()

    with pytest.raises(kind, match=named) as caught:
        component(hup=hup, vhost=vhost)

    assert watch.own < CONNECT_TIMEOUT + 1
    assert_clear(caught.value, hup)


@pytest.mark.behaviour("login-failure")
@every_component
@pytest.mark.parametrize("handle", IMPOSTORS, ids=lambda handle: handle.__name__)
def test_a_peer_that_is_no_broker_is_one_clear_error(
    impostor, broker_env, quick, component, handle
):
    hup = {**broker_env.hup, "port": impostor(handle)}
    watch = Stopwatch()

    with pytest.raises(
        BrokerUnreachable, match=r"no AMQP 0-9-1 broker answered at 127\.0\.0\.1"
    ) as caught:
        component(hup=hup)

    assert watch.own < CONNECT_TIMEOUT + 1
    assert_clear(caught.value, hup)


@pytest.mark.behaviour("login-failure")
def test_the_errors_carry_what_was_refused(broker_env):
    with pytest.raises(AuthenticationFailed) as caught:
        Producer(hup={**broker_env.hup, "user": "nobody"})
    assert caught.value.user == "nobody"

    with pytest.raises(VhostRefused) as refused:
        Producer(vhost="no-such-vhost")
    assert refused.value.vhost == "no-such-vhost"


@pytest.mark.behaviour("login-failure")
def test_a_failed_login_is_forgotten_when_the_next_one_is_right(broker_env, raw):
    queue = listen(raw, EnvExchange, "rk")
    with pytest.raises(AuthenticationFailed):
        Producer(hup={**broker_env.hup, "password": "hush"})

    Producer().message_hello()
    assert take(raw, queue)["name"] == "hello"


@pytest.mark.behaviour("login-failure")
def test_other_greenlets_run_while_a_host_is_silent(impostor, broker_env, quick):
    hup = {**broker_env.hup, "port": impostor(silent)}
    connecting = [gevent.spawn(Producer, None, hup) for _ in range(10)]
    turns = 0
    while not all(greenlet.dead for greenlet in connecting):
        gevent.sleep(0.01)
        turns += 1

    assert turns > 20
    assert all(isinstance(greenlet.exception, BrokerUnreachable) for greenlet in connecting)


FAILING = """
from postage.cli import exit_codes
""" + SEND.replace("\nProducer(", "\nwith exit_codes():\n    Producer(")

WRONG = {
    "wrong password": {"POSTAGE_PASSWORD": "hush"},
    "unknown vhost": {"POSTAGE_VHOST": "no-such-vhost"},
    "unknown host": {"POSTAGE_HOST": "no-such-host.invalid"},
    "nobody listens": {"POSTAGE_PORT": "1"},
}


@pytest.mark.behaviour("login-failure")
@pytest.mark.parametrize("case", WRONG)
def test_a_program_ends_with_one_line_and_exit_code_3(broker_env, case):
    ended = run_program("-c", FAILING, env=broker_env.environment() | WRONG[case], within=8)

    assert (ended.code, ended.stdout) == (3, "")
    assert ended.stderr.count("\n") == 1, ended.stderr
    assert "hush" not in ended.stderr


@pytest.mark.behaviour("login-failure")
def test_an_uncaught_refusal_is_a_traceback_with_its_cause(broker_env):
    ended = run_program("-c", SEND, env=broker_env.environment() | {"POSTAGE_PORT": "1"}, within=8)

    assert ended.code == 1
    assert "ConnectionRefusedError" in ended.stderr
    assert "BrokerUnreachable: no AMQP 0-9-1 broker answered at" in ended.stderr.splitlines()[-1]
