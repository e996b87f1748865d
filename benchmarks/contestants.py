"""The contestants: what each needs, its settings, and the workloads that it cannot do.

This belongs to the process that runs the rounds; modules of `benchmarks.peers` are imported by
processes of their own, in environments of their own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

OURS, LIMIT = "postage", "librabbitmq"


@dataclass(frozen=True)
class Contestant:
    """One line of the tables."""

    name: str
    """Its module in `benchmarks.peers`, and what ``--peers`` calls it."""
    title: str
    """Its name in the tables."""
    style: str
    """How it does several things at once: one of `benchmarks.callers`; in C by itself."""
    packages: Sequence[str]
    """The packages of its environment, for pip; empty if it is built from C."""
    settings: str
    """How it is used, if there is a choice."""
    lacks: Mapping[str, str] = field(default_factory=dict)
    """Workloads that it cannot do, and why."""
    queue: str = "{}"
    """The template of the name of the queue that it consumes from."""
    declares: bool = False
    """Whether it declares its queue itself, with flags of its own."""
    leaves: Sequence[str] = ()
    """Other queues and exchanges that it leaves behind."""
    serial: bool = False
    """Whether its handlers, or its calls, run one after another."""

    @property
    def many(self) -> bool:
        """Whether several of its callers may be at work at once."""
        return self.style != "plain"


PIKA = ("pika>=1.4,<2", "gevent")
"""Also those of Postage, as in pyproject.toml; Postage itself is this checkout."""
FAST = ("msgspec", "orjson")
"""The extra `fast`."""
NO_REPLY = "it has no calls, except with results in Redis or Memcached"

CONTESTANTS = {
    one.name: one
    for one in (
        Contestant(
            OURS,
            "Postage",
            "green",
            (*PIKA, *FAST),
            "patched; the defaults, as in the README, and the extra `fast`: up to 250 handlers at"
            " once, each in a greenlet, prefetch 250; every call has a deadline, is mandatory,"
            " and expires; the message is wrapped in Postage's envelope (230 bytes more)",
        ),
        Contestant(
            "blocking",
            "pika BlockingConnection",
            "plain",
            PIKA,
            "one caller, one thing at a time, as in RabbitMQ's tutorials; not patched",
            serial=True,
        ),
        Contestant(
            "blocking_gevent",
            "pika BlockingConnection, gevent",
            "gevent",
            PIKA,
            "patched; one greenlet owns the connection, others reach it through"
            " `add_callback_threadsafe`, as pika's FAQ says; handlers one at a time",
            serial=True,
        ),
        Contestant(
            "gevent_connection",
            "pika GeventConnection",
            "gevent",
            PIKA,
            "handlers in the hub's callbacks; those that wait, in greenlets; callers wait for"
            " events, without a limit",
        ),
        Contestant(
            "amqpstorm",
            "amqpstorm",
            "gevent",
            ("amqpstorm", "gevent"),
            "patched; one connection, a channel for each publishing greenlet; handlers that wait,"
            " in greenlets",
        ),
        Contestant(
            "kombu",
            "kombu",
            "gevent",
            ("kombu", "gevent"),
            "patched; over py-amqp; `ConsumerMixin`, and a pool of as many producers (and"
            " connections) as callers; handlers one at a time",
            serial=True,
        ),
        Contestant(
            "nameko",
            "nameko",
            "eventlet",
            ("nameko", "eventlet"),
            "`max_workers` 100; `RpcProxy` of a service; its calls are persistent and confirmed;"
            " `nameko.amqp.publish.Publisher`, its pool as large as there are callers",
            queue="rpc-{}",
            leaves=("rpc-{}", "nameko-rpc"),
        ),
        Contestant(
            "aio_pika",
            "aio-pika",
            "asyncio",
            ("aio-pika", "uvloop"),
            "uvloop; robust connection; futures by correlation id, as in its RPC tutorial",
        ),
        Contestant(
            "faststream",
            "FastStream",
            "asyncio",
            ("faststream[rabbit]", "uvloop"),
            "uvloop; `broker.request`, which allows one call in flight; types applied (pydantic)",
            serial=True,
        ),
        Contestant(
            "dramatiq",
            "dramatiq",
            "gevent",
            ("dramatiq[rabbitmq]", "gevent"),
            "patched, as `dramatiq-gevent`; 100 worker greenlets; a connection for each publishing"
            " greenlet; its queue is durable, its messages are persistent, whatever is asked for",
            lacks=dict.fromkeys(("rpc", "rpc100", "slow"), NO_REPLY),
            declares=True,
            leaves=("{}.DQ", "{}.XQ"),
        ),
        Contestant(
            LIMIT,
            "C (librabbitmq)",
            "c",
            (),
            "the limit: one thread, no JSON, answers compared byte by byte; 100 in flight where"
            " others have 100 callers",
            lacks={"slow": "one thread, which must not sleep"},
        ),
    )
}

CHECKED = "the server checks types; the caller makes a checked object of the answer"

TYPED_CONTESTANTS = {
    one.name: one
    for one in (
        Contestant(
            "typed_postage",
            "Postage, typed service",
            "green",
            (*PIKA, *FAST),
            "patched; the defaults; client and server check the types of arguments and answers",
        ),
        Contestant(
            "classic_postage",
            "Postage, classic API",
            "green",
            (*PIKA, *FAST),
            "patched; the defaults; nobody checks types",
        ),
        Contestant(
            "typed_faststream",
            "FastStream, pydantic",
            "asyncio",
            ("faststream[rabbit]", "uvloop"),
            f"uvloop; prefetch 100; {CHECKED}; `broker.request`, which allows one call in flight,"
            " of a broker, with its connection, for each caller",
        ),
        Contestant(
            "typed_faststream_msgspec",
            "FastStream, msgspec",
            "asyncio",
            ("faststream[rabbit]", "msgspec", "uvloop"),
            "the same with its `MsgSpecSerializer`",
        ),
        Contestant(
            "typed_nameko",
            "nameko",
            "eventlet",
            ("nameko", "eventlet"),
            "`max_workers` 100; `RpcProxy` of a service; nobody checks types; its calls are"
            " persistent and confirmed",
            queue="rpc-{}",
            leaves=("rpc-{}", "nameko-rpc"),
        ),
    )
}
"""Those of the table of calls with types."""
