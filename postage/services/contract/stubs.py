"""Stubs: a Python module with the interfaces of services, by which clients call them.  Pure.

The module has a ``Protocol`` for each service that has calls or commands with types, which `client`
takes, and the classes of their parameters and results.  These classes are Structs of msgspec,
whatever they are in the service: on the wire there is no difference.

Names and texts come from a document that anybody may have written, so each name is made fit for
Python, and each text is a literal.
"""

from __future__ import annotations

import builtins
import keyword
import re
from collections.abc import Iterator

from postage.errors import SettingsError
from postage.foreign_text import string_literal
from postage.services.contract.hint_text import HintTexts, identifier
from postage.services.contract.model import Contract, Operation, ServiceContract, ToldBinding

__all__ = ["stubs_of"]

_IMPORTS = {
    "datetime": "import datetime",
    "decimal": "import decimal",
    "enum": "import enum",
    "uuid": "import uuid",
}
_FROM = {
    "collections.abc": ("Iterator",),
    "typing": ("Annotated", "Any", "ClassVar", "Literal", "Protocol", "TypeAlias"),
    "postage": ("Exchange", "command", "rpc"),
}
_INDENT = "    "


def stubs_of(contract: Contract) -> str:
    """Return the text of a Python module with the interfaces of the services of *contract*.

    Raises `SettingsError` if no service has a call or command with types, or if a parameter has a
    name that Python does not allow.
    """
    stubs = _Stubs(contract)
    body = "\n\n\n".join(stubs.blocks())
    if not stubs.has_services:
        raise SettingsError(
            "has no call and no command with types, so a client has nothing to call"
        )
    head = [
        f'"""{_in_docstring(contract.title)}: written by `postage contract stubs`; do not edit."""',
        "from __future__ import annotations",
        "\n".join(_imports(body)),
    ]
    return "\n\n".join(each for each in head if each) + "\n\n\n" + body + "\n"


def _imports(body: str) -> Iterator[str]:
    """Yield the lines that import what *body* uses."""
    used = set(re.findall(r"[A-Za-z_]+", body))
    yield from (line for name, line in _IMPORTS.items() if name in used)
    for module, names in _FROM.items():
        wanted = [name for name in names if name in used]
        if module == "postage":
            yield from ("", "import msgspec", "") if "msgspec" in used else ("",)
        if wanted:
            yield f"from {module} import {', '.join(wanted)}"


class _Stubs:
    def __init__(self, contract: Contract) -> None:
        self._contract = contract
        self._hints = HintTexts(contract.schemas)
        self._exchanges: dict[str, tuple[str, ToldBinding]] = {}
        self.has_services = False

    def blocks(self) -> Iterator[str]:
        """Yield the classes of the module."""
        services = list(self._services())
        self.has_services = bool(services)
        raised = dict.fromkeys(e for each in self._contract.operations for e in each.raises)
        own = [each for each in map(self._error, raised) if each]
        for operation in self._contract.operations:
            if operation.event is not None:
                self._hints.hint(operation.event)  # those who publish it need its class
        yield from own
        yield from self._hints.classes()
        for name, place in self._exchanges.values():
            yield _exchange(name, place)
        yield from services

    def _error(self, name: str) -> str:
        """Return the class of an exception; empty if Python has one of that name."""
        known = getattr(builtins, name, None)
        if isinstance(known, type) and issubclass(known, Exception):
            return ""
        return f"class {self._hints.name_of_error(name)}(Exception):\n{_INDENT}pass"

    def _services(self) -> Iterator[str]:
        for name, service in self._contract.services.items():
            operations: dict[str, list[Operation]] = {}
            for each in self._contract.operations:
                if each.service == name and each.kind in {"rpc", "command"} and each.is_typed:
                    operations.setdefault(each.method or str(each.name), []).append(each)
            if operations:
                yield self._service(name, service, operations)

    def _service(
        self, name: str, service: ServiceContract, operations: dict[str, list[Operation]]
    ) -> str:
        parts = [
            f"class {self._hints.name_of_service(name)}(Protocol):",
            *_doc(service.doc, _INDENT),
        ]
        place = next(iter(service.bindings), None)
        if place is not None and not {"exchange", "queue"} & operations.keys():
            exchange = self._exchange_of(place)
            parts.append(f"{_INDENT}exchange: ClassVar[type[Exchange]] = {exchange}")
            parts.append(f"{_INDENT}queue: ClassVar[str] = {string_literal(place.key)}")
        methods = [self._method(*each) for each in operations.items()]
        return "\n\n".join(["\n".join(parts), *methods])

    def _exchange_of(self, place: ToldBinding) -> str:
        if place.exchange not in self._exchanges:
            name = self._hints.name_of_service(f"{place.exchange.title() or 'Default'}Exchange")
            self._exchanges[place.exchange] = (name, place)
        return self._exchanges[place.exchange][0]

    def _method(self, name: str, operations: list[Operation]) -> str:
        method, first = identifier(name), operations[0]
        lines = [f"{_INDENT}{self._decorator(method, each)}" for each in operations]
        result = "None" if first.result is None else self._hints.hint(first.result)
        result = f"Iterator[{result}]" if first.streams else result
        parameters = ", ".join(["self", *self._parameters(first)])
        end = [*_doc(first.doc, _INDENT * 2)]
        lines.append(f"{_INDENT}def {method}({parameters}) -> {result}:{'' if end else ' ...'}")
        return "\n".join([*lines, *end, *[f"{_INDENT * 2}..."] * bool(end)])

    def _decorator(self, method: str, operation: Operation) -> str:
        arguments = []
        if operation.name != method:
            arguments.append(f"name={string_literal(str(operation.name))}")
        if operation.raises:
            names = [self._hints.name_of_error(each) for each in operation.raises]
            arguments.append(f"raises=({', '.join(names)},)")
        return f"@{operation.kind}" + (f"({', '.join(arguments)})" if arguments else "")

    def _parameters(self, operation: Operation) -> Iterator[str]:
        kind_before = "place"
        starts_with_place = [each.kind for each in operation.parameters or ()][:1] == ["place"]
        for each in operation.parameters or ():
            if not each.name.isidentifier() or keyword.iskeyword(each.name):
                name = string_literal(each.name[:80])
                raise SettingsError(f"{operation.where} has a parameter {name}, no name in Python")
            if kind_before == "place" != each.kind and starts_with_place:
                yield "/"
            if kind_before != "keyword" and each.kind == "keyword":
                yield "*"
            kind_before = each.kind
            schema = self._contract.parameter(operation, each.name)
            yield self._hints.declared(each.name, schema, is_required=each.required)
        if kind_before == "place" and operation.parameters:
            yield "/"


def _exchange(name: str, place: ToldBinding) -> str:
    lines = [
        f"class {name}(Exchange):",
        f"name = {string_literal(place.exchange)}",
        f"exchange_type = {string_literal(place.exchange_type)}",
        *([] if place.durable else ["durable = False"]),
        *(["auto_delete = True"] if place.auto_delete else []),
    ]
    return f"\n{_INDENT}".join(lines)


def _doc(text: str, indent: str) -> Iterator[str]:
    """Yield the lines of a docstring."""
    if text:
        lines = _in_docstring(text).split("\n")
        inner = [f"{indent}{each}".rstrip() for each in lines[1:]]
        ends = [f"{indent}"] if inner else [""]
        yield "\n".join([f'{indent}"""{lines[0]}', *inner]) + "\n" * bool(inner) + f'{ends[0]}"""'


def _in_docstring(text: str) -> str:
    """Return *text* as it may stand in a docstring: nothing ends it, and nothing is invisible."""
    lines = [string_literal(f"'{each}")[2:-1] for each in text.split("\n")]
    return "\n".join(each.replace('"', "'") for each in lines).rstrip("\\")
