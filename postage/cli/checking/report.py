"""The report of ``postage check``: what components there are, and what was found."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from postage.addressing import Binding, queue_name_and_flags
from postage.cli.checking.rules import (
    Finding,
    exchanges_differ,
    keys_lead_nowhere,
    wrong_with_handlers,
)
from postage.cli.checking.sandbox import Sandbox
from postage.cli.running.components import made, name_of, things
from postage.cli.running.targets import Target
from postage.errors import PostageError
from postage.exchange import Exchange
from postage.green import GenericProducer, MessageProcessor

__all__ = ["Report", "report_on"]

BUILDERS = {"build_message_": "message_", "build_rpc_": "rpc_"}


@dataclass
class Report:
    """All that is known of some modules."""

    processors: dict[str, list[Binding]] = field(default_factory=dict)
    """What each of them listens to."""
    kinds: list[type[MessageProcessor]] = field(default_factory=list)
    producers: list[type[GenericProducer]] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    @property
    def faults(self) -> list[Finding]:
        """What is wrong."""
        return [each for each in self.findings if each.fault]

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {
            "processors": {
                name: [_flat(b) for b in bound] for name, bound in self.processors.items()
            },
            "handlers": [row for kind in self.kinds for row in _handlers(kind)],
            "producers": [row for kind in self.producers for row in _targets(kind)],
            "messages": [row for kind in self.producers for row in _messages(kind)],
            "findings": [vars(each) for each in self.findings],
        }


def report_on(targets: Sequence[Target], sandbox: Sandbox) -> Report:
    """Import what *targets* name, make it in the *sandbox*, examine it.  Raises `CommandFailed`."""
    report = Report()
    for target, found in [(target, things(target)) for target in targets]:
        producers = list(_producers(sys.modules[target.module]))
        report.producers += [each for each in producers if each not in report.producers]
        for thing in found:
            _make(report, thing, target, sandbox)
        if not found and not producers:
            nothing = "defines no processor and no producer"
            report.findings.append(Finding(str(target), nothing, fault=False))
    report.findings += _examined(report)
    return report


def _make(report: Report, thing: Any, target: Target, sandbox: Sandbox) -> None:
    """Make *thing*, and take note of what it is."""
    kinds = [thing] if isinstance(thing, type) else []
    try:
        components = [each for each in made(thing, target) if isinstance(each, MessageProcessor)]
    except PostageError as exc:
        report.findings.append(Finding(name_of(thing), f"cannot be run: {exc}"))
        components = []
    for each in components:
        kinds.append(type(each))
        name = _unique(type(each).__qualname__, report.processors)
        report.processors[name] = bound = sandbox.bound_by(each.consumer)
        if not bound:
            report.findings.append(Finding(name, "listens to no queue", fault=False))
    ours = (kind for kind in kinds if issubclass(kind, MessageProcessor))
    report.kinds += [kind for kind in dict.fromkeys(ours) if kind not in report.kinds]


def _unique(name: str, taken: Iterable[str]) -> str:
    count = sum(each.partition(" ")[0] == name for each in taken)
    return f"{name} {count + 1}" if count else name


def _producers(module: ModuleType) -> Iterator[type[GenericProducer]]:
    for name, value in vars(module).items():
        is_class = isinstance(value, type) and issubclass(value, GenericProducer)
        if is_class and value.__module__ == module.__name__ and not name.startswith("_"):
            yield value


def _examined(report: Report) -> Iterator[Finding]:
    for kind in report.kinds:
        yield from wrong_with_handlers(kind, kind.route_table)
    bindings = [each for bound in report.processors.values() for each in bound]
    exchanges: list[type[Exchange]] = [each.exchange for each in bindings]
    exchanges += [exchange for producer in report.producers for exchange, _ in producer.eks]
    yield from exchanges_differ(exchanges)
    for producer in report.producers:
        yield from keys_lead_nowhere(producer.__qualname__, producer.eks, bindings)


def _flat(binding: Binding) -> dict[str, str]:
    queue, _ = queue_name_and_flags(binding.queue)
    exchange = binding.exchange
    return {
        "exchange": exchange.name,
        "exchange_type": exchange.exchange_type,
        "queue": queue,
        "key": binding.key,
    }


def _handlers(kind: type[MessageProcessor]) -> Iterator[dict[str, Any]]:
    for route, handler in kind.route_table.entries:
        route_ = {"category": route.category, "type": route.type, "name": route.name}
        yield {"processor": kind.__qualname__, **route_, "handler": handler}


def _targets(kind: type[GenericProducer]) -> Iterator[dict[str, str]]:
    for exchange, key in kind.eks:
        yield {"producer": kind.__qualname__, "exchange": exchange.name, "key": key}


def _messages(kind: type[GenericProducer]) -> Iterator[dict[str, str]]:
    """Yield the messages that have a builder, as they are called."""
    for name, value in inspect.getmembers(kind, callable):
        for prefix, called in BUILDERS.items():
            if name.startswith(prefix):
                parameters = list(inspect.signature(value).parameters.values())[1:]
                call = f"{called}{name.removeprefix(prefix)}({', '.join(map(str, parameters))})"
                yield {"producer": kind.__qualname__, "message": call}
