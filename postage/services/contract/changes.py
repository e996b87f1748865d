"""The breaking changes between two contracts.  Pure.

What a service *takes* (parameters, and events that it handles) may become wider.  What it *sends*
(results, and events that it publishes) may become narrower.  Every other change breaks a peer that
knows only the old contract.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

from postage.errors import SettingsError
from postage.foreign_text import one_line
from postage.services.contract.model import Contract, Operation, OperationKey, ToldBinding
from postage.services.contract.schemas import Json
from postage.services.contract.subtypes import Comparison, Misfit, MisfitKind

__all__ = ["Change", "breaking_changes"]


class Change(NamedTuple):
    """A change that breaks a peer of a service."""

    where: str
    """The name of the service, or of its handler."""
    text: str
    """What has changed, as the rest of a sentence that begins with `where`."""


def breaking_changes(old: Contract, new: Contract) -> list[Change]:
    """Return the changes from *old* to *new* that break a peer, in the order of *old*.

    If it is not sure that a change is harmless, it reports the change.  Raises `SettingsError` if
    the contracts are too large, or their types too deep, to be compared.
    """
    try:
        found = [Change(one_line(where), one_line(text)) for where, text in _all(old, new)]
    except RecursionError:  # so many types, each in another one, that nobody has written them
        raise SettingsError("the types of these contracts nest too deep to be compared") from None
    return list(dict.fromkeys(found))


_Found = Iterator[tuple[str, str]]


def _all(old: Contract, new: Contract) -> _Found:
    for name, service in old.services.items():
        if name not in new.services:
            yield name, "is gone"
        else:
            after = new.services[name].bindings
            yield from ((name, text) for text in _moved(service.bindings, after))
    known = _by_key(new.operations)
    for operation in old.operations:
        if operation.service in new.services:
            after_it = _successor(operation, known)
            texts: Iterable[str]
            if after_it is None:
                texts = [_gone(operation, new)]
            else:
                texts = _OperationChanges(old, operation, new, after_it).texts()
            yield from ((operation.where, text) for text in texts)


def _by_key(operations: Iterable[Operation]) -> dict[OperationKey, Operation]:
    known: dict[OperationKey, Operation] = {}
    for each in operations:
        known.setdefault(each.key, each)
    return known


def _successor(operation: Operation, known: dict[OperationKey, Operation]) -> Operation | None:
    """Return what takes the messages of an old operation; None if nothing does."""
    service, category, type_, _ = operation.key
    return known.get(operation.key) or known.get((service, category, type_, None))


def _gone(operation: Operation, new: Contract) -> str:
    if operation.kind == "publishes":
        return "is published no longer"
    for each in new.operations:
        same = (each.service, each.name) == (operation.service, operation.name)
        if same and each.kind != operation.kind and "publishes" not in {each.kind, operation.kind}:
            return f"was of the kind {operation.kind}, and is of the kind {each.kind}"
    return f"is taken no longer ({operation.kind})"


def _moved(before: list[ToldBinding], after: list[ToldBinding]) -> Iterator[str]:
    """Yield what has changed in where a service listens; nothing if either is unknown."""
    if not before or not after:
        return
    types = {each.exchange: (each.exchange_type, each.durable) for each in after}
    keys = {(each.exchange, each.key) for each in after}
    queues = {each.queue for each in after}
    for each in before:
        exchange = repr(each.exchange)
        if each.exchange not in types:
            yield f"listens no longer at the exchange {exchange}"
        elif (each.exchange, each.key) not in keys:
            yield f"listens no longer to the key {each.key!r} of the exchange {exchange}"
        elif types[each.exchange] != (each.exchange_type, each.durable):
            kind, durable = types[each.exchange]
            now = f"{kind}, {'durable' if durable else 'transient'}"
            yield f"declares the exchange {exchange} in another way, as {now}"
        if each.queue and each.queue not in queues:
            yield f"has left its queue {each.queue!r}, and the messages that wait there"


class _OperationChanges:
    """The changes of one operation."""

    def __init__(self, old: Contract, before: Operation, new: Contract, after: Operation) -> None:
        self._old, self._before, self._new, self._after = old, before, new, after

    def texts(self) -> Iterator[str]:
        """Yield what has changed for the worse."""
        before, after = self._before, self._after
        if before.kind == "publishes":
            if before.exchange != after.exchange:
                yield f"is published to {after.exchange!r}, and no longer to {before.exchange!r}"
            yield from self._of_sent(before.event, after.event, "the event")
            return
        if not before.is_typed:
            return  # nothing is known of what its callers send and expect
        if after.is_typed:
            if before.event is not None and after.event is not None:
                yield from self._of_taken(before.event, after.event, "the event")
            yield from self._of_parameters()
        if before.streams != after.streams:
            ways = ("one reply", "a stream of parts")
            yield f"answered with {ways[before.streams]}, and answers with {ways[after.streams]}"
        elif before.kind == "rpc":
            yield from self._of_sent(before.result, after.result, "the result")
        if before.kind == "rpc" and after.is_typed:
            for each in sorted(set(before.raises) - set(after.raises)):
                yield f"raises {each} no longer, for which callers wait"

    # --- parameters

    def _of_parameters(self) -> Iterator[str]:
        before = {each.name: each for each in self._before.parameters or ()}
        after = {each.name: each for each in self._after.parameters or ()}
        for name, known in after.items():
            if name not in before and known.required:
                yield f"needs a new parameter {name!r}"
        for name, was in before.items():
            if name not in after:
                yield f"takes no parameter {name!r} any longer"
                continue
            if after[name].required and not was.required:
                yield f"needs the parameter {name!r}, which had a default"
            schemas = (
                self._old.parameter(self._before, name),
                self._new.parameter(self._after, name),
            )
            yield from self._of_taken(*schemas, f"the parameter {name!r}")
        yield from self._of_order()

    def _of_order(self) -> Iterator[str]:
        """Yield what callers notice that send arguments without names."""
        before, after = (
            [each.name for each in operation.parameters or () if each.kind != "keyword"]
            for operation in (self._before, self._after)
        )
        kept = [name for name in before if name in after]
        if kept == before and after[: len(before)] != before:
            yield f"has another order of parameters: {', '.join(after)}"
        names = {each.name for each in self._after.parameters or ()}
        for name in before:
            if name in names and name not in after:
                yield f"takes the parameter {name!r} by its name only"
        whole = self._before.parameters or []
        if len(whole) == 1 and len(names) > 1 and before and before == after[:1]:
            schema = self._old.parameter(self._before, before[0])
            if Comparison(self._old.schemas, self._old.schemas).misfits({}, schema) == []:
                yield (
                    f"takes a list for several arguments, and an object for keywords, that were "
                    f"the value of {before[0]!r}"
                )

    # --- types

    def _of_taken(self, before: Json, after: Json, what: str) -> Iterator[str]:
        misfits = Comparison(self._old.schemas, self._new.schemas).misfits(before, after)
        yield from (f"{what}{_place(each)} {_TAKEN[each.kind](each)}" for each in misfits)

    def _of_sent(self, before: Json | None, after: Json | None, what: str) -> Iterator[str]:
        if before is None:
            return
        if after is None:
            if Comparison({}, self._old.schemas).misfits({}, before):
                yield f"{what} has no type any longer"
            return
        misfits = Comparison(self._new.schemas, self._old.schemas).misfits(after, before)
        yield from (f"{what}{_place(each)} {_SENT[each.kind](each)}" for each in misfits)


def _place(misfit: Misfit) -> str:
    return f" at {misfit.path}" if misfit.path else ""


_Told = Mapping[MisfitKind, Callable[[Misfit], str]]
_TAKEN: _Told = {
    MisfitKind.TYPE: lambda each: f"took {each.given}, and takes only {each.wanted}",
    MisfitKind.LIMIT: lambda each: f"has a new limit: {each.wanted} (before: {each.given})",
    MisfitKind.MISSING: lambda _: "is required now",
    MisfitKind.UNKNOWN: lambda _: "is refused now",
}
_SENT: _Told = {
    MisfitKind.TYPE: lambda each: f"was {each.wanted}, and may be {each.given} now",
    MisfitKind.LIMIT: lambda each: f"has lost a limit: {each.wanted} (now: {each.given})",
    MisfitKind.MISSING: lambda _: "may be missing now",
    MisfitKind.UNKNOWN: lambda _: "is new, and refused by peers that know the old contract",
}
