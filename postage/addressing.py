"""Destinations (*eks*) and sources (*eqk*) of messages; queues and keys of generic applications."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial
from typing import Any, Literal, NoReturn

from postage.errors import SettingsError
from postage.exchange import Exchange, ExchangeType
from postage.queues import DEFAULT_LIMIT, with_limit
from postage.typed_queue import TypedQueue
from postage.values import Rule, arguments, flag, rule, short_text, value_error

# fmt: off
__all__ = [
    "PRIVATE_QUEUES", "Address", "Binding", "Eks", "Eqk", "Headers", "Key", "QueueSpec",
    "bindings_of", "check_binding", "check_eks", "check_exchange", "check_flags", "check_group",
    "check_key", "check_patterns", "chosen", "matches_any", "queue_name_and_flags",
    "with_limits",
]
# fmt: on

Eks = Sequence[tuple[type[Exchange], str]]
"""The destinations of a producer, exchanges and keys: ``[(Exchange, key), ...]``."""

QueueSpec = str | Mapping[str, Any] | TypedQueue
"""A queue: its name, ``{"name": ..., "flags": {...}}``, or a `Quorum`, `Classic` or `Stream`."""


class Headers:
    """What an exchange of the type ``headers`` compares with the headers of each message.

    It stands in the place of the key: ``(queue, Headers(type="pdf", pages=3, match="any"))``.
    *headers* takes names that are no Python names, as a mapping.  The value None says that a
    message has the header, whatever its value.  *match* is ``"all"`` or ``"any"``; headers whose
    names begin with ``x-`` count only with ``"all-with-x"`` or ``"any-with-x"``.

    Cannot be changed; equal if the broker would take both for one binding.  Raises `SettingsError`.
    """

    __slots__ = ("_arguments",)

    _arguments: tuple[tuple[str, Any], ...]

    def __init__(
        self,
        headers: Mapping[str, Any] | None = None,
        /,
        *,
        match: Literal["all", "any", "all-with-x", "any-with-x"] = "all",
        **more: Any,
    ) -> None:
        _match("match", match)
        if not isinstance(headers, Mapping | None):
            raise value_error("the headers of a binding", "a mapping", headers)
        wanted = {**(headers or {}), **more}
        arguments("headers", wanted)
        if "x-match" in wanted:
            raise SettingsError(f'write match={wanted["x-match"]!r} in place of "x-match"')
        for name in wanted:
            if name.startswith("x-") and not match.endswith("-with-x"):
                raise SettingsError(f'header {name!r} counts only with match="{match}-with-x"')
        found = (("x-match", match), *sorted(wanted.items()))
        object.__setattr__(self, "_arguments", copy.deepcopy(found))

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments of queue.bind."""
        return dict(self._arguments)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"Headers cannot be changed: make others to set {name}")

    def __reduce__(self) -> tuple[Any, ...]:
        (_, match), *wanted = self._arguments
        return partial(Headers, match=match), (dict(wanted),)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Headers):
            return NotImplemented
        # By their texts: 1 and True are equal in Python, but not for the broker.
        return repr(self._arguments) == repr(other._arguments)

    def __hash__(self) -> int:
        return hash(repr(self._arguments))

    def __repr__(self) -> str:
        (_, match), *wanted = self._arguments
        return f"Headers({dict(wanted)}, match={match!r})"


Key = str | Headers | None
"""By what a queue is bound: a routing key or, at an exchange of the type headers, `Headers`."""

Eqk = Iterable[tuple[type[Exchange], Iterable[tuple[QueueSpec, Key]]]]
"""The sources of a consumer: ``[(Exchange, [(queue, key), ...]), ...]``.

The key None of a passive queue says that the queue is not bound: see `Binding.is_bound`."""

PRIVATE_QUEUES = ("amq.gen-*", "amq.rabbitmq.reply-to.*")
"""Patterns of the queues that brokers name: the reply queues of all callers with Postage, also with
1.2.1, and direct reply-to.  No client can give a queue of its own such a name, as names that begin
with ``amq.`` are reserved (AMQP 0-9-1, queue.declare)."""

QUEUE_FLAGS: Mapping[str, Rule] = {
    **dict.fromkeys(("passive", "durable", "exclusive", "auto_delete"), flag),
    "arguments": arguments,
}

_match = rule(
    "all, any, all-with-x or any-with-x",
    ("all", "any", "all-with-x", "any-with-x").__contains__,
)
_name_of_queue = short_text()
_key_of_binding = short_text(none=True)
_pattern = short_text(1)
check_key = short_text()
"""The rule of the routing key of a message."""

LONGEST_GROUP = 100
"""Letters of the longest name of a group."""


def _is_group(value: object) -> bool:
    # "#" and "*" are patterns of topic exchanges; "blue/rr" would get messages of the group "blue".
    return (
        isinstance(value, str)
        and 0 < len(value) <= LONGEST_GROUP
        and value.isprintable()
        and not any(letter in value for letter in "#*/")
    )


check_group = rule(f"a text of 1 to {LONGEST_GROUP} printable letters without # * /", _is_group)
"""The rule of the names of groups."""


@dataclass(frozen=True)
class Binding:
    """One queue that is bound to one exchange by one key."""

    exchange: type[Exchange]
    queue: QueueSpec
    key: Key

    @property
    def is_bound(self) -> bool:
        """Whether to declare the exchange and bind the queue: not for a passive queue without key.

        To consume from such a queue, its user needs only the permission to read.  Without a key,
        any other queue is bound by its own name, as in Postage 1.2.1.
        """
        return self.key is not None or not queue_name_and_flags(self.queue)[1].get("passive")

    @property
    def routing_key(self) -> str:
        """The key as a text; without one, a queue is bound by its own name."""
        return queue_name_and_flags(self.queue)[0] if self.key is None else str(self.key)

    @property
    def lasting_names(self) -> tuple[str, str]:
        """The name of the queue and the key, empty where the broker has chosen a name.

        It chooses another one each time.  AMQP reserves the prefix "amq." for such names.
        """
        queue = queue_name_and_flags(self.queue)[0]
        queue = "" if queue.startswith("amq.") else queue
        return queue, queue if self.key is None else str(self.key)


def check_patterns(name: str, value: object) -> None:
    """Check patterns of names of queues: a tuple or list of texts, or None."""
    if value is None:
        return
    if not isinstance(value, tuple | list) or not value:
        raise value_error(name, "a tuple of patterns such as 'amq.gen-*', or None", value)
    for each in value:
        _pattern(f"a pattern of {name}", each)


def matches_any(queue: object, patterns: Iterable[str]) -> bool:
    """Tell whether *queue* is the name of a queue that one of the *patterns* describes.

    In a pattern ``*`` stands for any characters, ``?`` for one, and ``[abc]`` for one of these.
    """
    return isinstance(queue, str) and any(fnmatchcase(queue, each) for each in patterns)


def bindings_of(eqk: Eqk) -> Iterator[Binding]:
    """Yield the bindings in *eqk*, in order; raise `SettingsError` for one of another shape."""
    for exchange, pairs in _pairs(eqk, "eqk", "[(Exchange, [(queue, key), ...]), ...]"):
        check_exchange(exchange, "an exchange in eqk")
        for queue, key in _pairs(pairs, f"eqk of {exchange.name!r}", "[(queue, key), ...]"):
            check_binding(exchange, key)
            yield Binding(exchange, queue, key)


def with_limits(eqk: Eqk, max_deliveries: int | None) -> Eqk:
    """Return *eqk* with the delivery limits that a processor needs: see `queues.with_limit`.

    Raises `SettingsError`, as `bindings_of` does.
    """
    if max_deliveries is not None and max_deliveries <= DEFAULT_LIMIT:
        return eqk  # as most do
    return [
        (each.exchange, [(with_limit(each.queue, max_deliveries), each.key)])
        for each in bindings_of(eqk)
    ]


def check_eks(eks: Eks, where: str) -> None:
    """Raise `SettingsError` if *eks*, which were given as *where*, cannot be destinations."""
    shape = "[(Exchange, key), ...]"
    if not isinstance(eks, Sequence):  # an iterator would be used up by this check
        raise value_error(where, shape, eks)
    for exchange, key in _pairs(eks, where, shape):
        check_exchange(exchange, f"an exchange of {where}")
        check_key(f"a key of {where}", key)


def chosen(eks: Eks | None, key: str | None, default: type[Exchange]) -> Eks | None:
    """Return where the options ``_eks`` and ``_key`` send a message; None if neither is given.

    A key alone is one of the exchange *default*.  Raises `SettingsError`.
    """
    if eks is not None:
        if not eks:
            raise SettingsError("_eks is empty: give at least one (Exchange, key)")
        check_eks(eks, "_eks")
        return eks
    if key is None:
        return None
    check_key("_key", key)
    return [(default, key)]


def check_binding(exchange: Any, key: Any) -> None:
    """Raise `SettingsError` if a queue cannot be bound to *exchange* by *key*."""
    check_exchange(exchange, "a binding")
    _ = exchange.parameters  # checks the attributes
    if not isinstance(key, Headers):
        _key_of_binding(f"the key of a binding to exchange {exchange.name!r}", key)
    elif exchange.exchange_type in ("direct", "fanout", "topic"):
        raise SettingsError(
            f"exchange {exchange.name!r} of type {exchange.exchange_type} does not look at "
            f'headers: give it a text as key, or set its exchange_type = "headers"'
        )


def _pairs(values: Any, where: str, shape: str) -> Iterator[tuple[Any, Any]]:
    """Yield the pairs in *values*; raise `SettingsError`, with the right *shape*, if it has others.

    Text and dictionaries are no pairs, although Python can unpack them.
    """
    try:
        for each in _parts(values):
            first, second = _parts(each)
            yield first, second
    except (TypeError, ValueError) as exc:
        raise SettingsError(f"{where} must be {shape}, not {repr(values)[:100]}") from exc


def _parts(value: Any) -> Iterable[Any]:
    if isinstance(value, (str, bytes, Mapping)):
        raise TypeError(f"a {type(value).__name__} has no parts")
    parts: Iterable[Any] = value
    return parts


def check_exchange(value: Any, where: str) -> None:
    """Raise `SettingsError` if *value*, which was given as *where*, is no exchange."""
    if not isinstance(value, (ExchangeType, Exchange)):
        raise value_error(where, "a class that inherits Exchange", value)


def queue_name_and_flags(queue: QueueSpec) -> tuple[str, dict[str, Any]]:
    """Return the name and the flags of a queue; raise `SettingsError` for a wrong one."""
    if isinstance(queue, TypedQueue):
        return queue.name, queue.flags
    name, flags = queue, None
    if isinstance(queue, Mapping):
        if "name" not in queue:
            raise value_error("a queue", 'its name, or {"name": ..., "flags": {...}}', queue)
        name, flags = queue["name"], queue.get("flags")
    _name_of_queue("the name of a queue", name)
    if not (flags is None or isinstance(flags, Mapping)):
        raise value_error(f"the flags of queue {name!r}", "a dictionary", flags)
    flags = dict(flags or {})
    check_flags(str(name), flags)
    return str(name), flags


def check_flags(queue: str, flags: Mapping[str, Any]) -> None:
    """Raise `SettingsError` if *flags*, those of *queue*, have a wrong name or value."""
    for name, value in flags.items():
        if name not in QUEUE_FLAGS:
            raise SettingsError(f"queue {queue!r}: no flag {name!r}, only {sorted(QUEUE_FLAGS)}")
        QUEUE_FLAGS[name](f"{name} of queue {queue!r}", value)


@dataclass(frozen=True)
class Address:
    """The queues and keys of one generic application.

    *number* counts the applications of one process from 0.  The queue of the first one alone has
    the classic name ``{pid}@{host}``; the queue of a later one is ``{pid}.{number}@{host}``.
    """

    name: str
    pid: str
    host: str
    number: int = 0

    @property
    def sid(self) -> dict[str, Any]:
        """The queue that all applications of this name share."""
        return {"name": self.name, "flags": {"auto_delete": True}}

    @property
    def hid(self) -> dict[str, Any]:
        """The queue that all applications of this name on this host share."""
        return {"name": f"{self.name}@{self.host}", "flags": {"auto_delete": True}}

    @property
    def uid(self) -> dict[str, Any]:
        """The queue of this application alone; the broker deletes it with the connection."""
        own = self.unique_key if self.number else self.process_key
        return {"name": own, "flags": {"exclusive": True, "auto_delete": True}}

    @property
    def process_key(self) -> str:
        """The key that reaches every application of the process."""
        return f"{self.pid}@{self.host}"

    @property
    def unique_key(self) -> str:
        """The key that reaches only this application."""
        return f"{self.pid}.{self.number}@{self.host}"

    def standard(self) -> list[tuple[QueueSpec, str]]:
        """Return the queues and keys that every application has.

        Its own queue comes first: if another process has it already, nothing else is declared.
        """
        at_host = f"@{self.host}"
        fan_out = (self.name, at_host, self.name + at_host, self.process_key, self.unique_key)
        return [
            *((self.uid, key) for key in fan_out),
            (self.sid, f"{self.name}/rr"),
            (self.hid, f"{self.name}{at_host}/rr"),
        ]

    def group(self, group: str) -> list[tuple[QueueSpec, str]]:
        """Return the fan-out and the round-robin queue and key of *group*, in that order."""
        shared = f"{self.name}#{group}"
        return [(self.uid, shared), (shared, f"{shared}/rr")]
