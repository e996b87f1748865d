"""Steps of clients as Hypothesis strategies; they mean the same to any broker.

Names that begin with ``~`` are those of one example: a prefix replaces the ``~`` when the step is
carried out.  ``~s0`` and ``~s1`` stand for the names that the broker gives to server-named queues.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from hypothesis import strategies as st

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


channels = st.sampled_from(CHANNELS)
seldom = st.sampled_from((False, False, False, False, True))
queues = st.sampled_from((*QUEUES, *QUEUES, *SERVER_NAMED, ""))
exchanges = st.sampled_from((*EXCHANGES, *EXCHANGES, *EXCHANGES, *PREDECLARED))
keys = st.sampled_from(("k", "a.b", "a.b.c", "a.*", "#", "a.#", "*.b", "", "~q0", "~q1"))

queue_arguments = st.one_of(
    st.just({}),
    st.just({}),
    st.fixed_dictionaries({"x-message-ttl": st.sampled_from((0, YEAR // 20))}),
    st.fixed_dictionaries(
        {"x-max-length": st.integers(0, 3)},
        optional={
            "x-overflow": st.sampled_from(("drop-head", "reject-publish", "reject-publish-dlx")),
            "x-dead-letter-exchange": st.sampled_from(("", "~e0", "~e1")),
            "x-max-priority": st.integers(1, 3),
        },
    ),
    st.fixed_dictionaries(
        {"x-max-length-bytes": st.sampled_from((0, 3, 10))},
        optional={"x-overflow": st.sampled_from(("drop-head", "reject-publish"))},
    ),
    st.fixed_dictionaries(
        {"x-dead-letter-exchange": st.sampled_from(("", "~e0", "~e1", "~none", "amq.fanout"))},
        optional={
            "x-dead-letter-routing-key": st.sampled_from(("~q0", "~q1", "~q2", "k")),
            "x-message-ttl": st.just(0),
        },
    ),
    st.fixed_dictionaries({"x-max-priority": st.integers(1, 4)}),
    st.just({"x-expires": YEAR // 20}),
    st.just({"x-single-active-consumer": True}),
    st.sampled_from(
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
        )
    ),
)
exchange_arguments = st.one_of(
    st.just({}),
    st.just({}),
    st.fixed_dictionaries(
        {"alternate-exchange": st.sampled_from(("~e0", "~e2", "~none", "amq.fanout", ""))}
    ),
    st.just({"x-unknown": 1}),
)
binding_arguments = st.one_of(
    st.just({}),
    st.just({}),
    st.fixed_dictionaries(
        {},
        optional={
            "x-match": st.sampled_from(("all", "any", "all-with-x", "any-with-x")),
            "h": st.sampled_from((1, 2, "a", None)),
            "g": st.sampled_from((1, "a")),
            "x-h": st.just(1),
        },
    ),
    st.just({"x-match": "what", "h": 1}),
)
headers = st.fixed_dictionaries(
    {},
    optional={
        "h": st.sampled_from((1, 2, "a")),
        "g": st.sampled_from((1, "b")),
        "x-h": st.just(1),
        "CC": st.sampled_from((["~q1"], ["k", "~q2"], [], "no list")),
        "BCC": st.sampled_from((["~q2"], ["a.b"])),
    },
)


def _without_priority_if_expired(values: dict[str, Any]) -> dict[str, Any]:
    """Avoid a difference that is intended and listed in docs/broker.md."""
    if values.get("expiration") == "0":
        values.pop("priority", None)
    return values


properties = st.one_of(
    st.none(),
    st.none(),
    st.fixed_dictionaries(
        {},
        optional={
            "priority": st.integers(0, 5),
            "expiration": st.sampled_from(("0", "0", "1000000", "1000000", "soon", "-1", "")),
            "headers": headers,
            "delivery_mode": st.sampled_from((1, 2)),
            "content_type": st.just("text/plain"),
            "message_id": st.just("id"),
            "timestamp": st.just(1_700_000_000),
        },
    ).map(_without_priority_if_expired),
    st.fixed_dictionaries({"headers": headers}),
    st.sampled_from(({"user_id": "guest"}, {"user_id": "nobody"})),
)
bodies = st.sampled_from((b"", b"m", b"message", b"a longer message"))
_picks = st.sampled_from((*range(6), *range(6), -1))


@st.composite
def _step(draw: Any, kind: str, method: str, content: bool, picks: bool, fields: Any) -> Step:
    drawn = {
        name: draw(value) if isinstance(value, st.SearchStrategy) else value
        for name, value in fields.items()
    }
    return Step(
        kind,
        draw(channels),
        method,
        drawn,
        draw(properties) if content else None,
        draw(bodies) if content else b"",
        draw(_picks) if picks else 0,
    )


def step(kind: str, method: str, **fields: Any) -> st.SearchStrategy[Step]:
    """Return the steps of one *kind*: *fields* are values or strategies."""
    return _step(kind, method, method == "Basic.Publish", False, fields)


def _publish(kind: str, **fields: Any) -> st.SearchStrategy[Step]:
    return step(kind, "Basic.Publish", **fields)


def _acknowledge(kind: str, method: str, **fields: Any) -> st.SearchStrategy[Step]:
    return _step(kind, method, False, True, fields)


types = st.sampled_from(("direct", "fanout", "topic", "headers"))
declare_exchange = step(
    "exchange declare",
    "Exchange.Declare",
    exchange=st.sampled_from(EXCHANGES),
    type=types,
    durable=st.booleans(),
    auto_delete=seldom,
    internal=seldom,
    arguments=exchange_arguments,
)
declare_queue = step(
    "queue declare",
    "Queue.Declare",
    queue=st.sampled_from(QUEUES),
    durable=seldom,
    exclusive=seldom,
    auto_delete=seldom,
    arguments=queue_arguments,
)
bind_queue = step(
    "queue bind",
    "Queue.Bind",
    queue=queues,
    exchange=exchanges,
    routing_key=keys,
    arguments=binding_arguments,
)
consume = step(
    "consume",
    "Basic.Consume",
    queue=queues,
    consumer_tag=st.sampled_from(TAGS),
    no_ack=st.booleans(),
    exclusive=seldom,
    arguments=st.sampled_from(
        ({}, {}, {}, {"x-priority": 1}, {"x-priority": -1}, {"x-priority": "x"})
    ),
)
publish_default = _publish(
    "publish to a queue", exchange="", routing_key=st.sampled_from((*QUEUES, "~none"))
)
publish = _publish("publish", exchange=exchanges, routing_key=keys, mandatory=st.booleans())
get = step("get", "Basic.Get", queue=queues, no_ack=False)
ack = _acknowledge("ack", "Basic.Ack", multiple=False)
nack = _acknowledge("nack", "Basic.Nack", multiple=False, requeue=st.booleans())

KINDS: dict[str, st.SearchStrategy[Step]] = {
    "exchange declare": declare_exchange,
    "exchange declare passive": step(
        "exchange declare passive",
        "Exchange.Declare",
        exchange=st.sampled_from((*EXCHANGES, "amq.topic", "", "~none")),
        type=types,
        passive=True,
    ),
    "exchange declare odd": step(
        "exchange declare odd",
        "Exchange.Declare",
        exchange=st.sampled_from(("~e0", "amq.topic", "amq.new", "")),
        type=st.sampled_from(("direct", "topic", "x-what")),
        durable=st.booleans(),
    ),
    "exchange delete": step(
        "exchange delete",
        "Exchange.Delete",
        exchange=st.sampled_from((*EXCHANGES, *EXCHANGES, "amq.topic", "", "~none")),
        if_unused=st.booleans(),
    ),
    "exchange bind": step(
        "exchange bind",
        "Exchange.Bind",
        destination=st.sampled_from((*EXCHANGES, *EXCHANGES, "", "~none")),
        source=exchanges,
        routing_key=keys,
        arguments=binding_arguments,
    ),
    "exchange unbind": step(
        "exchange unbind",
        "Exchange.Unbind",
        destination=st.sampled_from((*EXCHANGES, *EXCHANGES, "", "~none")),
        source=exchanges,
        routing_key=keys,
    ),
    "queue declare": declare_queue,
    "queue declare passive": step(
        "queue declare passive",
        "Queue.Declare",
        queue=st.sampled_from((*QUEUES, *SERVER_NAMED, "~none", "")),
        passive=True,
    ),
    "queue declare server-named": step(
        "queue declare server-named",
        "Queue.Declare",
        queue="",
        exclusive=st.booleans(),
        auto_delete=st.booleans(),
    ),
    "queue declare reserved": step(
        "queue declare reserved", "Queue.Declare", queue=st.sampled_from(("amq.q", "amq."))
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
        routing_key=st.sampled_from(("~none", "~q0")),
        mandatory=True,
    ),
    "publish immediate": _publish(
        "publish immediate", exchange="", routing_key="~q0", immediate=True
    ),
    "get": get,
    "get without ack": step("get without ack", "Basic.Get", queue=queues, no_ack=True),
    "consume": consume,
    "cancel": step("cancel", "Basic.Cancel", consumer_tag=st.sampled_from((*TAGS, "c9"))),
    "ack": ack,
    "ack multiple": _acknowledge("ack multiple", "Basic.Ack", multiple=True),
    "nack": nack,
    "nack multiple": _acknowledge(
        "nack multiple", "Basic.Nack", multiple=True, requeue=st.booleans()
    ),
    "reject": _acknowledge("reject", "Basic.Reject", requeue=st.booleans()),
    "recover": step("recover", "Basic.Recover", requeue=st.sampled_from((True, True, True, False))),
    "recover async": step("recover async", "Basic.RecoverAsync", requeue=True),
    "qos": step("qos", "Basic.Qos", prefetch_count=st.integers(0, 3), global_qos=False),
    "qos global": step(
        "qos global", "Basic.Qos", prefetch_count=st.integers(0, 3), global_qos=True
    ),
    "qos size": step("qos size", "Basic.Qos", prefetch_size=1),
    "confirm select": step("confirm select", "Confirm.Select"),
    "tx select": step("tx select", "Tx.Select"),
    "tx commit": step("tx commit", "Tx.Commit"),
    "tx rollback": step("tx rollback", "Tx.Rollback"),
    "channel close": step(
        "channel close", "Channel.Close", reply_code=200, reply_text="", class_id=0, method_id=0
    ),
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

# Frequent steps come several times, the others once.
_SETTING_UP = (declare_queue, declare_queue, declare_exchange, bind_queue, consume)
_FREQUENT = (
    publish_default,
    publish_default,
    publish,
    publish,
    get,
    consume,
    ack,
    nack,
    bind_queue,
)
_DOING = (*_FREQUENT, *_FREQUENT, *KINDS.values())


@st.composite
def examples(draw: Any) -> list[Step]:
    """Return the steps of one example: first some declarations, then anything."""
    first = [draw(draw(st.sampled_from(_SETTING_UP))) for _ in range(draw(st.integers(2, 8)))]
    return first + [draw(draw(st.sampled_from(_DOING))) for _ in range(draw(st.integers(3, 25)))]
