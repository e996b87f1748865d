"""What the fields and the properties of steps are drawn from."""

from __future__ import annotations

from tests.broker.choices import integers, just, one_of, sampled_from, tables
from tests.broker.known_differences import without_priority_if_expired
from tests.broker.steps import CHANNELS, EXCHANGES, PREDECLARED, QUEUES, SERVER_NAMED, YEAR

channels = sampled_from(("A1", *CHANNELS))
seldom = sampled_from((False, False, False, False, True))
mostly = sampled_from((*(19 * [True]), False))
hardly = mostly.map(lambda value: not value)
"""For what makes most declarations fail."""
queues = sampled_from((*(8 * QUEUES), *SERVER_NAMED, ""))
exchanges = sampled_from((*(3 * EXCHANGES[:2]), *EXCHANGES, *PREDECLARED))
types = sampled_from(("direct", "fanout", "topic", "headers"))
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
    ).map(without_priority_if_expired),
    tables({"headers": headers}),
    tables({"headers": headers}),
    sampled_from((*(5 * [{"user_id": "guest"}]), {"user_id": "nobody"})),
)
bodies = sampled_from((b"", b"m", b"message", b"a longer message"))
