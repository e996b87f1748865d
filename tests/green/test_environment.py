"""Where components connect to: environment, globals, arguments; and what if they cannot."""

from __future__ import annotations

import os
import time
from pathlib import Path

import gevent
import gevent.server
import pika.exceptions
import pytest

from postage import messaging
from postage.errors import (
    AuthenticationFailed,
    BrokerUnreachable,
    ConnectionFailed,
    VhostRefused,
)
from postage.testing.rabbitmq import free_ports
from postage.testing.waiting import wait_until
from tests.support.broker import listen, take
from tests.support.definitions import ALICE, SECRET_OF_ALICE, VHOSTS
from tests.support.programs import Program, run_program
from tests.support.raw import raw_to
from tests.support.running import running, value

pytestmark = pytest.mark.usefixtures("broker_env")

LOGIN_VHOST = VHOSTS[0]


class Meeting(messaging.Exchange):
    name = "environment"


class Producer(messaging.GenericProducer):
    eks = [(Meeting, "rk")]  # noqa: RUF012 - the classic form


EQK = [(Meeting, [({"name": "environment", "flags": {"auto_delete": True}}, "rk")])]


@pytest.fixture(scope="module")
def other_vhost(_fresh_vhosts):
    """A second vhost of this module's own."""
    return _fresh_vhosts.pop()


@pytest.fixture
def elsewhere(broker_env, other_vhost):
    """Plain pika connected to the second vhost."""
    with raw_to(broker_env.hup, other_vhost) as opened:
        yield opened


@pytest.fixture
def queue(raw):
    """A queue in the module's own vhost that gets what `Producer` sends."""
    return listen(raw, Meeting, "rk")


def without_postage():
    """Return the environment of the tests without any variable of ours."""
    return {name: value for name, value in os.environ.items() if not name.startswith("POSTAGE_")}


# --- rows 2 to 4: the environment of a program

SEND = """
from postage import messaging

class Meeting(messaging.Exchange):
    name = "environment"

class Producer(messaging.GenericProducer):
    eks = [(Meeting, "rk")]

Producer({"name": "program"}).message_hello("caff\u00e8")
"""


def as_variables(env):
    """Return *env* as single variables."""
    return env.variables()


def as_url(env):
    """Return *env* as one URL."""
    return {"POSTAGE_URL": env.url}


@pytest.mark.row(2)
@pytest.mark.parametrize("form", [as_variables, as_url])
def test_a_program_goes_where_its_environment_says(broker_env, raw, queue, form):
    ended = run_program("-c", SEND, env=without_postage() | form(broker_env))

    assert (ended.code, ended.stderr) == (0, "")
    assert take(raw, queue)["content"] == {"parameters": "caff\u00e8"}


@pytest.mark.row(2)
def test_the_fingerprint_tells_the_vhost_of_the_environment(broker_env, raw, queue):
    run_program("-c", SEND, env=broker_env.environment())

    assert take(raw, queue)["fingerprint"]["vhost"] == broker_env.vhost


@pytest.fixture
def at_login_vhost(broker_env):
    """Plain pika connected to the vhost that alice may enter, too."""
    with raw_to(broker_env.hup, LOGIN_VHOST) as opened:
        yield opened


@pytest.fixture
def alice(broker_env):
    """The environment of a program which logs in as alice."""
    names = {"POSTAGE_USER": ALICE, "POSTAGE_PASSWORD": SECRET_OF_ALICE}
    return broker_env.environment() | names | {"POSTAGE_VHOST": LOGIN_VHOST}


@pytest.mark.row(3)
def test_a_program_with_deprecated_variables_logs_in_and_is_warned(alice, at_login_vhost):
    queue = listen(at_login_vhost, Meeting, "rk")
    for name in ("USER", "PASSWORD"):
        alice[f"POSTAGE_RMQ_{name}"] = alice.pop(f"POSTAGE_{name}")

    ended = run_program("-W", "always", "-c", SEND, env=alice)

    assert ended.code == 0
    assert "DeprecationWarning: POSTAGE_RMQ_USER is deprecated, set POSTAGE_USER" in ended.stderr
    assert "POSTAGE_RMQ_PASSWORD is deprecated, set POSTAGE_PASSWORD" in ended.stderr
    assert SECRET_OF_ALICE not in ended.stderr
    assert take(at_login_vhost, queue)["name"] == "hello"


@pytest.mark.row(4)
@pytest.mark.parametrize("value", ["true", "True", "TRUE"])
def test_debug_mode_shows_what_is_sent_and_no_password(alice, at_login_vhost, value):
    listen(at_login_vhost, Meeting, "rk")

    ended = run_program("-c", SEND, env=alice | {"POSTAGE_DEBUG_MODE": value})

    assert ended.code == 0
    assert "--> Producer: to (environment, rk): {'type': 'command', 'name': 'hello'" in ended.stderr
    assert SECRET_OF_ALICE not in ended.stdout + ended.stderr


@pytest.mark.row(4)
@pytest.mark.parametrize("value", ["", "false", "1"])
def test_without_debug_mode_a_program_is_quiet(broker_env, value):
    ended = run_program("-c", SEND, env=broker_env.environment() | {"POSTAGE_DEBUG_MODE": value})

    assert (ended.code, ended.stdout, ended.stderr) == (0, "", "")


SET_UP = """
import logging, sys
logging.basicConfig(stream=sys.stdout, format="own form: %(name)s %(message)s")
"""


@pytest.mark.row(4)
def test_debug_output_goes_where_the_program_logs_to(broker_env):
    env = broker_env.environment() | {"POSTAGE_DEBUG_MODE": "true"}

    ended = run_program("-c", SET_UP + SEND, env=env)

    assert ended.stderr == ""
    assert "own form: postage.green.producer --> Producer" in ended.stdout


RECEIVE = """
from postage import messaging, microthreads

class Meeting(messaging.Exchange):
    name = "environment"

class Receiver(messaging.MessageProcessor):
    pass

scheduler = microthreads.MicroScheduler()
queue = {"name": "debugged", "flags": {"auto_delete": True}}
scheduler.add_microthread(Receiver({"name": "r"}, [(Meeting, [(queue, "debugged")])], None, None))
print("ready", flush=True)
for _ in scheduler.main():
    pass
"""


@pytest.mark.row(4)
def test_debug_mode_shows_what_is_received(alice):
    with Program("-c", RECEIVE, env=alice | {"POSTAGE_DEBUG_MODE": "true"}) as program:
        program.wait_for_line("ready")
        Producer(vhost=LOGIN_VHOST).message_quit(_key="debugged")
        ended = program.wait()

    assert ended.code == 0
    assert "<-- Receiver: {'type': 'command', 'name': 'quit'" in ended.stderr
    assert SECRET_OF_ALICE not in ended.stdout + ended.stderr


@pytest.mark.row(2)
def test_the_environment_is_read_when_a_producer_is_made(
    raw, queue, elsewhere, other_vhost, monkeypatch
):
    there = listen(elsewhere, Meeting, "rk")
    Producer().message_here()
    monkeypatch.setenv("POSTAGE_VHOST", other_vhost)
    Producer().message_there()

    assert (take(raw, queue)["name"], take(elsewhere, there)["name"]) == ("here", "there")
    assert raw.count(queue) == elsewhere.count(there) == 0


@pytest.mark.row(2, 6)
def test_the_globals_are_read_when_a_producer_is_made(elsewhere, other_vhost, monkeypatch):
    there = listen(elsewhere, Meeting, "rk")
    monkeypatch.setattr(messaging, "global_vhost", other_vhost)

    assert Producer().vhost == other_vhost
    Producer().message_there()
    assert take(elsewhere, there)["name"] == "there"


# --- row 5: host, user, password


def a_producer(**where):
    """Return a producer."""
    return Producer(None, **where)


def a_consumer(**where):
    """Return a consumer."""
    return messaging.GenericConsumer(EQK, **where)


def a_processor(**where):
    """Return the consumer of a processor."""
    return messaging.MessageProcessor({"name": "p"}, EQK, **where).consumer


every_component = pytest.mark.parametrize("component", [a_producer, a_consumer, a_processor])


@pytest.mark.row(5)
@every_component
@pytest.mark.parametrize(
    "keys", [("host", "user", "password"), ("host", "user", "password", "port")]
)
def test_a_hup_is_an_argument_of_every_component(broker_env, monkeypatch, component, keys):
    for name in ("HOST", "USER", "PASSWORD"):
        monkeypatch.setenv(f"POSTAGE_{name}", "nonsense")

    made = component(hup={key: broker_env.hup[key] for key in keys})

    assert made.settings.host == broker_env.host
    assert made.settings.port == broker_env.port


@pytest.mark.row(5)
@pytest.mark.parametrize("base", [messaging.GenericProducer, messaging.GenericConsumer])
def test_a_hup_is_a_class_attribute_which_an_argument_beats(broker_env, monkeypatch, base):
    for name in ("HOST", "PORT", "USER", "PASSWORD"):
        monkeypatch.delenv(f"POSTAGE_{name}")
    right, wrong = broker_env.hup, {**broker_env.hup, "port": 1}

    assert type("Made", (base,), {"hup": right})().settings.port == broker_env.port
    assert type("Made", (base,), {"hup": wrong})(None, right).settings.port == broker_env.port


@pytest.mark.row(5)
@every_component
def test_the_default_is_global_hup(broker_env, monkeypatch, component):
    monkeypatch.setattr(messaging, "global_hup", broker_env.hup)
    for name in ("HOST", "PORT", "USER", "PASSWORD"):
        monkeypatch.delenv(f"POSTAGE_{name}")

    assert component().settings.port == broker_env.port


@pytest.mark.row(5)
@every_component
def test_a_hup_names_who_logs_in(rabbitmq, broker_env, component):
    hup = {**broker_env.hup, "user": ALICE, "password": SECRET_OF_ALICE}

    assert component(hup=hup, vhost=LOGIN_VHOST).settings.user == ALICE


# --- row 6: virtual hosts


def by_environment(monkeypatch, vhost):
    """Return a producer that goes to *vhost* because its environment says so."""
    monkeypatch.setenv("POSTAGE_VHOST", vhost)
    return Producer()


def by_attribute(monkeypatch, vhost):
    """Return a producer whose class says so."""
    return type("There", (Producer,), {"vhost": vhost})()


def by_argument(monkeypatch, vhost):
    """Return a producer that was told so, against its class."""
    return type("There", (Producer,), {"vhost": "nonsense"})(None, None, vhost)


@pytest.mark.row(6, 23)
@pytest.mark.parametrize("way", [by_environment, by_attribute, by_argument])
def test_vhosts_separate_what_has_the_same_names(
    raw, queue, elsewhere, other_vhost, monkeypatch, way
):
    there = listen(elsewhere, Meeting, "rk")
    way(monkeypatch, other_vhost).message_hello()

    assert take(elsewhere, there)["name"] == "hello"
    assert raw.count(queue) == 0


class Answering(messaging.MessageProcessor):
    @messaging.RpcHandler("command", "where")
    def where(self, content, reply_func):
        reply_func(self.consumer.vhost)


@pytest.mark.row(6)
def test_processors_in_two_vhosts_answer_their_own_callers(broker_env, other_vhost):
    class Other(messaging.GenericConsumer):
        vhost = other_vhost

    class ThereByItsConsumer(Answering):
        consumer_class = Other

    here, there = Answering({"name": "a"}, EQK), ThereByItsConsumer({"name": "a"}, EQK)
    with running(here, there):
        answers = [value(Producer(vhost=v).rpc_where()) for v in (broker_env.vhost, other_vhost)]

    assert answers == [broker_env.vhost, other_vhost]


# --- row 7: components in other languages


class Home(messaging.MessageProcessor):
    """What the foreign component talks to."""

    def __init__(self, *args):
        self.logged = []
        super().__init__(*args)

    @messaging.RpcHandler("command", "double")
    def double(self, content, reply_func):
        reply_func(content["parameters"] * 2)

    @messaging.MessageHandlerFullBody("command", "log")
    def log(self, body):
        self.logged.append((body["fingerprint"], body["content"]))

    @messaging.MessageHandler("status", "success 42")
    def told(self, content):
        self.logged.append("status")


@pytest.mark.row(7)
def test_a_component_without_postage_takes_part(broker_env, place, raw):
    home = Home({"name": "home"}, place.at((place.queue, "log"), (place.queue, "rk")), None, None)
    home.concurrency = home.consumer.prefetch = 1  # in the order of the queue
    producer = place.producer(rpc_timeout=10)
    producer.fingerprint["name"] = "caller"
    script = str(Path(__file__).with_name("programs") / "foreign.py")

    with (
        running(home),
        Program(script, place.exchange.name, env=broker_env.environment()) as foreign,
    ):
        gevent.spawn(foreign.wait)
        listening(home)
        result = producer.rpc_sum(1, 2, 3, _key="sums")
        producer.message_sum(4, 5, _key="sums")
        ended = foreign.wait()

    assert (ended.code, ended.stderr) == (0, "")
    assert home.logged == [({"name": "foreign"}, {"parameters": "from afar"}), "status"]
    assert (type(result), value(result)) == (messaging.MessageResult, 6)
    assert ended.stdout == "got [4, 5] of caller\n"


def listening(home):
    """Wait until the foreign component has told what it was answered: then it serves, too."""
    wait_until(lambda: "status" in home.logged, 10, "the status of the foreign component")


# --- row 8: what cannot be connected to


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
# The embedded broker has no permissions: who may log in may enter every virtual host.
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


@pytest.mark.row(8)
@every_component
@pytest.mark.parametrize("case", CASES)
def test_a_refusal_is_one_clear_error_at_once(broker_env, quick, component, case):
    changes, vhost, kind, named = REFUSALS[case]
    hup = {**broker_env.hup, **changes}
    hup["port"] = hup["port"] or free_ports(1)[0]
    started = time.monotonic()

    with pytest.raises(kind, match=named) as caught:
        component(hup=hup, vhost=vhost)

    assert time.monotonic() - started < CONNECT_TIMEOUT + 1
    assert_clear(caught.value, hup)


@pytest.mark.row(8)
@every_component
@pytest.mark.parametrize("handle", IMPOSTORS, ids=lambda handle: handle.__name__)
def test_what_is_no_broker_is_one_clear_error_within_the_connect_timeout(
    impostor, broker_env, quick, component, handle
):
    hup = {**broker_env.hup, "port": impostor(handle)}
    started = time.monotonic()

    with pytest.raises(
        BrokerUnreachable, match=r"no AMQP 0-9-1 broker answered at 127\.0\.0\.1"
    ) as caught:
        component(hup=hup)

    assert time.monotonic() - started < CONNECT_TIMEOUT + 1
    assert_clear(caught.value, hup)


@pytest.mark.row(8)
def test_the_errors_carry_what_was_refused(broker_env):
    with pytest.raises(AuthenticationFailed) as caught:
        Producer(hup={**broker_env.hup, "user": "nobody"})
    assert caught.value.user == "nobody"

    with pytest.raises(VhostRefused) as refused:
        Producer(vhost="no-such-vhost")
    assert refused.value.vhost == "no-such-vhost"


@pytest.mark.row(8)
def test_a_failed_login_is_forgotten_when_the_next_one_is_right(broker_env, raw, queue):
    with pytest.raises(AuthenticationFailed):
        Producer(hup={**broker_env.hup, "password": "hush"})

    Producer().message_hello()
    assert take(raw, queue)["name"] == "hello"


@pytest.mark.row(8)
def test_waiting_for_a_silent_host_leaves_other_greenlets_running(impostor, broker_env, quick):
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


@pytest.mark.row(8)
@pytest.mark.parametrize("case", WRONG)
def test_a_program_ends_with_one_line_and_exit_code_3(broker_env, case):
    ended = run_program("-c", FAILING, env=broker_env.environment() | WRONG[case], within=8)

    assert (ended.code, ended.stdout) == (3, "")
    assert ended.stderr.count("\n") == 1, ended.stderr
    assert "hush" not in ended.stderr


@pytest.mark.row(8)
def test_a_program_without_that_ends_with_a_traceback_down_to_the_cause(broker_env):
    ended = run_program("-c", SEND, env=broker_env.environment() | {"POSTAGE_PORT": "1"}, within=8)

    assert ended.code == 1
    assert "ConnectionRefusedError" in ended.stderr
    assert "BrokerUnreachable: no AMQP 0-9-1 broker answered at" in ended.stderr.splitlines()[-1]
