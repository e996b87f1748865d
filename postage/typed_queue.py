"""What all types of queues have in common as values; see `queues`.

A field that a type of queue does not have is refused with what to write instead.  The error names
the type that has the field, unless `TypedQueue._remedies` knows better.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from numbers import Integral
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from postage.errors import SettingsError
from postage.values import Rule, arguments, check_values, number, rule, seconds, short_text

__all__ = [
    "PLAIN",
    "TEN_YEARS",
    "ConsumerOptions",
    "TypedQueue",
    "effective",
    "one_of",
    "options_of",
    "type_of",
]

TEN_YEARS = 315_360_000.0
"""Seconds of the longest time that RabbitMQ accepts in an argument."""


@dataclass(frozen=True, slots=True)
class ConsumerOptions:
    """How to consume from a queue: the arguments of basic.consume that its value says."""

    exclusive: bool = False
    """Whether no other consumer may have the queue meanwhile."""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    is_stream: bool = False
    """Whether the queue is a stream: it keeps what was delivered, and takes nothing back."""
    keeps_turn: bool = False
    """Whether to keep one consumer while the channel lasts, because others wait for its turn."""


PLAIN = ConsumerOptions()
"""To consume in the usual way."""


def one_of(*allowed: str) -> Rule:
    """Return the rule of fields that are one of these texts, or None."""
    return rule(" or ".join(map(repr, allowed)), allowed.__contains__, none=True)


def _span(*, zero: bool = False) -> Rule:
    return seconds(zero=zero, most=TEN_YEARS, none=True)


_switch = rule("True or False", lambda value: value is True or value is False)
_RULES: Mapping[str, Rule] = {
    "name": short_text(),
    **dict.fromkeys(("passive", "exclusive", "auto_delete", "single_active_consumer"), _switch),
    **dict.fromkeys(("exclusive_consumer", "match_unfiltered", "implied_limit"), _switch),
    "arguments": arguments,
    **dict.fromkeys(("max_length", "max_length_bytes"), number(0, none=True)),
    "leader_locator": one_of("client-local", "balanced"),
    "message_ttl": _span(zero=True),
    **dict.fromkeys(("expires", "consumer_timeout"), _span()),
    **dict.fromkeys(("delayed_retry_min", "delayed_retry_max"), _span()),
    **dict.fromkeys(("dead_letter_exchange", "dead_letter_routing_key"), short_text(none=True)),
    "consumer_priority": number(-(1 << 31), (1 << 31) - 1, none=True),
    "initial_group_size": number(1, none=True),
}
"""The rules of fields; `TypedQueue._rules` has those of a single type of queue."""
_IN_SECONDS = frozenset(
    ("consumer_timeout", "delayed_retry_max", "delayed_retry_min", "expires", "message_ttl")
)
"""The fields that the broker has in milliseconds."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class TypedQueue:
    """What all types of queues have in common; use `Quorum`, `Classic` or `Stream`.

    Two of them are equal if they declare the same queue and consume from it in the same way.  A
    dictionary that declares the same is equal to them, too.  Times are seconds.
    """

    name: str = field(kw_only=False)
    """The name of the queue on the broker."""
    passive: bool = False
    """Use the queue as it is: it must exist, and may have been declared in any way."""
    max_length_bytes: int | None = None
    """How many bytes of bodies the queue holds.  A stream then drops its oldest segments."""
    leader_locator: Literal["client-local", "balanced"] | None = None
    """Which node of a cluster gets a new queue: the one that declares it, or one that has few.  For
    classic queues since RabbitMQ 4.0."""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    """Further arguments for the broker or its plugins, which are sent as they are."""

    _types: ClassVar[dict[str, type[TypedQueue]]] = {}
    """All types of queues by the names of their classes."""
    _type: ClassVar[str]
    _fields: ClassVar[Mapping[str, str]]
    """The fields that are arguments of queue.declare, with the names of these."""
    _rules: ClassVar[Mapping[str, Rule]] = {}
    _remedies: ClassVar[Mapping[str, str]] = {}
    """What to do instead, by names of fields that this type of queue does not have."""

    if not TYPE_CHECKING:  # type checkers know from the fields which arguments there are

        def __new__(cls, *_args: Any, **given: Any) -> Any:
            """Refuse a field that this type of queue does not have; the error has the remedy."""
            known = [each.name for each in fields(cls) if each.repr]
            for name in given.keys() - {each.name for each in fields(cls)}:
                types = cls._types.items()
                others = [one for one, type_ in types if name in type_.__dataclass_fields__]
                hint = f"it is of {' and '.join(others)}" if others else f"only {known}"
                raise SettingsError(
                    f"{cls.__name__} has no {name}: {cls._remedies.get(name, hint)}"
                )
            return object.__new__(cls)

    def __init_subclass__(cls) -> None:
        """Note the type of queue."""
        if "_type" in vars(cls):  # @dataclass makes the class once more, with slots
            cls._types[cls.__name__] = cls

    def __post_init__(self) -> None:
        """Check the fields; raises `SettingsError`."""
        rules = {**_RULES, **self._rules}
        check_values(self, {each.name: rules[each.name] for each in fields(self)})
        if not self.name and self._type != "classic":
            self._refuse("the broker chooses names of classic queues only: give it a name")
        for argument in self.arguments or ():
            self._check_argument(argument)
        object.__setattr__(self, "arguments", copy.deepcopy(dict(self.arguments or {})))
        declared = {*self._fields, "arguments", "durable", "exclusive", "auto_delete"}
        for name in self._given() if self.passive else ():
            if name in declared:
                self._refuse(f"with passive, the queue is used as it is: leave {name} out")
        self._check_fields()

    def _check_argument(self, argument: str) -> None:
        """Raise `SettingsError` if *argument* is no further one, but that of a field."""
        if argument == "x-queue-type":
            self._refuse(f"its type is {self._type}: leave x-queue-type out of arguments")
        own = [name for name, known in self._fields.items() if known == argument]
        if own:
            self._refuse(f"write {own[0]}=... in place of arguments[{argument!r}]")
        others = [one for one, type_ in self._types.items() if argument in type_._fields.values()]
        if others:
            self._refuse(f"it has no {argument}: that is of {' and '.join(others)}")

    def _check_fields(self) -> None:
        """Raise `SettingsError` for fields that do not fit together."""

    def _given(self) -> dict[str, Any]:
        """Return the fields that differ from their defaults, without the name."""
        shown = [each for each in fields(self) if each.repr and each.name != "name"]
        values = {each.name: getattr(self, each.name) for each in shown}
        return {
            each.name: values[each.name]
            for each in shown
            if values[each.name] is not each.default and values[each.name] != {}
        }

    def _refuse(self, text: str) -> None:
        raise SettingsError(f"{type(self).__name__} {self.name!r}: {text}")

    @property
    def flags(self) -> dict[str, Any]:
        """The flags of queue.declare, as a dictionary for this queue has them."""
        if self.passive:
            return {"passive": True}
        given: dict[str, Any] = {"x-queue-type": self._type}
        for name, argument in self._fields.items():
            value = getattr(self, name)
            if value is not None and value is not False:
                given[argument] = _sent(name, value)
        return {**self._switches(), "arguments": {**given, **self.arguments}}

    def _switches(self) -> dict[str, bool]:
        """Return the flags of queue.declare that are no arguments."""
        return {}

    @property
    def consumer(self) -> ConsumerOptions:
        """How to consume from the queue."""
        return PLAIN

    @property
    def _identity(self) -> tuple[Any, ...]:
        return self.name, effective(self.flags), self.consumer

    def __eq__(self, other: object) -> bool:
        if isinstance(other, TypedQueue):
            return self._identity == other._identity
        if not isinstance(other, Mapping):
            return NotImplemented
        flags = other.get("flags") or {}
        if not (isinstance(flags, Mapping) and isinstance(flags.get("arguments") or {}, Mapping)):
            return False  # it declares no queue
        return self._identity == (other.get("name"), effective(flags), options_of(other, flags))

    def __hash__(self) -> int:
        return hash(self.name)

    def __repr__(self) -> str:
        shown = [repr(self.name), *(f"{name}={value!r}" for name, value in self._given().items())]
        return f"{type(self).__name__}({', '.join(shown)})"


def _sent(name: str, value: Any) -> Any:
    """Return the *value* of the field *name* as the broker has it."""
    if name in _IN_SECONDS:
        return max(1, round(value * 1000)) if value else 0
    if name == "max_age" and not isinstance(value, str):
        return f"{int(value)}s"
    if isinstance(value, Integral) and value is not True:
        return int(value)  # pika does not know the numbers of other libraries
    return value


def type_of(flags: Mapping[str, Any]) -> str:
    """Return the type of the queue that *flags* declare; ``"classic"`` unless they name another."""
    return str((flags.get("arguments") or {}).get("x-queue-type", "classic"))


def options_of(queue: object, flags: Mapping[str, Any]) -> ConsumerOptions:
    """Return how to consume from *queue*, which its *flags* declare."""
    if isinstance(queue, TypedQueue):
        return queue.consumer
    keeps_turn = bool((flags.get("arguments") or {}).get("x-single-active-consumer"))
    is_stream = type_of(flags) == "stream"
    if not (is_stream or keeps_turn):
        return PLAIN
    return ConsumerOptions(is_stream=is_stream, keeps_turn=keeps_turn)


def effective(flags: Mapping[str, Any]) -> dict[str, Any]:
    """Return *flags* without those that say what is the default."""
    found = {"durable": not flags.get("exclusive"), **flags}
    found["arguments"] = {"x-queue-type": "classic", **(flags.get("arguments") or {})}
    return {name: value for name, value in found.items() if value}
