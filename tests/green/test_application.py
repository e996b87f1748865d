"""Generic applications: found by name, host, process, instance and group."""

from __future__ import annotations

import contextlib
import os
import socket
from typing import Any

import pytest

from postage import generic_application, green, messaging
from postage.errors import IdentityTaken
from postage.generic_application import GenericApplication, GenericApplicationExchange
from postage.testing.polling import wait_until
from tests.support.endpoints import Endpoint, exchange
from tests.support.programs import Program
from tests.support.running import SOON, consuming, running

pytestmark = pytest.mark.usefixtures("broker_env")

HOST = socket.gethostname()
SCRIPT = "tests/green/programs/applications.py"


class Marker(messaging.GenericProducer):
    """Sends marks to applications."""

    eks = ((GenericApplicationExchange, "nowhere"),)
    rpc_timeout = 10
    max_retry = 0


# --- every key, over two processes


class Fleet:
    """Applications by what the tests call them, each with the key that reaches it alone."""

    def __init__(self, marker: Marker, keys: dict[str, str], **pids: int) -> None:
        self.marker, self.keys = marker, keys
        self.names = {"host": HOST, **pids}

    def command(self, command: str, group: str, *whom: str) -> None:
        """Tell each application of *whom* to join or leave *group*, and wait until it has."""
        for key in map(self.keys.__getitem__, whom):
            done = self._done(key)
            getattr(self.marker, f"message_{command}")(group_name=group, _key=key)
            wait_until(lambda key=key, done=done: self._done(key) > done, SOON)

    def _done(self, key: str) -> int:
        """Return how many messages it has done with, while it consumes from all its queues."""
        told = self.marker.rpc_describe(_key=key).value
        is_settled = told["statistics"]["state"] == "consuming"
        return told["statistics"]["handled"] - told["inquiries"] if is_settled else -1

    def marked(self, mark: str) -> dict[str, int]:
        """Return how often the mark reached each of the applications that it reached."""
        counts = {
            who: self.marker.rpc_marks(mark, _key=key).value for who, key in self.keys.items()
        }
        return {who: count for who, count in counts.items() if count}


@pytest.fixture(scope="module")
def fleet(broker_env):
    """Four running applications in two processes, which have joined and left groups since."""
    with contextlib.ExitStack() as stack:
        one = stack.enter_context(Program(SCRIPT, "web#blue,left", "web", "worker#blue"))
        two = stack.enter_context(Program(SCRIPT, "web#blue,left"))
        for program in (one, two):
            program.wait_for_line("ready")
        keys = {
            "web 0": f"{one.pid}.0@{HOST}",
            "web 1": f"{one.pid}.1@{HOST}",
            "worker": f"{one.pid}.2@{HOST}",
            "far web": f"{two.pid}.0@{HOST}",
        }
        fleet = Fleet(Marker(), keys, one=one.pid, two=two.pid)
        fleet.command("join_group", "late", "web 1", "worker", "far web")
        fleet.command("join_group", "left", "web 1")
        fleet.command("leave_group", "left", "web 0")
        fleet.command("join_group", "brief", "worker")
        fleet.command("leave_group", "brief", "worker")
        yield fleet


WEBS = {"web 0", "web 1", "far web"}
ONE = {"web 0", "web 1", "worker"}

# The key, with {one} and {two} for the processes, and the applications that it reaches.
FAN_OUT = {
    "web": WEBS,
    "worker": {"worker"},
    "@{host}": WEBS | {"worker"},
    "web@{host}": WEBS,
    "worker@{host}": {"worker"},
    "{one}@{host}": ONE,
    "{two}@{host}": {"far web"},
    "{one}.0@{host}": {"web 0"},
    "{one}.1@{host}": {"web 1"},
    "{one}.2@{host}": {"worker"},
    "{two}.0@{host}": {"far web"},
    "web#blue": {"web 0", "far web"},
    "worker#blue": {"worker"},
    "web#late": {"web 1", "far web"},
    "worker#late": {"worker"},
    "web#left": {"web 1", "far web"},
}
ROUND_ROBIN = {
    "web/rr": WEBS,
    "worker/rr": {"worker"},
    "web@{host}/rr": WEBS,
    "worker@{host}/rr": {"worker"},
    "web#blue/rr": {"web 0", "far web"},
    "worker#blue/rr": {"worker"},
    "web#late/rr": {"web 1", "far web"},
    "worker#late/rr": {"worker"},
    "web#left/rr": {"web 1", "far web"},
}
NOBODY = [
    *("nobody", "nobody/rr", "@nowhere", "web@nowhere", "web@nowhere/rr", "web#", "web#none"),
    *(
        "web#none/rr",
        "worker#left",
        "worker#brief",
        "{one}@nowhere",
        "{two}.1@{host}",
        "@{host}/rr",
    ),
]


@pytest.mark.behaviour("application-keys", "application-groups")
@pytest.mark.parametrize(("key", "expected"), FAN_OUT.items(), ids=FAN_OUT.keys())
def test_a_fan_out_key_reaches_every_instance_once(fleet, key, expected):
    key = key.format(**fleet.names)

    fleet.marker.message_mark(key, _key=key)

    assert fleet.marked(key) == dict.fromkeys(expected, 1)


@pytest.mark.behaviour("application-keys", "application-groups")
@pytest.mark.parametrize(("key", "expected"), ROUND_ROBIN.items(), ids=ROUND_ROBIN.keys())
def test_a_round_robin_key_reaches_one_instance_after_the_other(fleet, key, expected):
    key = key.format(**fleet.names)
    each = 4

    for _ in range(each * len(expected)):
        fleet.marker.message_mark(key, _key=key)

    wait_until(lambda: sum(fleet.marked(key).values()) >= each * len(expected), SOON)
    assert fleet.marked(key) == dict.fromkeys(expected, each)


@pytest.mark.behaviour("application-keys", "application-groups")
@pytest.mark.parametrize("key", NOBODY)
def test_any_other_key_reaches_nobody(fleet, key):
    assert fleet.marker.rpc_ping(_key=key.format(**fleet.names)).value == "NoRoute"


# --- what an application is


@pytest.mark.behaviour("application-arguments")
def test_the_exchange_of_generic_applications():
    assert GenericApplicationExchange.parameters == {
        "exchange": "generic-application-exchange",
        "exchange_type": "direct",
        "passive": False,
        "durable": True,
        "auto_delete": False,
        "arguments": {},
    }
    assert GenericApplication.exchange_class is GenericApplicationExchange


class Local(GenericApplication):
    """Remembers marks; lives in the process of the test."""

    def __init__(self, *args: Any, **kwds: Any) -> None:
        self.marks: list[Any] = []
        super().__init__(*args, **kwds)

    @messaging.MessageHandler("command", "mark")
    def mark(self, content):
        self.marks.append(content["parameters"])


def local(endpoint: Endpoint, suffix: str = "", **kwds: Any) -> Local:
    """Return an application whose name no other test uses."""
    return Local({"name": endpoint.queue + suffix}, **kwds)


@pytest.mark.behaviour("application-arguments")
def test_it_can_be_instanced_as_it_is_with_a_vhost_and_a_hup(endpoint, broker_env):
    with pytest.MonkeyPatch.context() as patch:
        for variable in broker_env.variables():
            patch.delenv(variable)
        plain = GenericApplication({"name": endpoint.queue}, broker_env.vhost, hup=broker_env.hup)

    assert plain.vhost == broker_env.vhost
    assert plain.groups == []
    with running(plain):
        assert Marker().rpc_ping(_key=endpoint.queue).value == plain.fingerprint


@pytest.mark.behaviour("application-arguments")
def test_groups_are_not_shared_between_instances(endpoint):
    one, other = local(endpoint), local(endpoint)
    one.join_group("mine")

    assert (one.groups, other.groups) == (["mine"], [])
    assert Local({"name": endpoint.queue}, None, ["given"]).groups == ["given"]


@pytest.mark.behaviour("application-arguments")
def test_another_exchange_class_replaces_the_exchange(endpoint):
    own = exchange(endpoint.sub("own"))

    class Elsewhere(Local):
        exchange_class = own

    with running(Elsewhere({"name": endpoint.queue})):
        producer = endpoint.producer(eks=[(own, endpoint.queue)])
        assert producer.rpc_ping().value["name"] == endpoint.queue
        assert Marker().rpc_ping(_key=endpoint.queue).value == "NoRoute"


# --- queues


@pytest.mark.behaviour("application-keys")
def test_the_queues_end_with_their_last_application(endpoint, raw):
    pid = endpoint.sub("pid")
    fingerprint = {"name": endpoint.queue, "pid": pid, "host": "h"}
    first, second, third = (Local(fingerprint) for _ in range(3))
    names = [endpoint.queue, f"{endpoint.queue}@h", f"{pid}@h", f"{pid}.1@h", f"{pid}.2@h"]

    own = [application.uid["name"] for application in (first, second, third)]
    assert [first.sid["name"], first.hid["name"], *own] == names
    assert all(first.uid["flags"][flag] for flag in ("exclusive", "auto_delete"))
    with running(first, second, third):
        assert raw.exists(endpoint.queue)
        assert raw.exists(f"{endpoint.queue}@h")

    # Exclusive queues cannot be looked at from another connection; a name is free when one is gone.
    for name in names:
        wait_until(lambda queue=name: not raw.exists(queue), SOON)


@pytest.mark.behaviour("application-keys")
def test_a_taken_instance_name_is_an_error_that_says_what_to_do(endpoint, raw):
    fingerprint = {"name": endpoint.queue, "pid": endpoint.sub("pid"), "host": "h"}
    own = f"{endpoint.sub('pid')}@h"
    raw.declare(own, durable=False, exclusive=True, auto_delete=True)

    with pytest.raises(IdentityTaken, match=r"host name .* Fingerprint\(name, host=") as caught:
        Local(fingerprint)

    assert (caught.value.code, caught.value.queue) == (405, own)
    assert not raw.exists(endpoint.queue)
    assert not raw.exists(f"{endpoint.queue}@h")


@pytest.mark.behaviour("application-keys")
def test_numbers_count_the_applications_of_this_process():
    one, two = (Local({"name": f"number-{number}"}) for number in range(2))

    assert one.address.process_key == two.address.process_key == f"{os.getpid()}@{HOST}"
    assert two.address.number == one.address.number + 1


# --- groups


@pytest.mark.behaviour("application-groups")
def test_join_group_and_leave_group_come_as_commands(endpoint):
    member, stranger = local(endpoint, "-a"), local(endpoint, "-b")
    key, group = member.fingerprint["name"], {"group_name": "late"}
    marker = Marker()
    with running(member, stranger):
        marker.message_join_group(group, _key=key)
        wait_until(lambda: member.groups == ["late"], SOON)
        wait_until(lambda: (f"{key}#late", f"{key}#late/rr") in member.consumer.qk_list, SOON)
        marker.message_mark("fan-out", _key=f"{key}#late")
        marker.message_mark("round robin", _key=f"{key}#late/rr")
        wait_until(lambda: len(member.marks) == 2, SOON)

        marker.message_leave_group(group, _key=key)
        wait_until(lambda: member.groups == [], SOON)
        assert marker.rpc_ping(_key=key).value["name"] == key
        marker.message_mark("left", _key=f"{key}#late")
        marker.message_mark("left", _key=f"{key}#late/rr")
        marker.message_mark("the end", _key=key)
        wait_until(lambda: "the end" in member.marks, SOON)

    assert sorted(member.marks) == ["fan-out", "round robin", "the end"]
    assert stranger.marks == []


@pytest.mark.behaviour("application-groups")
def test_joining_twice_and_leaving_what_one_never_joined_is_fine(endpoint):
    member = local(endpoint, groups=["g"])
    with running(member):
        member.join_group("g")
        member.leave_group("another")
        Marker().message_mark(1, _key=f"{endpoint.queue}#g")
        wait_until(lambda: member.marks == [1], SOON)

    assert member.groups == ["g"]


# --- ping and logging


@pytest.mark.behaviour("application-ping-and-log")
@pytest.mark.parametrize("key", ["{name}", "{name}/rr", "{name}@{host}", "{name}@{host}/rr"])
def test_ping_answers_the_fingerprint(endpoint, key):
    application = local(endpoint)
    with running(application):
        answer = Marker().rpc_ping(_key=key.format(name=endpoint.queue, host=HOST))

    assert answer.value == application.fingerprint
    assert answer.value["pid"] == str(os.getpid())


def test_describe_reports_statistics_and_counts_inquiries(endpoint):
    asking = Marker()
    with running(local(endpoint)):
        full = asking.rpc_describe(_key=endpoint.queue).value
        asking.rpc_ping(_key=endpoint.queue)
        asking.message_mark(1, _key=endpoint.queue)
        brief = asking.rpc_describe(brief=True, _key=endpoint.queue).value

    assert full.keys() - brief.keys() == {"handlers", "queues", "doc", "failures"}
    assert full["statistics"]["state"] == brief["statistics"]["state"] == "consuming"
    assert [each["statistics"]["handled"] for each in (full, brief)] == [0, 3]
    assert [each["inquiries"] for each in (full, brief)] == [0, 2]
    assert brief["uptime"] > full["uptime"]


class Payer(GenericApplication):
    retry = green.Retry(now=1, delays=(5, 30), on=ConnectionError)
    park_calls = True
    kill_switch = green.KillSwitch(after=5)

    @messaging.MessageHandler("command", "pay")
    @green.retry(None)
    @green.time_limit(2.5)
    def pay(self, content: Any) -> None:
        """Pay."""

    @messaging.MessageHandler("command", "cancel")
    @green.time_limit(1)
    @green.limit(5)
    @green.retry(now=3, on=(OSError, ValueError))
    def cancel(self, content: Any) -> None:
        """Cancel."""

    @messaging.MessageHandler("command", "refund")
    @green.time_limit(3)
    class Refund(messaging.Handler):
        def call(self, content: Any) -> None:
            """Refund."""


def test_describe_tells_what_becomes_of_failed_messages(endpoint):
    application = Payer(messaging.Fingerprint(endpoint.queue, "application").as_dict())
    with running(application):
        told = Marker().rpc_describe(_key=endpoint.queue).value

    handlers = {each["name"]: each for each in told["handlers"]}
    usual = {"now": 1, "delays": [5.0, 30.0], "jitter": 0.2, "on": ["ConnectionError"]}
    own = {"now": 3, "delays": [], "jitter": 0.2, "on": ["OSError", "ValueError"]}
    assert told["failures"] == {
        "retry": usual,
        "park": "{queue}.parked",
        "park_calls": True,
        "max_deliveries": 20,
        "kill_switch": {"after": 5, "probe": 30.0},
    }
    assert handlers["cancel"]["limit"] == {"concurrency": 5, "rate": None}
    assert (handlers["pay"]["retry"], handlers["pay"]["time_limit"]) == (None, 2.5)
    assert (handlers["cancel"]["retry"], handlers["cancel"]["time_limit"]) == (own, 1)
    assert (handlers["refund"].get("retry", "usual"), handlers["refund"]["time_limit"]) == (
        *("usual", 3),
    )
    assert not {"retry", "time_limit", "limit"} & handlers["ping"].keys()


@pytest.mark.behaviour("application-ping-and-log")
def test_the_logger_is_a_stub_unless_a_producer_is_given(endpoint):
    assert local(endpoint).logger.log("nobody hears this") is None
    assert Local.logging_producer is generic_application.GenericApplication.logging_producer


@pytest.mark.behaviour("application-ping-and-log")
@pytest.mark.parametrize("own_method", [False, True], ids=["any-producer", "with-log-method"])
def test_the_logger_works_with_a_real_producer(endpoint, own_method):
    class Logs(messaging.GenericProducer):
        eks = endpoint.eks

    if own_method:
        Logs.log = lambda self, text: self.message_log(f"mine: {text}")

    class Logging(Local):
        logging_producer = Logs

    with consuming(messaging.GenericConsumer(endpoint.eqk)) as got:
        application = Logging({"name": endpoint.sub("app")})
        application.logger.log("hello")
        application.join_group("g")
        wait_until(lambda: len(got) == 2, SOON)

    consumer = messaging.GenericConsumer()
    bodies = [consumer.decode(body) for _, _, _, body in got]
    said = "mine: hello" if own_method else "hello"
    assert bodies[0]["content"]["parameters"] == said
    assert "g" in bodies[1]["content"]["parameters"]
    assert {body["fingerprint"]["name"] for body in bodies} == {endpoint.sub("app")}
    assert {(body["type"], body["name"]) for body in bodies} == {("command", "log")}
