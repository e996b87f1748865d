"""Contracts as files and on the terminal: reading, making and writing them."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from postage.cli.arguments import exchange_of, explain_missing
from postage.cli.exits import Code, CommandFailed, ExtraMissing
from postage.cli.output import error_text, print_text
from postage.cli.remote import Remote
from postage.cli.running.targets import Target, load_objects, make_components, name_of
from postage.encoding import JsonEncoder
from postage.errors import DecodingError, EncodingError, HandlerError, SettingsError
from postage.foreign_text import one_line
from postage.green import MessageProcessor
from postage.services.contract.document import Served, document_of
from postage.services.contract.model import Contract
from postage.services.contract.stubs import stubs_of
from postage.services.conversion import library
from postage.testing.sandbox import sandbox

__all__ = ["contract_from", "contract_of", "contract_told", "print_contract", "stubs_from"]

LARGEST = 16 << 20
"""Bytes of a file; a contract of a thousand handlers has a tenth of them."""
DEEPEST = 200
"""Levels of a file in YAML; JSON has the limit of messages."""


@sandbox()
def contract_of(targets: Sequence[Target], *, title: str = "", version: str = "") -> dict[str, Any]:
    """Import what *targets* name, in the `sandbox`, and return the contract of its components.

    Raises `CommandFailed` if there is none, or if a module cannot be imported.
    """
    served: dict[type[MessageProcessor], Served] = {}
    for target in targets:
        for each in _loaded(target):
            for found in _served(each, target):
                served.setdefault(found.kind, found)
    if not served:
        names = ", ".join(map(str, targets))
        text = "defines no service and no processor; name one: MODULE:NAME"
        raise CommandFailed(f"{names} {text}")
    _need_library()
    title = title or ", ".join(map(str, targets))
    return document_of(served.values(), title=title, version=version or _version(targets[0]))


def contract_told(exchange: str, key: str, *, wait: float) -> dict[str, Any]:
    """Ask the service behind *key* of *exchange* for its contract; raises `CommandFailed`.

    The exchange is named as `postage call` names it, and *wait* is in seconds.  Switches.
    """
    kind = exchange_of(exchange, None, durable=True)
    with explain_missing(kind):
        result = Remote(kind, key).rpc_command("describe", {}, _timeout=wait, _max_retry=0)
    if not result:
        raise CommandFailed(error_text(result), Code.ERROR_RESULT)
    document = result.value.get("contract") if isinstance(result.value, dict) else None
    if not isinstance(document, dict):
        text = f"the component behind {key!r} answers without a contract: it is no service"
        raise CommandFailed(text, Code.ERROR_RESULT)
    return document


def _loaded(target: Target) -> list[Any]:
    try:
        return load_objects(target)
    except HandlerError as exc:
        raise CommandFailed(str(exc)) from None


def _served(source: Any, target: Target) -> Iterator[Served]:
    """Yield what is known of the processors that *source* stands for.

    A class is made only if it does not say itself where it listens.
    """
    if isinstance(source, type) and issubclass(source, MessageProcessor):
        known = Served.of(source)
        if not known.bindings:
            try:
                known = Served.of(source())
            except Exception:  # the constructor is the user's: the class is what is known
                known = Served.of(source)
        yield known
        return
    if isinstance(source, type):
        raise CommandFailed(f"{target}: {name_of(source)} is no service and no processor")
    for each in make_components(source, target):
        if isinstance(each, MessageProcessor):
            yield Served.of(each)


def _need_library() -> None:
    try:
        library()
    except SettingsError:
        raise ExtraMissing("a contract", "msgspec", "typed") from None


def _version(target: Target) -> str:
    """Return the version of the package in which *target* is; empty if it has none."""
    package = sys.modules.get(target.module.partition(".")[0])
    version = getattr(package, "__version__", "")
    return version if isinstance(version, str) and version else "0.0.0"


# --- reading


def contract_from(source: str) -> Contract:
    """Return the contract in the file *source*, in stdin (``-``), or of the module *source*.

    Raises `CommandFailed` if there is none, or if it cannot be read.
    """
    _need_library()
    is_file = source == "-" or "/" in source or source.endswith((".json", ".yaml", ".yml"))
    if not is_file and not os.path.isfile(source):  # noqa: PTH113 - it also takes what is no path
        document: Any = contract_of([Target.parse(source)])
        document = json.loads(json.dumps(document))
    else:
        document = _document_in(source)
    try:
        return Contract.of(document)
    except SettingsError as exc:
        raise CommandFailed(f"{_shown(source)} {exc}") from None


def stubs_from(source: str) -> str:
    """Return the stubs of the contract in *source*, see `contract_from`; raises `CommandFailed`."""
    contract = contract_from(source)
    try:
        return stubs_of(contract)
    except SettingsError as exc:
        raise CommandFailed(f"{_shown(source)} {exc}") from None


def _shown(source: str) -> str:
    return "stdin" if source == "-" else one_line(source)


def _document_in(source: str) -> Any:
    """Return what is in a file, as an encoder decodes it."""
    if source == "-" and sys.stdin is None:
        raise CommandFailed("stdin is closed, so no contract can be read from it")
    try:
        with sys.stdin.buffer if source == "-" else Path(source).open("rb") as file:
            text = file.read(LARGEST + 1)
    except OSError as exc:
        raise CommandFailed(f"cannot read {_shown(source)}: {exc.strerror}") from None
    if len(text) > LARGEST:
        most = f"{LARGEST >> 20} MiB"
        raise CommandFailed(f"{_shown(source)} is no contract: it is larger than {most}")
    try:
        if source.endswith((".yaml", ".yml")):
            text = JsonEncoder.encode(_loaded_yaml(text)).encode()
        return JsonEncoder.decode(text)
    except (DecodingError, EncodingError, ValueError) as exc:
        name = "YAML" if source.endswith((".yaml", ".yml")) else "JSON"
        raise CommandFailed(f"{_shown(source)} is no {name}: {one_line(exc, 200)}") from None


def _loaded_yaml(text: bytes) -> Any:
    """Return what the YAML *text* stands for; raises ValueError if it is none, or too deep.

    Its aliases are refused: a few lines with them may stand for more than any memory holds.
    """
    yaml = _yaml_library()
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    level = 0
    try:
        for each in yaml.parse(text, Loader=loader):
            if isinstance(each, yaml.AliasEvent):
                raise ValueError("a contract has no aliases (*name)")  # noqa: TRY004 - no type of ours
            level += isinstance(each, yaml.CollectionStartEvent)
            level -= isinstance(each, yaml.CollectionEndEvent)
            if level > DEEPEST:
                raise ValueError(f"it nests deeper than {DEEPEST} levels")
        return yaml.load(text, Loader=loader)
    except yaml.YAMLError as exc:
        raise ValueError(one_line(exc, 200)) from None
    except (ArithmeticError, AttributeError, LookupError, TypeError):  # of PyYAML itself
        raise ValueError("a value does not fit its tag (!!...)") from None


# --- writing


def print_contract(document: dict[str, Any], *, as_yaml: bool) -> None:
    """Print *document*; raises `ExtraMissing` if YAML is asked for and not installed."""
    print_text(_yaml(document) if as_yaml else _json(document))


def _json(document: dict[str, Any]) -> str:
    text = json.dumps(document, ensure_ascii=False, indent=2)
    encoding = getattr(sys.stdout, "encoding", None) or "ascii"
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return json.dumps(document, indent=2)
    # What a terminal would obey, or show wrongly, can only be inside of texts.
    return "".join(
        each if each.isprintable() or each == "\n" else json.dumps(each)[1:-1] for each in text
    )


def _yaml_library() -> Any:
    """Return PyYAML; raises `ExtraMissing` if it is not installed."""
    try:
        import yaml  # noqa: PLC0415 - an extra
    except ImportError:
        raise ExtraMissing("YAML", "PyYAML", "yaml") from None
    return yaml


def _yaml(document: dict[str, Any]) -> str:
    yaml = _yaml_library()

    class Dumper(yaml.SafeDumper):  # type: ignore[misc,name-defined]  # it is loaded here
        def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - the signature of PyYAML
            return True

    # PyYAML escapes all letters that are not ASCII, and so those that a terminal would obey.
    text: str = yaml.dump(document, Dumper=Dumper, sort_keys=False, width=100)
    return text.rstrip()
