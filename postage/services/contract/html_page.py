"""A contract as one page of HTML, which loads nothing.  Pure.

Every text of the contract is escaped: it may come from anybody.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from html import escape
from typing import Any

from postage.services.contract.model import Contract, Operation, ServiceContract
from postage.services.contract.schemas import SCHEMAS
from postage.services.contract.subtypes import shown

__all__ = ["html_of"]

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; padding: 0 1rem; }
table { border-collapse: collapse; } td, th { padding: .2rem 1rem .2rem 0; text-align: left; }
td { vertical-align: top; } pre { overflow: auto; white-space: pre-wrap; }
h3 small { color: #666; font-weight: normal; } code, pre { font-family: ui-monospace, monospace; }
"""
_POLICY = (
    '<meta http-equiv="Content-Security-Policy" '
    "content=\"default-src 'none'; style-src 'unsafe-inline'\">"
)
"""Nothing is loaded, and no script runs, whatever a text contains."""
_KINDS = {
    "rpc": "call", "command": "command", "event": "event that is taken",
    "publishes": "event that is published", "message": "message",
}  # fmt: skip


def html_of(contract: Contract) -> str:
    """Return the text of a page that shows *contract*."""
    title = escape(contract.title)
    parts = [
        "<!DOCTYPE html>",
        '<html lang="en"><head><meta charset="utf-8">',
        _POLICY,
        f"<title>{title}</title><style>{_STYLE}</style></head><body>",
        f"<h1>{title} <small>{escape(contract.version)}</small></h1>",
        *(part for each in contract.services.items() for part in _service(contract, *each)),
        "<h2>Types</h2>",
        *(part for each in contract.schemas.items() for part in _type(*each)),
        "</body></html>",
    ]
    # A terminal would obey some characters, and the encoding of stdout may lack others.
    plain = (each if each.isprintable() or each == "\n" else "\ufffd" for each in "\n".join(parts))
    page = "".join(plain)
    return page.encode("ascii", "xmlcharrefreplace").decode()


def _service(contract: Contract, name: str, service: ServiceContract) -> Iterator[str]:
    yield f'<h2 id="{_anchor("service", name)}">{escape(name)}</h2>{_text(service.doc)}'
    if service.bindings:
        rows = [
            [f"{each.exchange} ({each.exchange_type})", each.key, each.queue]
            for each in service.bindings
        ]
        yield _table(["exchange", "key", "queue"], [list(map(escape, row)) for row in rows])
    for each in contract.operations:
        if each.service == name:
            yield from _operation(contract, each)


def _operation(contract: Contract, operation: Operation) -> Iterator[str]:
    kind = "stream" if operation.streams else _KINDS[operation.kind]
    name = "any name" if operation.name is None else operation.name
    yield f"<h3>{escape(name)} <small>{kind}</small></h3>{_text(operation.doc)}"
    if not operation.is_typed:
        yield "<p>A classic handler: its content and its reply may be anything.</p>"
        return
    if operation.event is not None:
        yield f"<p>The event: {_hint(operation.event)}</p>"
    rows = [
        [f"<code>{escape(each.name)}</code>", *_parameter(contract, operation, each.name)]
        for each in operation.parameters or ()
    ]
    if rows:
        yield _table(["parameter", "type", "default"], rows)
    if operation.kind == "rpc":
        what = "Each part" if operation.streams else "The result"
        yield f"<p>{what}: {_hint(operation.result)}</p>"
    if operation.raises:
        yield f"<p>Raises: <code>{escape(', '.join(operation.raises))}</code></p>"


def _parameter(contract: Contract, operation: Operation, name: str) -> list[str]:
    schema: Any = contract.parameter(operation, name)
    has_default = isinstance(schema, dict) and "default" in schema
    default = escape(json.dumps(schema["default"])) if has_default else ""
    return [_hint(schema), f"<code>{default}</code>"]


def _type(name: str, schema: Any) -> Iterator[str]:
    if name.startswith("postage."):
        return
    text = json.dumps(schema, indent=2, ensure_ascii=False)
    yield f'<h3 id="{_anchor("type", name)}">{escape(name)}</h3>'
    yield f"{_text(schema.get('description', ''))}<pre>{escape(text)}</pre>"


def _hint(schema: Any) -> str:
    """Return what *schema* takes; a class is a link to its place on the page."""
    text = f"<code>{escape(shown(schema))}</code>"
    ref = schema.get("$ref") if isinstance(schema, dict) else None
    if isinstance(ref, str):
        return f'<a href="#{_anchor("type", ref.removeprefix(SCHEMAS))}">{text}</a>'
    return text


def _table(head: list[str], rows: list[list[str]]) -> str:
    """Return a table of cells that are HTML already."""
    top = "".join(f"<th>{each}</th>" for each in head)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><tr>{top}</tr>{body}</table>"


def _text(doc: Any) -> str:
    return f"<pre>{escape(str(doc))}</pre>" if doc else ""


def _anchor(sort: str, name: str) -> str:
    return escape(f"{sort}-{name}", quote=True)
