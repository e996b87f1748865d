"""Every kind of step, and examples of many steps, drawn at random."""

from __future__ import annotations

from random import Random
from typing import Any

from tests.broker.choices import Choice, booleans, integers, just, sampled_from
from tests.broker.field_values import (
    QUORUM,
    binding_arguments,
    bodies,
    channels,
    exchange_arguments,
    exchanges,
    hardly,
    keys,
    mostly,
    properties,
    queue_arguments,
    queues,
    quorum_arguments,
    seldom,
    types,
)
from tests.broker.known_differences import without_continued_counts, without_odd_copies
from tests.broker.steps import EXCHANGES, QUEUES, SERVER_NAMED, TAGS, Step, closing

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
        without_odd_copies(step, is_driving_out=is_driving_out, has_letters=has_letters)
        for step in without_continued_counts(drawn)
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
