"""What differs between the versions of RabbitMQ that the broker can be like, as a table.

The rest of the broker asks the table, and never for a version.  Each fact was measured on the
version that is named in `Likeness.version`; the lists of arguments are those of RabbitMQ's modules
``rabbit_classic_queue``, ``rabbit_quorum_queue`` and ``rabbit_stream_queue``, in their order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

from postage.broker.wire.exceptions import ChannelFault, ConnectionFault, Fault
from postage.errors import SettingsError

__all__ = ["DEFAULT", "LIKENESSES", "Likeness", "likeness_of"]

_OF_CLASSICS = (
    "x-expires",
    "x-message-ttl",
    "x-dead-letter-exchange",
    "x-dead-letter-routing-key",
    "x-max-length",
    "x-max-length-bytes",
    "x-max-priority",
    "x-overflow",
    "x-queue-mode",
    "x-queue-version",
    "x-single-active-consumer",
    "x-queue-type",
    "x-queue-master-locator",
)
_OF_QUORUMS = (
    "x-dead-letter-exchange",
    "x-dead-letter-routing-key",
    "x-dead-letter-strategy",
    "x-expires",
    "x-max-length",
    "x-max-length-bytes",
    "x-max-in-memory-length",
    "x-max-in-memory-bytes",
    "x-overflow",
    "x-single-active-consumer",
    "x-queue-type",
    "x-quorum-initial-group-size",
    "x-delivery-limit",
    "x-message-ttl",
    "x-queue-leader-locator",
)
_RETRIES = ("x-delayed-retry-type", "x-delayed-retry-min", "x-delayed-retry-max")
_TIMEOUTS = ("x-consumer-disconnected-timeout", "x-consumer-timeout")
_OF_STREAMS = (
    "x-max-length-bytes",
    "x-queue-type",
    "x-max-age",
    "x-stream-max-segment-size-bytes",
    "x-initial-cluster-size",
    "x-queue-leader-locator",
)


def _no_get(type_: str, where: str) -> ChannelFault:
    reason = f"basic.get operations are not supported by {type_} queues with single active consumer"
    return ChannelFault(405, f"cannot obtain access to locked {where}. {reason}")


@dataclass(frozen=True, kw_only=True)
class Likeness:
    """How a version of RabbitMQ behaves where versions differ."""

    version: str
    """The version that clients are told."""
    frame_min: int
    """The smallest ``frame_max`` that a client may ask for, and the largest frame before that."""
    transient_queues: bool
    """Whether clients may declare queues that are neither durable nor exclusive."""
    global_qos: bool
    """Whether ``basic.qos`` can limit a channel; otherwise ``global`` is ignored."""
    unknown_exchange_type: Callable[[str], Fault]
    """Makes the error for an exchange type that does not exist."""
    queue_arguments: Mapping[str, tuple[str, ...]]
    """The arguments that queues of each type have: they are checked, and cannot be changed.

    Those of other types are refused, and any other argument is ignored.
    """
    consumer_arguments: Mapping[str, tuple[str, ...]]
    """The same for consumers of queues of each type."""
    unstated_types: tuple[str, ...]
    """Values of ``x-queue-type`` that stand for the default."""
    states_type: bool
    """Whether a queue that was declared without ``x-queue-type`` has it nevertheless."""
    checks_mode: bool
    """Whether ``x-queue-mode`` must be ``default`` or ``lazy``."""
    queue_versions: tuple[int, ...]
    """The values of ``x-queue-version`` that a classic queue accepts."""
    denied_arguments: Mapping[str, str]
    """Arguments of classic queues that end the connection, with the name of their feature."""
    delivery_limit: int | None
    """How often a message may fail in a quorum queue without ``x-delivery-limit``; None: always."""
    lifts_limit: bool
    """Whether an ``x-delivery-limit`` below 0 means that there is none."""
    counts_every_return: bool
    """Whether nack and recover count as failures in quorum queues, as reject and a close do.

    Then, ``basic.get`` shows an ``x-delivery-count`` of 0, too; otherwise there is
    ``x-acquired-count`` beside it.
    """
    returns_to_back: bool
    """Whether a quorum queue without delivery limit returns to its end what a client requeues."""
    loses_by_tag: bool
    """Whether the end of a channel requeues messages by the tags of their consumers.

    Otherwise those of the oldest consumer return first.
    """
    expires_behind: bool
    """Whether a message of a quorum queue expires behind others that have come back.

    So does one behind others of a higher priority.
    """
    no_get: Callable[[str], Fault]
    """Makes the error for ``basic.get`` from a quorum queue with a single active consumer."""
    quorum_priority: int | None
    """The highest priority that messages have in quorum queues; None: they have none."""
    routes_late: bool
    """Whether a publish in a transaction looks for its queues at the commit.

    Then, the default exchange also finds queues that were declared after the publish.
    """
    own_deaths_only: bool
    """Whether ``x-death`` of a client is replaced when its message dies, instead of continued.

    Then, there are also headers of the last death, ``x-last-death-...``.
    """
    keeps_copied_keys: bool
    """Whether a dead letter with a routing key of its queue keeps the header ``CC``."""
    returns_replies: bool
    """Whether mandatory direct replies are returned, even those that have reached their caller."""


LIKENESSES: Mapping[str, Likeness] = {
    "4.3": Likeness(
        version="4.3.6",
        frame_min=8192,
        transient_queues=False,
        global_qos=False,
        unknown_exchange_type=partial(ChannelFault, 406),
        queue_arguments={
            "classic": (*_OF_CLASSICS, "x-queue-leader-locator"),
            "quorum": (*_OF_QUORUMS, *_TIMEOUTS, *_RETRIES),
            "stream": (*_OF_STREAMS, "x-stream-filter-size-bytes"),
        },
        consumer_arguments={
            "classic": ("x-priority",),
            "quorum": ("x-priority", "x-consumer-timeout"),
            "stream": ("x-stream-offset", "x-stream-filter", "x-stream-match-unfiltered"),
        },
        unstated_types=("", "undefined"),
        states_type=True,
        checks_mode=False,
        queue_versions=(2,),
        denied_arguments={"x-queue-master-locator": "queue_master_locator"},
        delivery_limit=20,
        lifts_limit=True,
        counts_every_return=False,
        returns_to_back=False,
        loses_by_tag=False,
        expires_behind=True,
        no_get=partial(_no_get, '<<"quorum">>'),
        quorum_priority=31,
        routes_late=False,
        own_deaths_only=True,
        keeps_copied_keys=True,
        returns_replies=False,
    ),
    "3.10": Likeness(
        version="3.10.8",
        frame_min=4096,
        transient_queues=True,
        global_qos=True,
        unknown_exchange_type=partial(ConnectionFault, 503),
        queue_arguments={"classic": _OF_CLASSICS, "quorum": _OF_QUORUMS, "stream": _OF_STREAMS},
        consumer_arguments={
            "classic": ("x-cancel-on-ha-failover", "x-priority", "x-credit"),
            "quorum": ("x-priority", "x-credit"),
            "stream": ("x-stream-offset", "x-credit"),
        },
        unstated_types=(),
        states_type=False,
        checks_mode=True,
        queue_versions=(1, 2),
        denied_arguments={},
        delivery_limit=None,
        lifts_limit=False,
        counts_every_return=True,
        returns_to_back=True,
        loses_by_tag=True,
        expires_behind=False,
        no_get=partial(_no_get, "quorum"),
        quorum_priority=None,
        routes_late=True,
        own_deaths_only=False,
        keeps_copied_keys=False,
        returns_replies=True,
    ),
}
"""The likenesses by the version that a user names."""
DEFAULT = "4.3"
"""The version that a broker is like if its user names none."""


def likeness_of(like: str = DEFAULT, *, transient_queues: bool = False) -> Likeness:
    """Return the likeness to the version *like*; raise `SettingsError` if there is none.

    With *transient_queues*, the queues of that name are permitted whatever the version.
    """
    if like not in LIKENESSES:
        known = ", ".join(LIKENESSES)
        raise SettingsError(f"like must be a version of RabbitMQ, one of {known}, not {like!r}")
    likeness = LIKENESSES[like]
    return replace(likeness, transient_queues=True) if transient_queues else likeness
