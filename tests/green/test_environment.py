"""Where components connect to: environment, globals, arguments."""

from __future__ import annotations

import os
from pathlib import Path

import gevent
import pytest

from postage import messaging
from postage.generic_application import GenericApplication
from postage.settings import Settings
from postage.testing.polling import wait_until
from tests.support.components import (
    EQK,
    LOGIN_VHOST,
    SEND,
    EnvExchange,
    Producer,
    every_component,
)
from tests.support.definitions import ALICE, SECRET_OF_ALICE
from tests.support.programs import Program, run_program
from tests.support.raw import listen, raw_to, take
from tests.support.running import running

pytestmark = pytest.mark.usefixtures("broker_env")


@pytest.fixture(scope="module")
def other_vhost(_fresh_vhosts, _broker):
    """A second vhost of this module's own."""
    return _fresh_vhosts.take(_broker)


@pytest.fixture
def elsewhere(broker_env, other_vhost):
    """Plain pika connected to the second vhost."""
    with raw_to(broker_env.hup, other_vhost) as opened:
        yield opened


@pytest.fixture
def queue(raw):
    """A queue in the module's own vhost that gets what `Producer` sends."""
    return listen(raw, EnvExchange, "rk")


def without_postage():
    """Return the environment of the tests without any variable of ours."""
    return {name: value for name, value in os.environ.items() if not name.startswith("POSTAGE_")}


# --- the environment of a program


def as_variables(env):
    """Return *env* as single variables."""
    return env.variables()


def as_url(env):
    """Return *env* as one URL."""
    return {"POSTAGE_URL": env.url}


@pytest.mark.behaviour("environment-variables")
@pytest.mark.parametrize("form", [as_variables, as_url])
def test_a_program_goes_where_its_environment_says(broker_env, raw, queue, form):
    ended = run_program("-c", SEND, env=without_postage() | form(broker_env))

    assert (ended.code, ended.stderr) == (0, "")
    assert take(raw, queue)["content"] == {"parameters": "caff\u00e8"}


@pytest.mark.behaviour("environment-variables")
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


@pytest.mark.behaviour("deprecated-variables")
def test_deprecated_variables_log_in_with_a_warning(alice, at_login_vhost):
    queue = listen(at_login_vhost, EnvExchange, "rk")
    for name in ("USER", "PASSWORD"):
        alice[f"POSTAGE_RMQ_{name}"] = alice.pop(f"POSTAGE_{name}")

    ended = run_program("-W", "always", "-c", SEND, env=alice)

    assert ended.code == 0
    assert "DeprecationWarning: POSTAGE_RMQ_USER is deprecated, set POSTAGE_USER" in ended.stderr
    assert "POSTAGE_RMQ_PASSWORD is deprecated, set POSTAGE_PASSWORD" in ended.stderr
    assert SECRET_OF_ALICE not in ended.stderr
    assert take(at_login_vhost, queue)["name"] == "hello"


@pytest.mark.behaviour("debug-mode")
@pytest.mark.parametrize("value", ["true", "True", "TRUE"])
def test_debug_mode_shows_what_is_sent_and_no_password(alice, at_login_vhost, value):
    listen(at_login_vhost, EnvExchange, "rk")

    ended = run_program("-c", SEND, env=alice | {"POSTAGE_DEBUG_MODE": value})

    assert ended.code == 0
    assert "--> Producer: to (environment, rk): {'type': 'command', 'name': 'hello'" in ended.stderr
    assert SECRET_OF_ALICE not in ended.stdout + ended.stderr


@pytest.mark.behaviour("debug-mode")
@pytest.mark.parametrize("value", ["", "false", "1"])
def test_without_debug_mode_a_program_is_quiet(broker_env, value):
    ended = run_program("-c", SEND, env=broker_env.environment() | {"POSTAGE_DEBUG_MODE": value})

    assert (ended.code, ended.stdout, ended.stderr) == (0, "", "")


SET_UP = """
import logging, sys
logging.basicConfig(stream=sys.stdout, format="own form: %(name)s %(message)s")
"""


@pytest.mark.behaviour("debug-mode")
def test_debug_output_goes_where_the_program_logs_to(broker_env):
    env = broker_env.environment() | {"POSTAGE_DEBUG_MODE": "true"}

    ended = run_program("-c", SET_UP + SEND, env=env)

    assert ended.stderr == ""
    assert "own form: postage.green.producer --> Producer" in ended.stdout


RECEIVE = """
from postage import messaging, microthreads

class EnvExchange(messaging.Exchange):
    name = "environment"

class Receiver(messaging.MessageProcessor):
    pass

scheduler = microthreads.MicroScheduler()
queue = {"name": "debugged", "flags": {"auto_delete": True}}
eqk = [(EnvExchange, [(queue, "debugged")])]
scheduler.add_microthread(Receiver({"name": "r"}, eqk, None, None))
print("ready", flush=True)
for _ in scheduler.main():
    pass
"""


@pytest.mark.behaviour("debug-mode")
def test_debug_mode_shows_what_is_received(alice):
    with Program("-c", RECEIVE, env=alice | {"POSTAGE_DEBUG_MODE": "true"}) as program:
        program.wait_for_line("ready")
        Producer(vhost=LOGIN_VHOST).message_quit(_key="debugged")
        ended = program.wait()

    assert ended.code == 0
    assert "<-- Receiver: {'type': 'command', 'name': 'quit'" in ended.stderr
    assert SECRET_OF_ALICE not in ended.stdout + ended.stderr


@pytest.mark.behaviour("environment-variables")
def test_the_environment_is_read_when_a_producer_is_made(
    raw, queue, elsewhere, other_vhost, monkeypatch
):
    there = listen(elsewhere, EnvExchange, "rk")
    Producer().message_here()
    monkeypatch.setenv("POSTAGE_VHOST", other_vhost)
    Producer().message_there()

    assert (take(raw, queue)["name"], take(elsewhere, there)["name"]) == ("here", "there")
    assert raw.count(queue) == elsewhere.count(there) == 0


@pytest.mark.behaviour("environment-variables", "separate-vhosts")
def test_the_globals_are_read_when_a_producer_is_made(elsewhere, other_vhost, monkeypatch):
    there = listen(elsewhere, EnvExchange, "rk")
    monkeypatch.setattr(messaging, "global_vhost", other_vhost)

    assert Producer().vhost == other_vhost
    Producer().message_there()
    assert take(elsewhere, there)["name"] == "there"


# --- host, user, password


@pytest.mark.behaviour("hup")
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


@pytest.mark.behaviour("hup")
@pytest.mark.parametrize("base", [messaging.GenericProducer, messaging.GenericConsumer])
def test_a_hup_is_a_class_attribute_which_an_argument_beats(broker_env, monkeypatch, base):
    for name in ("HOST", "PORT", "USER", "PASSWORD"):
        monkeypatch.delenv(f"POSTAGE_{name}")
    right, wrong = broker_env.hup, {**broker_env.hup, "port": 1}

    assert type("Made", (base,), {"hup": right})().settings.port == broker_env.port
    assert type("Made", (base,), {"hup": wrong})(None, right).settings.port == broker_env.port


@pytest.mark.behaviour("hup")
@every_component
def test_the_default_is_global_hup(broker_env, monkeypatch, component):
    monkeypatch.setattr(messaging, "global_hup", broker_env.hup)
    for name in ("HOST", "PORT", "USER", "PASSWORD"):
        monkeypatch.delenv(f"POSTAGE_{name}")

    assert component().settings.port == broker_env.port


@pytest.mark.behaviour("hup", "separate-vhosts")
@every_component
def test_given_settings_beat_all_else(broker_env, component):
    settings = Settings.resolve(broker_env.hup, broker_env.vhost)

    made = component(hup={**broker_env.hup, "port": 1}, vhost="nonsense", settings=settings)

    assert made.settings is settings
    assert made.vhost == broker_env.vhost


def test_an_application_hands_its_settings_to_its_producer(broker_env):
    class Application(GenericApplication):
        logging_producer = messaging.GenericProducer

    settings = Settings.resolve(broker_env.hup, broker_env.vhost)
    made = Application({"name": "given"}, "nonsense", settings=settings)

    assert made.consumer.settings is made.logger.settings is settings


@pytest.mark.behaviour("hup")
@every_component
def test_a_hup_names_who_logs_in(rabbitmq, broker_env, component):
    hup = {**broker_env.hup, "user": ALICE, "password": SECRET_OF_ALICE}

    assert component(hup=hup, vhost=LOGIN_VHOST).settings.user == ALICE


# --- virtual hosts


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


@pytest.mark.behaviour("separate-vhosts", "producer-arguments")
@pytest.mark.parametrize("way", [by_environment, by_attribute, by_argument])
def test_vhosts_separate_what_has_the_same_names(
    raw, queue, elsewhere, other_vhost, monkeypatch, way
):
    there = listen(elsewhere, EnvExchange, "rk")
    way(monkeypatch, other_vhost).message_hello()

    assert take(elsewhere, there)["name"] == "hello"
    assert raw.count(queue) == 0


class Answering(messaging.MessageProcessor):
    @messaging.RpcHandler("command", "where")
    def where(self, content, reply_func):
        reply_func(self.consumer.vhost)


@pytest.mark.behaviour("separate-vhosts")
def test_processors_in_two_vhosts_answer_their_own_callers(broker_env, other_vhost):
    class Other(messaging.GenericConsumer):
        vhost = other_vhost

    class ThereByItsConsumer(Answering):
        consumer_class = Other

    here, there = Answering({"name": "a"}, EQK), ThereByItsConsumer({"name": "a"}, EQK)
    with running(here, there):
        answers = [Producer(vhost=v).rpc_where().value for v in (broker_env.vhost, other_vhost)]

    assert answers == [broker_env.vhost, other_vhost]


# --- components in other languages


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


@pytest.mark.behaviour("other-languages")
def test_a_component_without_postage_takes_part(broker_env, endpoint, raw):
    home = Home(
        {"name": "home"}, endpoint.at((endpoint.queue, "log"), (endpoint.queue, "rk")), None, None
    )
    home.concurrency = home.consumer.prefetch = 1  # in the order of the queue
    producer = endpoint.producer(rpc_timeout=10)
    producer.fingerprint["name"] = "caller"
    script = str(Path(__file__).with_name("programs") / "foreign.py")

    with (
        running(home),
        Program(script, endpoint.exchange.name, env=broker_env.environment()) as foreign,
    ):
        gevent.spawn(foreign.wait)
        listening(home)
        result = producer.rpc_sum(1, 2, 3, _key="sums")
        producer.message_sum(4, 5, _key="sums")
        ended = foreign.wait()

    assert (ended.code, ended.stderr) == (0, "")
    assert home.logged == [({"name": "foreign"}, {"parameters": "from afar"}), "status"]
    assert (type(result), result.value) == (messaging.MessageResult, 6)
    assert ended.stdout == "got [4, 5] of caller\n"


def listening(home):
    """Wait until the foreign component has told what it was answered: then it serves, too."""
    wait_until(lambda: "status" in home.logged, 10, "the status of the foreign component")
