"""Where versions of RabbitMQ differ, the broker is like the one that was asked for."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest

from postage.broker import Broker, BrokerThread, embedded
from postage.broker.core.clock import ManualTimers
from postage.broker.core.likeness import LIKENESSES, Likeness, likeness_of
from postage.broker.core.validation import REPLY_TO
from postage.broker.core.vhost import VHost
from postage.broker.session.node import Node
from postage.broker.wire.exceptions import ChannelFault, ConnectionFault, Fault
from postage.errors import SettingsError
from tests.support.core import fill, new_exchange, new_queue
from tests.support.frame_client import FrameClient, closed_with, names_of

QUORUM = {"x-queue-type": "quorum"}
ONLY_CLASSIC = ("x-max-priority", "x-queue-mode", "x-queue-version", "x-queue-master-locator")
NEWER = (
    "x-consumer-disconnected-timeout",
    "x-consumer-timeout",
    "x-delayed-retry-max",
    "x-delayed-retry-min",
    "x-delayed-retry-type",
    "x-stream-filter-size-bytes",
)
"""Arguments that RabbitMQ 3.10 does not know, and which classic queues of 4.3 cannot have."""

on_each = pytest.mark.parametrize("like", LIKENESSES)


def new_vhost(like: str, **options: Any) -> VHost:
    """Return an empty virtual host."""
    return Node(ManualTimers(), likeness=likeness_of(like, **options)).vhosts["/"]


def outcome(like: str, arguments: dict[str, Any] | None = None, **flags: Any) -> str:
    """Return how the declaration of a queue ends: ``ok``, or the kind and text of the refusal."""
    try:
        new_queue(new_vhost(like), flags.pop("name", "q"), arguments, **flags)
    except Fault as exc:
        kind = "channel" if isinstance(exc, ChannelFault) else "connection"
        return f"{kind} {exc.code} {exc}".replace(" queue 'q' in vhost '/'", " Q")
    return "ok"


def test_every_fact_differs_somewhere() -> None:
    """A fact that is the same for all versions needs no place in the table."""
    for fact in fields(Likeness):
        values = [getattr(each, fact.name) for each in LIKENESSES.values()]
        assert any(value != values[0] for value in values), fact.name


def test_another_version_is_refused() -> None:
    for like in ("3", "4.4", "", 4.3, None):
        with pytest.raises(SettingsError, match=r"like must be .* one of 4.3, 3.10, not"):
            Broker(like=like)  # type: ignore[arg-type]


@pytest.mark.parametrize(("like", "version"), [("4.3", "4.3.6"), ("3.10", "3.10.8")])
def test_clients_are_told_the_version(like: str, version: str) -> None:
    client = FrameClient(Node(ManualTimers(), likeness=likeness_of(like)))
    properties = client.start().server_properties
    assert (properties["product"], properties["version"]) == ("postage-embedded", version)


def test_the_likeness_of_a_url() -> None:
    old = embedded("likeness?like=3.10", "a")
    assert old.broker.node.likeness is LIKENESSES["3.10"]
    assert embedded("likeness", "b") is embedded("likeness?like=3.10") is old
    with pytest.raises(SettingsError, match=r"runs already, with the options .*3.10.* name"):
        embedded("likeness?like=4.3")
    permissive = embedded("likeness-2?transient_queues=true")
    assert permissive.broker.node.likeness.transient_queues
    assert not embedded("likeness-3").broker.node.likeness.transient_queues
    with pytest.raises(SettingsError, match="transient_queues must be true or false"):
        embedded("likeness-4?transient_queues=perhaps")


# --- the handshake


@pytest.mark.parametrize(
    ("like", "frame_max", "is_refused"),
    [("4.3", 4096, True), ("4.3", 8191, True), ("4.3", 8192, False), ("3.10", 4096, False)],
)
def test_the_smallest_frame(like: str, frame_max: int, is_refused: bool) -> None:
    client = FrameClient(Node(ManualTimers(), likeness=likeness_of(like)))
    if is_refused:
        client.start()
        client.log_in()
        client.send_method("connection.tune_ok", frame_max=frame_max)
        closed_with(client, 530, "lower than the minimum allowed value (8192)")
    else:
        client.open(1, frame_max=frame_max)
        assert client.connection.frame_max == frame_max


# --- declarations


@pytest.mark.parametrize("flags", [{}, {"auto_delete": True}, {"name": ""}], ids=str)
@pytest.mark.parametrize("arguments", [{}, {"x-expires": 60_000}, {"x-queue-mode": "x"}], ids=str)
def test_transient_queues_that_are_shared(arguments: dict[str, Any], flags: Any) -> None:
    refused = outcome("4.3", arguments, durable=False, **flags)
    text = "Feature `transient_nonexcl_queues` is deprecated.\n"
    assert refused.startswith(f"connection 541 INTERNAL_ERROR - {text}")
    assert "transient_queues=True" in refused
    allowed = {**arguments, "x-queue-mode": "lazy"}
    assert outcome("3.10", allowed, durable=False, **flags) == "ok"
    name = flags.get("name", "q")
    new_queue(new_vhost("4.3", transient_queues=True), name, arguments, durable=False)


@on_each
def test_transient_queues_that_are_exclusive(like: str) -> None:
    assert outcome(like, durable=False, owner=object()) == "ok"


def test_errors_that_precede_the_denial_of_transience() -> None:
    wrong = {"x-max-length": -1}
    refused = outcome("4.3", wrong, durable=False)
    assert refused.startswith("channel 406 PRECONDITION_FAILED - invalid arg 'x-max-length'")
    assert outcome("3.10", QUORUM, durable=False).endswith("invalid property 'non-durable' for Q")
    assert outcome("4.3", QUORUM, durable=False).startswith("connection 541")


@pytest.mark.parametrize(
    ("arguments", "new", "old"),
    [
        ({"x-queue-version": 1}, ": \"unsupported queue version '1'\"", "ok"),
        ({"x-queue-version": 2}, "ok", "ok"),
        ({"x-queue-leader-locator": "balanced"}, "ok", "foreign"),
        ({"x-queue-leader-locator": 1}, ": {unacceptable_type,signedint}", "foreign"),
        ({"x-queue-mode": "what"}, "ok", ": \"unsupported queue mode 'what'\""),
        ({"x-queue-mode": 1}, "ok", ": {unacceptable_type,signedint}"),
        ({"x-queue-type": ""}, "ok", ": \"unsupported queue type ''\""),
        ({"x-queue-type": "undefined"}, "ok", ": \"unsupported queue type 'undefined'\""),
        *(({name: 1000}, "foreign", "ok") for name in NEWER),
        ({"x-delivery-limit": -1}, "foreign", "foreign"),
        ({"x-stream-offset": "first"}, "ok", "ok"),
    ],
    ids=lambda each: str(each)[:40],
)
def test_arguments_of_classic_queues(arguments: dict[str, Any], new: str, old: str) -> None:
    (name,) = arguments
    for like, expected in (("4.3", new), ("3.10", old)):
        text = " of queue type rabbit_classic_queue" if expected == "foreign" else expected
        full = f"channel 406 PRECONDITION_FAILED - invalid arg '{name}' for Q{text}"
        assert outcome(like, arguments) == ("ok" if expected == "ok" else full)


def test_master_locators() -> None:
    refused = outcome("4.3", {"x-queue-master-locator": "client-local"})
    text = "INTERNAL_ERROR - Feature `queue_master_locator` is deprecated.\n"
    assert refused.startswith(f"connection 541 {text}")
    assert outcome("3.10", {"x-queue-master-locator": "client-local"}) == "ok"


@on_each
@pytest.mark.parametrize("name", ONLY_CLASSIC)
def test_quorum_queues_lack_arguments_of_classic_ones(like: str, name: str) -> None:
    text = f"invalid arg '{name}' for Q of queue type rabbit_quorum_queue"
    assert outcome(like, {**QUORUM, name: "odd"}) == f"channel 406 PRECONDITION_FAILED - {text}"


@on_each
def test_the_broker_names_no_quorum_queue(like: str) -> None:
    for flags in ({}, {"owner": object()}):
        text = "Cannot declare a server-named queue for type rabbit_quorum_queue"
        refused = outcome(like, QUORUM, name="", **flags)
        assert refused == f"channel 406 PRECONDITION_FAILED - {text}"


@pytest.mark.parametrize("value", [-1, "a"])
@pytest.mark.parametrize("name", ["x-consumer-timeout", "x-consumer-disconnected-timeout"])
def test_timeouts_of_quorum_queues(name: str, value: Any) -> None:
    assert outcome("3.10", {**QUORUM, name: value}) == "ok"
    assert f"invalid arg '{name}' for Q" in outcome("4.3", {**QUORUM, name: value})


@pytest.mark.parametrize(
    ("first", "then", "new", "old"),
    [
        (QUORUM, {}, ("'classic'", "'quorum'"), ("none", "the value 'quorum' of type 'longstr'")),
        ({}, QUORUM, ("'quorum'", "'classic'"), ("the value 'quorum' of type 'longstr'", "none")),
        (QUORUM, {"x-queue-type": "classic"}, *[("'classic'", "'quorum'")] * 2),
        ({}, {"x-queue-type": "classic"}, None, None),
        (
            {},
            {"x-queue-leader-locator": "balanced"},
            ("the value 'balanced' of type 'longstr'", "none"),
            None,
        ),
        ({}, {"x-delivery-limit": 5}, None, None),
        (QUORUM, {**QUORUM, "x-max-priority": 5}, None, None),
        (
            QUORUM,
            {**QUORUM, "x-delayed-retry-min": 5},
            ("the value '5' of type 'signedint'", "none"),
            None,
        ),
        (
            QUORUM,
            {**QUORUM, "x-delivery-limit": 5},
            *[("the value '5' of type 'signedint'", "none")] * 2,
        ),
    ],
)
def test_a_second_declaration(first: Any, then: Any, new: Any, old: Any) -> None:
    for like, expected in (("4.3", new), ("3.10", old)):
        virtual_host = new_vhost(like)
        new_queue(virtual_host, "q", first)
        if expected is None:
            new_queue(virtual_host, "q", then)
            continue
        with pytest.raises(ChannelFault) as refused:
            new_queue(virtual_host, "q", then)
        received, current = expected
        assert str(refused.value).endswith(f"received {received} but current is {current}")


@pytest.mark.parametrize(
    ("like", "fault", "code"), [("4.3", ChannelFault, 406), ("3.10", ConnectionFault, 503)]
)
@pytest.mark.parametrize("type_", ["x-odd", "Direct", "x-consistent-hash"])
def test_unknown_types_of_exchanges(like: str, fault: type[Fault], code: int, type_: str) -> None:
    with pytest.raises(fault, match=f"unknown exchange type '{type_}'") as refused:
        new_exchange(new_vhost(like), "e", type_)
    assert refused.value.code == code


# --- consuming


@pytest.mark.parametrize(("like", "delivered"), [("4.3", [2, 2]), ("3.10", [2, 0])])
def test_a_prefetch_for_the_whole_channel(like: str, delivered: list[int]) -> None:
    """RabbitMQ 4.3 takes it for one of each consumer."""
    client = FrameClient(Node(ManualTimers(), likeness=likeness_of(like))).open(1)
    client.call("basic.qos", 1, prefetch_count=2, global_=True)
    counts = []
    for queue in ("a", "b"):
        client.call("queue.declare", 1, queue=queue)
        for _ in range(3):
            client.publish(queue)
        client.send_method("basic.consume", 1, queue=queue)
        counts.append(sum(each.method.name == "basic.deliver" for each in client.receive()))
    assert counts == delivered


def test_a_prefetch_of_consumers_lifts_that_of_the_channel() -> None:
    """So RabbitMQ 3.10 does, also for consumers that run."""
    client = FrameClient(Node(ManualTimers(), likeness=likeness_of("3.10"))).open(1)
    client.call("basic.qos", 1, prefetch_count=2, global_=True)
    client.call("queue.declare", 1, queue="a")
    for _ in range(3):
        client.publish("a")
    client.send_method("basic.consume", 1, queue="a")
    deliveries = client.receive()
    client.send_method("basic.qos", 1, prefetch_count=1)
    deliveries += client.receive()

    assert sum(each.method.name == "basic.deliver" for each in deliveries) == 3


@pytest.mark.parametrize(
    ("like", "name", "type_", "is_refused"),
    [
        ("4.3", "x-stream-offset", "classic", True),
        ("3.10", "x-stream-offset", "classic", True),
        ("4.3", "x-consumer-timeout", "classic", True),
        ("4.3", "x-consumer-timeout", "quorum", False),
        ("3.10", "x-consumer-timeout", "classic", False),
        ("3.10", "x-credit", "classic", False),
        ("4.3", "x-credit", "classic", False),
        ("4.3", "x-unknown", "classic", False),
    ],
)
def test_arguments_of_consumers(like: str, name: str, type_: str, is_refused: bool) -> None:
    client = FrameClient(Node(ManualTimers(), likeness=likeness_of(like))).open(1)
    client.call("queue.declare", 1, queue="q", arguments={"x-queue-type": type_})
    answer = client.call("basic.consume", 1, queue="q", arguments={name: 1000})
    if is_refused:
        text = f"invalid arg '{name}' for queue 'q' in vhost '/' of queue type rabbit_{type_}_queue"
        assert answer.reply_text == f"PRECONDITION_FAILED - {text}"
    else:
        assert answer.method.name == "basic.consume_ok"


def test_a_thread_takes_the_options_of_a_broker() -> None:
    with BrokerThread(like="3.10") as broker:
        assert broker.broker.node.likeness is LIKENESSES["3.10"]


# --- messages


@pytest.mark.parametrize(("like", "counts"), [("4.3", [1, 1, 1]), ("3.10", [1, 2, 3])])
def test_deaths_that_a_client_publishes_again(like: str, counts: list[int]) -> None:
    virtual_host = new_vhost(like)
    dead = new_queue(virtual_host, "dead")
    to = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead"}
    queue = new_queue(virtual_host, "q", to)
    headers: dict[str, Any] = {"mine": 1}
    found = []
    for _ in counts:
        fill(queue, b"m", headers=headers)
        entry = queue.get()
        assert entry is not None
        queue.dead_letter(entry, "rejected")
        letter = dead.get()
        assert letter is not None
        headers = letter.message.headers
        found.append(headers["x-death"][0]["count"])
        assert headers["mine"] == 1
    assert found == counts


@pytest.mark.parametrize(
    ("like", "last"), [("4.3", ("rejected", "b", "")), ("3.10", (None, None, None))]
)
def test_the_last_death_is_named_by_its_own_headers(like: str, last: Any) -> None:
    virtual_host = new_vhost(like)
    to = {"x-dead-letter-exchange": ""}
    new_queue(virtual_host, "dead")
    b = new_queue(virtual_host, "b", {**to, "x-dead-letter-routing-key": "dead"})
    a = new_queue(virtual_host, "a", {**to, "x-dead-letter-routing-key": "b"})
    fill(a, b"m")
    for queue, reason in ((a, "expired"), (b, "rejected")):
        entry = queue.get()
        assert entry is not None
        queue.dead_letter(entry, reason)
    letter = virtual_host.queues["dead"].get()
    assert letter is not None
    headers = letter.message.headers
    assert [each["queue"] for each in headers["x-death"]] == ["b", "a"]
    names = ("reason", "queue", "exchange")
    assert tuple(headers.get(f"x-last-death-{name}") for name in names) == last
    assert tuple(headers[f"x-first-death-{name}"] for name in names) == ("expired", "a", "")


@on_each
@pytest.mark.parametrize("has_caller", [True, False])
def test_mandatory_direct_replies(like: str, has_caller: bool) -> None:
    client = FrameClient(Node(ManualTimers(), likeness=likeness_of(like))).open(1, 2)
    client.call("basic.consume", 1, queue=REPLY_TO, no_ack=True)
    (key,) = client.node.vhosts["/"].reply_consumers
    if not has_caller:
        client.call("channel.close", 1)
    client.publish(key, channel=2, mandatory=True)
    names = names_of(client.receive())
    assert names == ["basic.deliver"] * has_caller + ["basic.return"] * (like == "3.10")
    client.publish("nowhere", channel=2, mandatory=True)
    assert names_of(client.receive()) == ["basic.return"]


@on_each
@pytest.mark.parametrize("arguments", [{}, {"passive": True}, {"exclusive": True}], ids=str)
@pytest.mark.parametrize("named", [REPLY_TO, ""], ids=["named", "last declared"])
def test_direct_replies_are_declared_as_if_a_queue(
    like: str, arguments: dict[str, bool], named: str
) -> None:
    client = FrameClient(Node(ManualTimers(), likeness=likeness_of(like))).open(1, 2)
    declared = client.call("queue.declare", 1, queue=REPLY_TO, **arguments)
    assert (declared.queue, declared.message_count, declared.consumer_count) == (REPLY_TO, 0, 1)
    assert REPLY_TO not in client.node.vhosts["/"].queues
    client.call("basic.consume", 1, queue=named, no_ack=True)
    (key,) = client.node.vhosts["/"].reply_consumers
    client.publish(key, channel=2)
    assert names_of(client.receive()) == ["basic.deliver"]
