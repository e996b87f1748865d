"""The report of ``postage check``: the components of modules, and the findings about them."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from postage.addressing import Binding, Eks
from postage.attributes import PRODUCER
from postage.cli.checking.rules import (
    Finding,
    exchanges_differ,
    faults_of_handlers,
    keys_lead_nowhere,
)
from postage.cli.running.targets import Target, load_objects, make_components, name_of
from postage.errors import HandlerError, PostageError, SettingsError
from postage.exchange import Exchange
from postage.green import GenericConsumer, GenericProducer, MessageProcessor
from postage.testing.sandbox import sandbox
from postage.values import check_values

BUILDERS = {"build_message_": "message_", "build_rpc_": "rpc_"}


NO_QUEUE = "listens to no queue: give it an eqk, in its class or its constructor"


@dataclass
class Report:
    """The components of some modules, and the findings about them."""

    processors: dict[str, list[Binding]] = field(default_factory=dict)
    """The bindings of each processor that was made."""
    classes: list[type[MessageProcessor]] = field(default_factory=list)
    producers: list[type[GenericProducer]] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    @property
    def faults(self) -> list[Finding]:
        """The findings that are faults."""
        return [each for each in self.findings if each.fault]

    def as_dict(self) -> dict[str, Any]:
        """Return the report as plain data, fit for JSON."""
        return {
            "processors": {
                name: [_flat(b) for b in bindings] for name, bindings in self.processors.items()
            },
            "handlers": [
                {
                    "processor": each.__qualname__,
                    "category": route.category,
                    "type": route.type,
                    "name": route.name,
                    "handler": handler,
                }
                for each in self.classes
                for route, handler in each.route_table.entries
            ],
            "producers": [
                {"producer": each.__qualname__, "exchange": exchange.name, "key": key}
                for each in self.producers
                for exchange, key in _eks_of(each)
            ],
            "messages": [row for each in self.producers for row in _messages(each)],
            "findings": [vars(each) for each in self.findings],
        }


@sandbox()
def report_on(targets: Sequence[Target]) -> Report:
    """Import what *targets* name, make the processors in the `sandbox`, and examine them.

    Raises `CommandFailed` if a module cannot be imported; every other failure is a finding.  A
    `HandlerError` ends the import of its module, so the report has the first one of each module.
    """
    report = Report()
    loaded = []
    for target in targets:
        try:
            loaded.append((target, load_objects(target)))
        except HandlerError as exc:  # noqa: PERF203 - each module fails on its own
            report.findings.append(Finding(exc.where, exc.reason))
    for target, objects in loaded:
        producers = list(_producers(sys.modules[target.module]))
        _add_producers(report, producers)
        for name, value in vars(sys.modules[target.module]).items():
            if isinstance(value, GenericConsumer) and not value.listens:
                report.findings.append(Finding(name, NO_QUEUE))
        for each in objects:
            _add(report, each, target)
        if not objects and not producers:
            nothing = "defines no processor and no producer"
            report.findings.append(Finding(str(target), nothing, fault=False))
    bindings = [each for bindings in report.processors.values() for each in bindings]
    exchanges: list[type[Exchange]] = [each.exchange for each in bindings]
    exchanges += [exchange for producer in report.producers for exchange, _ in _eks_of(producer)]
    for processor in report.classes:
        report.findings += faults_of_handlers(processor, processor.route_table)
    report.findings += exchanges_differ(exchanges)
    for producer in report.producers:
        report.findings += keys_lead_nowhere(producer.__qualname__, _eks_of(producer), bindings)
    return report


def _add(report: Report, source: Any, target: Target) -> None:
    """Make the processors that *source* stands for, and add them to the report."""
    classes = [source] if isinstance(source, type) else []
    try:
        components = make_components(source, target)
    except PostageError as exc:
        report.findings.append(Finding(name_of(source), f"cannot be run: {exc}"))
        components = []
    for each in components:
        if not isinstance(each, MessageProcessor):
            continue
        classes.append(type(each))
        name = type(each).__qualname__
        count = sum(known.partition(" ")[0] == name for known in report.processors)
        name = f"{name} {count + 1}" if count else name
        report.processors[name] = each.consumer.bindings
        if not each.consumer.listens:
            report.findings.append(Finding(name, NO_QUEUE))
    processors = [each for each in classes if issubclass(each, MessageProcessor)]
    report.classes += [each for each in dict.fromkeys(processors) if each not in report.classes]


def _add_producers(report: Report, producers: list[type[GenericProducer]]) -> None:
    """Add *producers* to the report; attributes that cannot be used are a finding."""
    for each in producers:
        if each in report.producers:
            continue
        try:
            check_values(each, PRODUCER)
            for exchange, _ in _eks_of(each):
                _ = exchange.parameters  # checks the attributes of the exchange
        except SettingsError as exc:
            report.findings.append(Finding(each.__qualname__, f"cannot be made: {exc}"))
        else:
            report.producers.append(each)


def _eks_of(producer: type[GenericProducer]) -> Eks:
    """Return the destinations that the class names; none if only an instance knows them."""
    eks: Any = producer.eks
    return () if isinstance(eks, property) else eks


def _producers(module: ModuleType) -> Iterator[type[GenericProducer]]:
    for name, value in vars(module).items():
        is_class = isinstance(value, type) and issubclass(value, GenericProducer)
        if is_class and value.__module__ == module.__name__ and not name.startswith("_"):
            yield value


def _flat(binding: Binding) -> dict[str, str]:
    exchange, (queue, key) = binding.exchange, binding.lasting_names
    return {
        "exchange": exchange.name,
        "exchange_type": exchange.exchange_type,
        "queue": queue,
        "key": key,
    }


def _messages(producer: type[GenericProducer]) -> Iterator[dict[str, str]]:
    """Yield the messages with a ``build_...`` method, written as they are called."""
    for name, value in inspect.getmembers(producer, callable):
        for prefix, called in BUILDERS.items():
            if name.startswith(prefix):
                parameters = list(inspect.signature(value).parameters.values())[1:]
                call = f"{called}{name.removeprefix(prefix)}({', '.join(map(str, parameters))})"
                yield {"producer": producer.__qualname__, "message": call}
