"""Exchanges, queues and bindings of one virtual host, and the routes of messages."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from postage.broker.core import routing
from postage.broker.core.clock import ManualTimers
from postage.broker.core.limits import Limits
from postage.broker.core.routing import BrokerBinding
from postage.broker.core.vhost import VHost
from postage.broker.session.node import Node
from postage.broker.wire.exceptions import ChannelFault
from tests.support.core import LimitedConsumer, fill, message, new_exchange, new_queue, publish

ME, OTHER = object(), object()


def bind(virtual_host: VHost, queue: str, exchange: str, key: str = "", **arguments: Any) -> None:
    virtual_host.bind(exchange, BrokerBinding("queue", queue, key, arguments), ME)


def chain(virtual_host: VHost, source: str, destination: str, key: str = "") -> None:
    """Bind an exchange to another."""
    virtual_host.bind(source, BrokerBinding("exchange", destination, key), ME)


def refusal(call: Any, *args: Any, **kwargs: Any) -> tuple[int, str]:
    """Return code and text of the error that *call* raises."""
    with pytest.raises(ChannelFault) as refused:
        call(*args, **kwargs)
    return refused.value.code, str(refused.value)


def test_the_default_exchange_knows_every_queue(virtual_host: VHost) -> None:
    new_queue(virtual_host, "q")
    assert publish(virtual_host, message(key="q")) == ["q"]
    assert publish(virtual_host, message(key="other")) == []


def test_a_queue_gets_a_message_once(virtual_host: VHost) -> None:
    new_exchange(virtual_host, "e", "topic")
    new_queue(virtual_host, "q")
    for pattern in ("#", "a.*", "a.b"):
        bind(virtual_host, "q", "e", pattern)
    assert publish(virtual_host, message(exchange="e", key="a.b")) == ["q"]


def test_exchanges_in_a_row(virtual_host: VHost) -> None:
    for name in ("a", "b", "c"):
        new_exchange(virtual_host, name)
    for source, destination in (("a", "b"), ("b", "c"), ("c", "a")):  # in a circle, even
        chain(virtual_host, source, destination)
    new_queue(virtual_host, "q")
    bind(virtual_host, "q", "c")
    assert publish(virtual_host, message(exchange="a")) == ["q"]


def test_alternate_exchange(virtual_host: VHost) -> None:
    new_exchange(virtual_host, "last", "fanout")
    new_exchange(virtual_host, "e", "direct", arguments={"alternate-exchange": "last"})
    for queue, exchange in (("q", "e"), ("rest", "last")):
        new_queue(virtual_host, queue)
        bind(virtual_host, queue, exchange, "k")
    assert publish(virtual_host, message(exchange="e", key="k")) == ["q"]
    assert publish(virtual_host, message(exchange="e", key="other")) == ["rest"]


def test_more_keys_in_a_header(virtual_host: VHost) -> None:
    for name in ("a", "b"):
        new_queue(virtual_host, name)
    sent = message(key="a", headers={"CC": ["b", "a"]})
    assert publish(virtual_host, sent) == ["a", "b"]


def test_an_exchange_goes_with_its_last_binding(virtual_host: VHost) -> None:
    new_exchange(virtual_host, "e", auto_delete=True)
    for name in ("a", "b"):
        new_queue(virtual_host, name)
        bind(virtual_host, name, "e")
    virtual_host.unbind("e", BrokerBinding("queue", "a", ""), ME)
    assert "e" in virtual_host.exchanges
    virtual_host.remove_queue(virtual_host.queues["b"])
    assert "e" not in virtual_host.exchanges


def test_a_row_of_exchanges_goes_one_after_the_other(virtual_host: VHost) -> None:
    for name in ("a", "b"):
        new_exchange(virtual_host, name, auto_delete=True)
    chain(virtual_host, "a", "b")
    new_queue(virtual_host, "q")
    bind(virtual_host, "q", "b")
    virtual_host.remove_queue(virtual_host.queues["q"])
    assert not {"a", "b"} & set(virtual_host.exchanges)


# --- topologies that are made to be deep or slow

DEPTH = 3000  # Python's stack has 1,000 levels


def row(virtual_host: VHost, **flags: Any) -> None:
    """Bind `DEPTH` exchanges in a row, and a queue to the last one."""
    for n in range(DEPTH):
        new_exchange(virtual_host, f"e{n}", **flags)
    for n in range(DEPTH - 1):
        chain(virtual_host, f"e{n}", f"e{n + 1}")
    new_queue(virtual_host, "q")
    bind(virtual_host, "q", f"e{DEPTH - 1}")


def test_a_long_row_of_exchanges_leads_to_its_end(virtual_host: VHost) -> None:
    row(virtual_host)
    assert publish(virtual_host, message(exchange="e0")) == ["q"]


def test_a_long_row_of_alternate_exchanges_leads_to_its_end(virtual_host: VHost) -> None:
    for n in range(DEPTH):
        new_exchange(virtual_host, f"e{n}", arguments={"alternate-exchange": f"e{n + 1}"})
    new_exchange(virtual_host, f"e{DEPTH}")
    new_queue(virtual_host, "q")
    bind(virtual_host, "q", f"e{DEPTH}")
    assert publish(virtual_host, message(exchange="e0")) == ["q"]


def test_a_long_circle_of_exchanges_has_an_end(virtual_host: VHost) -> None:
    row(virtual_host)
    chain(virtual_host, f"e{DEPTH - 1}", "e0")
    assert publish(virtual_host, message(exchange=f"e{DEPTH // 2}")) == ["q"]


ENDS: dict[str, Callable[[VHost], object]] = {
    "queue": lambda host: host.remove_queue(host.queues["q"]),
    "exchange": lambda host: host.delete_exchange(f"e{DEPTH - 1}", if_unused=False),
    "binding": lambda host: host.unbind(f"e{DEPTH - 1}", BrokerBinding("queue", "q", ""), ME),
    "virtual host": lambda host: host.close(),
}


@pytest.mark.parametrize("what", ENDS)
def test_a_long_row_goes_as_a_whole(virtual_host: VHost, node: Node, what: str) -> None:
    before = node.definitions
    row(virtual_host, auto_delete=True)
    ENDS[what](virtual_host)
    assert not [name for name in virtual_host.exchanges if name.startswith("e")]
    if "q" in virtual_host.queues:
        virtual_host.remove_queue(virtual_host.queues["q"])
    assert node.definitions == before


def test_a_deleted_exchange_is_forgotten_at_both_ends(virtual_host: VHost) -> None:
    for name in ("a", "b", "c"):
        new_exchange(virtual_host, name, "topic")
    chain(virtual_host, "a", "b", "#")
    chain(virtual_host, "b", "c", "#")
    new_queue(virtual_host, "q")
    bind(virtual_host, "q", "c", "#")
    virtual_host.delete_exchange("b", if_unused=False)
    new_exchange(virtual_host, "b", "topic")
    assert publish(virtual_host, message(exchange="a")) == []
    chain(virtual_host, "a", "b", "#")
    chain(virtual_host, "b", "c", "#")
    assert publish(virtual_host, message(exchange="a")) == ["q"]
    virtual_host.remove_queue(virtual_host.queues["q"])
    assert publish(virtual_host, message(exchange="a")) == []


def test_many_keys_and_slow_patterns_are_refused(
    virtual_host: VHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(routing, "MOST_STEPS", 20_000)
    new_queue(virtual_host, "q")
    for n in range(400):
        bind(virtual_host, "q", "amq.topic", f"#.{n}.#")
    keys = [".".join([str(n), *"a" * 100]) for n in range(500)]
    few = message(exchange="amq.topic", headers={"CC": keys[:100]})
    assert publish(virtual_host, few) == ["q"]
    many = message(exchange="amq.topic", headers={"BCC": keys})
    code, text = refusal(virtual_host.route, many)
    assert code == 406
    assert "501 routing keys" in text


def test_equal_keys_are_followed_once(virtual_host: VHost) -> None:
    new_queue(virtual_host, "q")
    for n in range(400):
        bind(virtual_host, "q", "amq.topic", f"#.{n}.#")
    sent = message(exchange="amq.topic", headers={"CC": ["1.a" + ".a" * 100] * 5000})
    assert publish(virtual_host, sent) == ["q"]


def test_keys_do_not_multiply_the_work_of_a_fanout(virtual_host: VHost) -> None:
    for n in range(100):
        new_queue(virtual_host, f"q{n}")
        bind(virtual_host, f"q{n}", "amq.fanout")
    sent = message(exchange="amq.fanout", headers={"CC": [str(n) for n in range(11_000)]})
    assert len(publish(virtual_host, sent)) == 100


def test_a_queue_goes_with_its_last_consumer(virtual_host: VHost) -> None:
    queue = new_queue(virtual_host, "q", auto_delete=True)
    assert "q" in virtual_host.queues  # it never had one
    takers = [LimitedConsumer(queue=queue), LimitedConsumer(queue=queue)]
    for taker in takers:
        queue.add_consumer(taker)
    for taker, there in zip(takers, (True, False), strict=True):
        virtual_host.remove_consumers([taker])
        assert ("q" in virtual_host.queues) is there


def test_names_from_the_server(virtual_host: VHost) -> None:
    names = {new_queue(virtual_host, "").name for _ in range(3)}
    assert len(names) == 3
    assert all(name.startswith("amq.gen-") for name in names)


EQUAL = (
    "PRECONDITION_FAILED - inequivalent arg '{}' for {} in vhost '/': received {} but current is {}"
)
LOCKED = (
    "RESOURCE_LOCKED - cannot obtain exclusive access to locked queue 'q' in vhost '/'. It could "
    "be originally declared on another connection or the exclusive property value does not match "
    "that of the original declaration."
)


@pytest.mark.parametrize(
    ("first", "then", "argument", "received", "current"),
    [
        ({"durable": True}, {"durable": False}, "durable", "'false'", "'true'"),
        ({}, {"auto_delete": True}, "auto_delete", "'true'", "'false'"),
        (
            {"arguments": {"x-message-ttl": 1000}},
            {},
            "x-message-ttl",
            "none",
            "the value '1000' of type 'signedint'",
        ),
        (
            {"arguments": {"x-max-length": 1}},
            {"arguments": {"x-max-length": 2}},
            "x-max-length",
            "'2'",
            "'1'",
        ),
        (
            {},
            {"arguments": {"x-dead-letter-exchange": "e"}},
            "x-dead-letter-exchange",
            "the value 'e' of type 'longstr'",
            "none",
        ),
    ],
)
def test_a_queue_is_declared_alike(
    virtual_host: VHost, first: Any, then: Any, argument: str, received: str, current: str
) -> None:
    new_queue(virtual_host, "q", **first)
    expected = EQUAL.format(argument, "queue 'q'", received, current)
    assert refusal(new_queue, virtual_host, "q", **then) == (406, expected)


def test_arguments_that_mean_nothing_may_differ(virtual_host: VHost) -> None:
    new_queue(virtual_host, "q", {"x-mine": 1})
    new_queue(virtual_host, "q", {"x-queue-type": "classic"})


@pytest.mark.parametrize(
    ("then", "argument", "received", "current"),
    [
        ({"kind": "topic"}, "type", "'topic'", "'direct'"),
        ({"durable": True}, "durable", "'true'", "'false'"),
        ({"internal": True}, "internal", "'true'", "'false'"),
        (
            {"arguments": {"alternate-exchange": "a"}},
            "alternate-exchange",
            "the value 'a' of type 'longstr'",
            "none",
        ),
    ],
)
def test_an_exchange_is_declared_alike(
    virtual_host: VHost, then: Any, argument: str, received: str, current: str
) -> None:
    new_exchange(virtual_host, "e", "direct")
    expected = EQUAL.format(argument, "exchange 'e'", received, current)
    assert refusal(new_exchange, virtual_host, "e", **{"kind": "direct", **then}) == (406, expected)


def test_exclusive_queues_are_locked(virtual_host: VHost) -> None:
    new_queue(virtual_host, "q", owner=ME)
    assert virtual_host.queue("q", ME).name == "q"
    assert refusal(virtual_host.queue, "q", OTHER) == (405, LOCKED)
    assert refusal(new_queue, virtual_host, "q", owner=OTHER) == (405, LOCKED)
    new_queue(virtual_host, "mine", owner=ME)
    assert refusal(virtual_host.bind, "amq.direct", BrokerBinding("queue", "q", "k"), OTHER) == (
        405,
        LOCKED,
    )


def test_missing_queues_and_exchanges(virtual_host: VHost) -> None:
    new_queue(virtual_host, "q")
    assert refusal(virtual_host.queue, "none", ME) == (
        404,
        "NOT_FOUND - no queue 'none' in vhost '/'",
    )
    expected = (404, "NOT_FOUND - no exchange 'none' in vhost '/'")
    assert refusal(bind, virtual_host, "q", "none") == expected
    assert refusal(new_exchange, virtual_host, "none", passive=True) == expected
    assert refusal(new_queue, virtual_host, "none", passive=True)[0] == 404


def test_unbinding_what_does_not_exist_is_no_error(virtual_host: VHost) -> None:
    virtual_host.unbind("none", BrokerBinding("queue", "none", ""), ME)
    virtual_host.unbind("amq.direct", BrokerBinding("queue", "none", ""), ME)
    virtual_host.delete_exchange("none", if_unused=True)


def test_the_default_exchange_stays_as_it_is(virtual_host: VHost) -> None:
    new_queue(virtual_host, "q")
    expected = (403, "ACCESS_REFUSED - operation not permitted on the default exchange")
    assert refusal(bind, virtual_host, "q", "") == expected
    assert refusal(new_exchange, virtual_host, "") == expected
    assert refusal(virtual_host.delete_exchange, "", if_unused=False) == expected
    assert refusal(chain, virtual_host, "amq.direct", "") == expected


def test_reserved_names(virtual_host: VHost) -> None:
    text = "ACCESS_REFUSED - {} name 'amq.x' contains reserved prefix 'amq.*'"
    assert refusal(new_exchange, virtual_host, "amq.x") == (403, text.format("exchange"))
    assert refusal(new_queue, virtual_host, "amq.x") == (403, text.format("queue"))
    gone = "ACCESS_REFUSED - deletion of system exchange 'amq.topic' in vhost '/' not allowed"
    assert refusal(virtual_host.delete_exchange, "amq.topic", if_unused=False) == (403, gone)


def test_deleting_with_conditions(virtual_host: VHost) -> None:
    queue = new_queue(virtual_host, "q")
    fill(queue, b"m")
    expected = (406, "PRECONDITION_FAILED - queue 'q' in vhost '/' not empty")
    assert refusal(virtual_host.delete_queue, queue, if_unused=False, if_empty=True) == expected
    queue.add_consumer(LimitedConsumer(room=0))
    expected = (406, "PRECONDITION_FAILED - queue 'q' in vhost '/' in use")
    assert refusal(virtual_host.delete_queue, queue, if_unused=True, if_empty=False) == expected
    new_exchange(virtual_host, "e")
    bind(virtual_host, "q", "e")
    expected = (406, "PRECONDITION_FAILED - exchange 'e' in vhost '/' in use")
    assert refusal(virtual_host.delete_exchange, "e", if_unused=True) == expected
    assert virtual_host.delete_queue(queue, if_unused=False, if_empty=False) == 1
    virtual_host.delete_exchange("e", if_unused=True)


def test_the_limit_of_queues() -> None:
    node = Node(ManualTimers(), Limits(queues=1))
    virtual_host = node.vhosts["/"]
    new_queue(virtual_host, "a")
    assert refusal(new_queue, virtual_host, "b")[0] == 406
    new_queue(virtual_host, "a")


@pytest.mark.parametrize(
    ("flags", "fault"),
    [
        ({"auto_delete": True}, "auto-delete"),
        ({"owner": ME}, "exclusive-owner"),
    ],
)
def test_quorum_queues_are_durable_and_shared(virtual_host: VHost, flags: Any, fault: str) -> None:
    text = f"PRECONDITION_FAILED - invalid property '{fault}' for queue 'q' in vhost '/'"
    assert refusal(new_queue, virtual_host, "q", {"x-queue-type": "quorum"}, **flags) == (406, text)
    assert "q" not in virtual_host.queues
