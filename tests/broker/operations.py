"""Steps of clients, drawn at random; they mean the same to any broker.

Names that begin with ``~`` are those of one example: a prefix replaces the ``~`` when the step is
carried out.  ``~s0`` and ``~s1`` stand for the names that the broker gives to server-named queues.
"""

from __future__ import annotations

from random import Random
from typing import Any, NamedTuple

from tests.broker.choices import (
    Choice,
    booleans,
    integers,
    just,
    one_of,
    sampled_from,
    tables,
)

QUEUES = ("~q0", "~q1", "~q2", "~q3")
SERVER_NAMED = ("~s0", "~s1")
EXCHANGES = ("~e0", "~e1", "~e2")
PREDECLARED = ("amq.direct", "amq.fanout", "amq.topic", "amq.headers", "amq.match")
TAGS = ("c0", "c1", "c2")
CHANNELS = ("A1", "A2", "B1")
YEAR = 31_536_000_000
"""Milliseconds: longer than any test."""


class Step(NamedTuple):
    """One step: a method, by its class and name in pika."""

    kind: str
    channel: str
    method: str
    fields: dict[str, Any]
    properties: dict[str, Any] | None = None
    body: bytes = b""
    pick: int = 0
    """Which of the unacknowledged deliveries is meant; -1: an unknown one."""

    def shown(self) -> str:
        """Return the step in one line."""
        content = f" {self.properties} {self.body!r}" if self.method == "Basic.Publish" else ""
        pick = f" of delivery {self.pick}" if "ack" in self.kind or self.kind == "reject" else ""
        return f"{self.channel} {self.method}{pick} {self.fields}{content}"


channels = sampled_from(("A1", *CHANNELS))
seldom = sampled_from((False, False, False, False, True))
mostly = sampled_from((*(19 * [True]), False))
hardly = mostly.map(lambda value: not value)
"""For what makes most declarations fail."""
queues = sampled_from((*(8 * QUEUES), *SERVER_NAMED, ""))
exchanges = sampled_from((*(3 * EXCHANGES[:2]), *EXCHANGES, *PREDECLARED))
keys = sampled_from(("k", "a.b", "a.b.c", "a.*", "#", "a.#", "*.b", "", "~q0", "~q1"))

queue_arguments = one_of(
    just({}),
    just({}),
    tables({"x-message-ttl": sampled_from((0, YEAR // 20))}),
    tables(
        {"x-max-length": integers(0, 3)},
        optional={
            "x-overflow": sampled_from(("drop-head", "reject-publish", "reject-publish-dlx")),
            "x-dead-letter-exchange": sampled_from(("", "~e0", "~e1")),
            "x-max-priority": integers(1, 3),
        },
    ),
    tables(
        {"x-max-length-bytes": sampled_from((0, 3, 10))},
        optional={"x-overflow": sampled_from(("drop-head", "reject-publish"))},
    ),
    tables(
        {"x-dead-letter-exchange": sampled_from(("", "~e0", "~e1", "~none", "amq.fanout"))},
        optional={
            "x-dead-letter-routing-key": sampled_from(("~q0", "~q1", "~q2", "k")),
            "x-message-ttl": just(0),
        },
    ),
    tables({"x-max-priority": integers(1, 4)}),
    just({"x-expires": YEAR // 20}),
    just({"x-single-active-consumer": True}),
    sampled_from(
        (
            {"x-message-ttl": -1},
            {"x-message-ttl": "soon"},
            {"x-message-ttl": 2**40},
            {"x-expires": 0},
            {"x-expires": "x"},
            {"x-max-length": -1},
            {"x-max-length": "many"},
            {"x-max-length-bytes": -5},
            {"x-overflow": "what"},
            {"x-overflow": 3},
            {"x-dead-letter-exchange": 5},
            {"x-dead-letter-routing-key": "k"},
            {"x-dead-letter-routing-key": 5, "x-dead-letter-exchange": ""},
            {"x-max-priority": -1},
            {"x-max-priority": 256},
            {"x-max-priority": "high"},
            {"x-queue-type": "what"},
            {"x-queue-type": 7},
            {"x-queue-type": "classic"},
            {"x-queue-mode": "lazy"},
            {"x-queue-mode": "what"},
            {"x-single-active-consumer": "yes"},
            {"x-unknown": 1},
            {"x-queue-version": 1},
            {"x-queue-version": 2},
            {"x-queue-version": 3},
            {"x-queue-version": "new"},
            {"x-queue-leader-locator": "balanced"},
            {"x-queue-leader-locator": "what"},
            {"x-queue-master-locator": "client-local"},
            {"x-delivery-limit": 3},
            {"x-delayed-retry-type": "all"},
            {"x-consumer-timeout": 60_000},
            {"x-quorum-initial-group-size": 1},
            {"x-dead-letter-strategy": "at-most-once"},
            {"x-max-age": "1D"},
        )
    ),
)
QUORUM = {"x-queue-type": "quorum"}
quorum_arguments = one_of(
    just({}),
    just({}),
    tables(
        {"x-delivery-limit": sampled_from((0, 1, 1, 2, 2, 3, -1))},
        optional={
            "x-dead-letter-exchange": sampled_from(("", "~e0")),
            "x-dead-letter-routing-key": sampled_from(("~q0", "~q1", "~q2")),
        },
    ),
    tables(
        {"x-dead-letter-exchange": sampled_from(("", "~e0", "~e1", "amq.fanout"))},
        optional={
            "x-dead-letter-routing-key": sampled_from(("~q0", "~q1", "~q2", "k")),
            "x-delivery-limit": integers(1, 2),
        },
    ),
    just({"x-single-active-consumer": True}),
    tables(
        {
            "x-delayed-retry-type": sampled_from(("all", "failed", "returned", "disabled")),
            "x-delayed-retry-min": just(YEAR // 400),
        },
        optional={"x-delivery-limit": integers(1, 2)},
    ),
    sampled_from(
        (
            {"x-delivery-limit": -2},
            {"x-delivery-limit": "many"},
            {"x-max-priority": 3},
            {"x-queue-mode": "lazy"},
            {"x-queue-version": 2},
            {"x-queue-master-locator": "client-local"},
            {"x-queue-leader-locator": "balanced"},
            {"x-queue-leader-locator": "what"},
            {"x-queue-leader-locator": 5},
            {"x-quorum-initial-group-size": 1},
            {"x-quorum-initial-group-size": 0},
            {"x-dead-letter-strategy": "at-most-once", "x-dead-letter-exchange": ""},
            {"x-dead-letter-strategy": "what"},
            {"x-overflow": "reject-publish-dlx"},
            {"x-overflow": "what"},
            {"x-expires": YEAR // 20},
            {"x-message-ttl": YEAR // 20},
            {"x-max-length": -1},
            {"x-max-in-memory-length": 10},
            {"x-delayed-retry-type": "what"},
            {"x-delayed-retry-min": -1},
            {"x-consumer-timeout": YEAR // 20},
            {"x-unknown": 1},
        )
    ),
).map(lambda arguments: QUORUM | arguments)
exchange_arguments = one_of(
    just({}),
    just({}),
    tables({"alternate-exchange": sampled_from(("~e0", "~e2", "~none", "amq.fanout", ""))}),
    just({"x-unknown": 1}),
)
binding_arguments = one_of(
    just({}),
    just({}),
    tables(
        {},
        optional={
            "x-match": sampled_from(("all", "any", "all-with-x", "any-with-x")),
            "h": sampled_from((1, 2, "a", None)),
            "g": sampled_from((1, "a")),
            "x-h": just(1),
        },
    ),
    just({"x-match": "what", "h": 1}),
)
headers = tables(
    {},
    optional={
        "h": sampled_from((1, 2, "a")),
        "g": sampled_from((1, "b")),
        "x-h": just(1),
        "CC": sampled_from((*(3 * [["~q1"], ["k", "~q2"]]), [], "no list")),
        "BCC": sampled_from((["~q2"], ["a.b"])),
    },
)


def _without_odd_copies(step: Step, *, is_driving_out: bool, has_letters: bool) -> Step:
    """Avoid differences that docs/broker.md lists: return *step* without some copies.

    A ``BCC`` repeats a key; or, if *is_driving_out*, a message may drive out another one, whose
    dead letter reaches the queue of the copy; or, if the queue of the message *has_letters*, a copy
    expires at once, and may be counted still if the letter of the message itself was there first.
    """
    headers = (step.properties or {}).get("headers") or {}
    others = [step.fields.get("routing_key"), *headers.get("CC", [])]
    odd = set()
    expires_at_once = (step.properties or {}).get("expiration") == "0"
    if is_driving_out or (has_letters and expires_at_once):
        odd = {"CC", "BCC"}
    elif set(headers.get("BCC", [])).intersection(others):
        odd = {"BCC"}
    if odd.isdisjoint(headers):
        return step
    kept = {name: value for name, value in headers.items() if name not in odd}
    return step._replace(properties={**(step.properties or {}), "headers": kept})


def _without_continued_counts(steps: list[Step]) -> list[Step]:
    """Avoid a difference that docs/broker.md lists: return *steps* without some delivery limits.

    RabbitMQ 4 counts on for the dead letters of a quorum queue, so the limit of another one that
    they reach, or of the same, comes sooner.
    """
    declared = [step for step in steps if "x-dead-letter-exchange" in _arguments_of(step)]
    if not any(_arguments_of(step).get("x-queue-type") == "quorum" for step in declared):
        return steps
    reached = {_target_of_letters(_arguments_of(step)) for step in declared}

    def changed(step: Step) -> Step:
        arguments = _arguments_of(step)
        is_reached = None in reached or step.fields.get("queue") in reached
        if not is_reached or "x-delivery-limit" not in arguments:
            return step
        kept = {name: value for name, value in arguments.items() if name != "x-delivery-limit"}
        return step._replace(fields=step.fields | {"arguments": kept})

    return [changed(step) for step in steps]


def _arguments_of(step: Step) -> dict[str, Any]:
    arguments: dict[str, Any] = step.fields.get("arguments", {})
    return arguments if step.method == "Queue.Declare" else {}


def _target_of_letters(arguments: dict[str, Any]) -> str | None:
    """Return the queue that the dead letters of a queue go to; None: it may be any."""
    is_direct = arguments["x-dead-letter-exchange"] == ""
    return arguments.get("x-dead-letter-routing-key") if is_direct else None


def _without_priority_if_expired(values: dict[str, Any]) -> dict[str, Any]:
    """Avoid a difference that is intended and listed in docs/broker.md."""
    if values.get("expiration") == "0":
        values.pop("priority", None)
    return values


properties = one_of(
    just(None),
    just(None),
    tables(
        {},
        optional={
            "priority": integers(0, 5),
            "expiration": sampled_from((*(4 * ["0", "1000000"]), "soon", "-1", "")),
            "headers": headers,
            "delivery_mode": sampled_from((1, 2)),
            "content_type": just("text/plain"),
            "message_id": just("id"),
            "timestamp": just(1_700_000_000),
        },
    ).map(_without_priority_if_expired),
    tables({"headers": headers}),
    tables({"headers": headers}),
    sampled_from((*(5 * [{"user_id": "guest"}]), {"user_id": "nobody"})),
)
bodies = sampled_from((b"", b"m", b"message", b"a longer message"))
_picks = sampled_from((*(5 * [*range(6)]), -1))


def _step(kind: str, method: str, content: bool, picks: bool, fields: Any) -> Choice[Step]:
    choices = {
        name: value if isinstance(value, Choice) else just(value) for name, value in fields.items()
    }

    def draw(random: Random) -> Step:
        return Step(
            kind,
            channels.draw(random),
            method,
            {name: choice.draw(random) for name, choice in choices.items()},
            properties.draw(random) if content else None,
            bodies.draw(random) if content else b"",
            _picks.draw(random) if picks else 0,
        )

    return Choice(draw)


def step(kind: str, method: str, **fields: Any) -> Choice[Step]:
    """Return the steps of one *kind*: *fields* are values or strategies."""
    return _step(kind, method, method == "Basic.Publish", False, fields)


def _publish(kind: str, **fields: Any) -> Choice[Step]:
    return step(kind, "Basic.Publish", **fields)


def _acknowledge(kind: str, method: str, **fields: Any) -> Choice[Step]:
    return _step(kind, method, False, True, fields)


def closing(channel: str) -> Step:
    """Return the step in which a client closes *channel*."""
    fields = {"reply_code": 200, "reply_text": "", "class_id": 0, "method_id": 0}
    return Step("channel close", channel, "Channel.Close", fields)


types = sampled_from(("direct", "fanout", "topic", "headers"))
declare_exchange = step(
    "exchange declare",
    "Exchange.Declare",
    exchange=sampled_from(EXCHANGES),
    type=types,
    durable=booleans(),
    auto_delete=seldom,
    internal=seldom,
    arguments=exchange_arguments,
)
declare_queue = step(
    "queue declare",
    "Queue.Declare",
    queue=sampled_from(QUEUES),
    durable=mostly,
    exclusive=seldom,
    auto_delete=seldom,
    arguments=queue_arguments,
)
declare_quorum_queue = step(
    "quorum queue declare",
    "Queue.Declare",
    queue=sampled_from(QUEUES),
    durable=mostly,
    exclusive=hardly,
    auto_delete=hardly,
    arguments=quorum_arguments,
)
bind_queue = step(
    "queue bind",
    "Queue.Bind",
    queue=queues,
    exchange=exchanges,
    routing_key=keys,
    arguments=binding_arguments,
)


def _consume(kind: str) -> Choice[Step]:
    return step(
        kind,
        "Basic.Consume",
        queue=queues,
        consumer_tag=sampled_from(TAGS),
        no_ack=sampled_from((False, False, True)),
        exclusive=seldom,
        arguments=sampled_from(
            (*(4 * [{}]), {"x-priority": 1}, {"x-priority": -1}, {"x-priority": "x"})
        ),
    )


consume = _consume("consume")
publish_default = _publish(
    "publish to a queue", exchange="", routing_key=sampled_from((*(4 * QUEUES), "~none"))
)
publish = _publish("publish", exchange=exchanges, routing_key=keys, mandatory=booleans())
get = step("get", "Basic.Get", queue=queues, no_ack=False)
ack = _acknowledge("ack", "Basic.Ack", multiple=False)
nack = _acknowledge("nack", "Basic.Nack", multiple=False, requeue=booleans())

KINDS: dict[str, Choice[Step]] = {
    "exchange declare": declare_exchange,
    "exchange declare passive": step(
        "exchange declare passive",
        "Exchange.Declare",
        exchange=sampled_from((*EXCHANGES, "amq.topic", "", "~none")),
        type=types,
        passive=True,
    ),
    "exchange declare odd": step(
        "exchange declare odd",
        "Exchange.Declare",
        exchange=sampled_from(("~e0", "amq.topic", "amq.new", "")),
        type=sampled_from(("direct", "topic", "x-what")),
        durable=booleans(),
    ),
    "exchange delete": step(
        "exchange delete",
        "Exchange.Delete",
        exchange=sampled_from((*EXCHANGES, *EXCHANGES, "amq.topic", "", "~none")),
        if_unused=booleans(),
    ),
    "exchange bind": step(
        "exchange bind",
        "Exchange.Bind",
        destination=sampled_from((*EXCHANGES, *EXCHANGES, "", "~none")),
        source=exchanges,
        routing_key=keys,
        arguments=binding_arguments,
    ),
    "exchange unbind": step(
        "exchange unbind",
        "Exchange.Unbind",
        destination=sampled_from((*EXCHANGES, *EXCHANGES, "", "~none")),
        source=exchanges,
        routing_key=keys,
    ),
    "queue declare": declare_queue,
    "quorum queue declare": declare_quorum_queue,
    "queue declare passive": step(
        "queue declare passive",
        "Queue.Declare",
        queue=sampled_from((*QUEUES, *SERVER_NAMED, "~none", "")),
        passive=True,
    ),
    "queue declare server-named": step(
        "queue declare server-named",
        "Queue.Declare",
        queue="",
        durable=mostly,
        exclusive=booleans(),
        auto_delete=booleans(),
    ),
    "queue declare server-named quorum": step(
        "queue declare server-named quorum",
        "Queue.Declare",
        queue="",
        durable=True,
        arguments=QUORUM,
    ),
    "queue declare reserved": step(
        "queue declare reserved", "Queue.Declare", queue=sampled_from(("amq.q", "amq."))
    ),
    "queue bind": bind_queue,
    "queue unbind": step(
        "queue unbind", "Queue.Unbind", queue=queues, exchange=exchanges, routing_key=keys
    ),
    "purge": step("purge", "Queue.Purge", queue=queues),
    "queue delete": step(
        "queue delete", "Queue.Delete", queue=queues, if_unused=seldom, if_empty=seldom
    ),
    "publish to a queue": publish_default,
    "publish": publish,
    "publish nowhere": _publish("publish nowhere", exchange="~none", routing_key="k"),
    "publish mandatory": _publish(
        "publish mandatory",
        exchange="",
        routing_key=sampled_from(("~none", "~q0")),
        mandatory=True,
    ),
    "publish immediate": _publish(
        "publish immediate", exchange="", routing_key="~q0", immediate=True
    ),
    "get": get,
    "get without ack": step("get without ack", "Basic.Get", queue=queues, no_ack=True),
    "consume": consume,
    "consume again": _consume("consume again"),
    "cancel": step("cancel", "Basic.Cancel", consumer_tag=sampled_from((*TAGS, "c9"))),
    "ack": ack,
    "ack multiple": _acknowledge("ack multiple", "Basic.Ack", multiple=True),
    "nack": nack,
    "nack multiple": _acknowledge("nack multiple", "Basic.Nack", multiple=True, requeue=booleans()),
    "reject": _acknowledge("reject", "Basic.Reject", requeue=booleans()),
    "recover": step("recover", "Basic.Recover", requeue=sampled_from((*(9 * [True]), False))),
    "recover async": step("recover async", "Basic.RecoverAsync", requeue=True),
    "qos": step("qos", "Basic.Qos", prefetch_count=integers(0, 3), global_qos=False),
    "qos global": step("qos global", "Basic.Qos", prefetch_count=integers(0, 3), global_qos=True),
    "qos size": step("qos size", "Basic.Qos", prefetch_size=1),
    "confirm select": step("confirm select", "Confirm.Select"),
    "tx select": step("tx select", "Tx.Select"),
    "tx commit": step("tx commit", "Tx.Commit"),
    "tx commit of nothing": step("tx commit of nothing", "Tx.Commit"),
    "tx rollback": step("tx rollback", "Tx.Rollback"),
    "tx rollback of nothing": step("tx rollback of nothing", "Tx.Rollback"),
    "channel close": channels.map(closing),
    "channel open again": step("channel open again", "Channel.Open"),
    "connection close": step(
        "connection close",
        "Connection.Close",
        reply_code=200,
        reply_text="",
        class_id=0,
        method_id=0,
    ),
}
"""Every kind of step by its name."""

_FREQUENT = (
    *(7 * [publish_default]),
    *(4 * [publish]),
    *(3 * [get]),
    *(3 * [consume]),
    *(3 * [ack]),
    *(3 * [nack]),
    *(KINDS[kind] for kind in ("reject", "ack multiple", "nack multiple", "recover", "qos")),
    *(KINDS[kind] for kind in ("confirm select", "cancel", "channel close", "publish mandatory")),
    *(KINDS[kind] for kind in ("get without ack", "tx commit", "tx rollback", "queue bind")),
)
"""Steps that mostly succeed, so that there is something for the next ones to act on."""
_ALL = tuple(KINDS.values())
_DRIVING_OUT = {"x-max-length", "x-dead-letter-exchange"}
"""The arguments of queues from which new messages drive out old ones, as dead letters."""


def example(random: Random) -> list[Step]:
    """Return the steps of one example: first what the others need, then anything."""
    other = random.choice((declare_queue, declare_quorum_queue))
    needed = (
        _named("~e0", declare_exchange),
        _named("~e1", declare_exchange),
        _named("~q0", declare_queue),
        _named("~q1", declare_quorum_queue),
        _named("~q2", other),
        step("queue declare", "Queue.Declare", queue="~q3", durable=True),
        bind_queue,
        bind_queue,
    )
    kinds = [_FREQUENT if random.random() < 0.9 else _ALL for _ in range(random.randint(8, 30))]
    drawn = [choice.draw(random) for choice in (*needed, *map(random.choice, kinds))]
    arguments = [step.fields.get("arguments", {}) for step in drawn]
    is_driving_out = any(each.keys() >= _DRIVING_OUT for each in arguments)
    has_letters = any("x-dead-letter-exchange" in each for each in arguments)
    steps = [
        _without_odd_copies(step, is_driving_out=is_driving_out, has_letters=has_letters)
        for step in _without_continued_counts(drawn)
    ]
    # Each body is another one, so that messages can be told apart.
    return [
        step._replace(body=step.body + b"%d" % number) if step.method == "Basic.Publish" else step
        for number, step in enumerate(steps)
    ]


def _named(name: str, declare: Choice[Step]) -> Choice[Step]:
    """Return the steps of *declare*, but all for *name*."""
    field = "exchange" if declare is declare_exchange else "queue"
    return declare.map(lambda step: step._replace(fields=step.fields | {field: name}))
