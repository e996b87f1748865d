"""pika's private names: those that are used are listed, and the installed pika has them.

When a release of pika moves one, the test that fails has its name.
"""

from __future__ import annotations

import ast
import inspect
import sys
import textwrap
from collections.abc import Iterator
from functools import lru_cache

import pika.adapters.utils.connection_workflow
import pika.channel
import pika.connection
import pytest

from postage.green.amqp.transport import PIKA_PRIVATE_NAMES, Transport
from tests.support.sources import Module, modules

MODULES = modules()
THEIRS = pika.connection.Connection
#: What pika expects from an adapter: abstract there, ours to write.
ABSTRACT = frozenset(THEIRS.__abstractmethods__)
#: Documented, although they have an underscore: of `typing.NamedTuple`.
DOCUMENTED = {"_asdict", "_fields", "_make", "_replace"}


def private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


@lru_cache(None)
def defined(module: Module) -> frozenset[str]:
    """Return the names that a module gives to its own functions, classes and attributes."""
    return frozenset(_defined(module.tree))


def _defined(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            yield node.name
        elif isinstance(node, (ast.Attribute, ast.Name)) and isinstance(node.ctx, ast.Store):
            yield node.attr if isinstance(node, ast.Attribute) else node.id


@lru_cache(None)
def attributes(module: Module) -> dict[str, int]:
    """Return the private attributes that are read, called or deleted anywhere, and the line."""
    return dict(_attributes(module.tree))


def _attributes(tree: ast.AST) -> Iterator[tuple[str, int]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and private(node.attr):
            owner = ast.unparse(node.value)
            if owner not in sys.stdlib_module_names:  # sys._current_frames is documented
                yield node.attr, node.lineno


def instance_attributes(cls: type) -> set[str]:
    """Return what the methods of *cls* assign to ``self``."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(cls)))
    return {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.ctx, ast.Store)
        and ast.unparse(node.value) == "self"
    }


@pytest.mark.parametrize("name", PIKA_PRIVATE_NAMES)
def test_pika_has(name: str) -> None:
    theirs = getattr(THEIRS, name, None)
    assert callable(theirs), f"pika {pika.__version__} has no method Connection.{name} any more"
    ours = vars(Transport).get(name)
    if ours is None:
        return
    expected = [p.name for p in inspect.signature(theirs).parameters.values()]
    found = [p.name for p in inspect.signature(ours).parameters.values()]
    assert found == expected, f"pika {pika.__version__} calls Connection.{name} otherwise"


def test_pika_asks_for_nothing_else() -> None:
    assert set(PIKA_PRIVATE_NAMES) & set(vars(Transport)) >= ABSTRACT


def test_the_list_is_sorted_and_has_no_double() -> None:
    assert list(PIKA_PRIVATE_NAMES) == sorted(set(PIKA_PRIVATE_NAMES))


@pytest.mark.parametrize("name", PIKA_PRIVATE_NAMES)
def test_each_listed_name_is_used(name: str) -> None:
    users = [m.name for m in MODULES if name in defined(m) | attributes(m).keys()]
    assert users, f"{name} is used nowhere: take it off the list"
    assert all(user.startswith("postage.green.amqp.") for user in users)


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.name)
def test_no_other_foreign_private_name_is_used(module: Module) -> None:
    ours = {name for m in MODULES for name in defined(m)}
    known = {*ours, *PIKA_PRIVATE_NAMES, *DOCUMENTED}
    foreign = {name: line for name, line in attributes(module).items() if name not in known}
    assert not foreign, f"{module.name} uses names that are private elsewhere"


def test_nothing_of_pikas_is_overridden_by_accident() -> None:
    theirs = {name for cls in THEIRS.__mro__ for name in vars(cls)} | instance_attributes(THEIRS)
    ours = set(vars(Transport)) | instance_attributes(Transport)
    meant = {*PIKA_PRIVATE_NAMES, "params", "bytes_received", "bytes_sent"}
    by_language = {name for name in ours if name.startswith(("__", "_abc_"))}
    assert (ours & theirs) - meant - by_language == set()


def test_transport_alone_subclasses_a_class_of_pika() -> None:
    found = [
        (module.name, node.name)
        for module in MODULES
        for node in ast.walk(module.tree)
        if isinstance(node, ast.ClassDef)
        and any(ast.unparse(base).startswith("pika") for base in node.bases)
    ]
    assert found == [("postage.green.amqp.transport", "Transport")]


def test_the_channel_has_the_public_names_that_we_call() -> None:
    for name in (
        "add_on_cancel_callback",
        "add_on_close_callback",
        "add_on_return_callback",
        "basic_ack",
        "basic_cancel",
        "basic_consume",
        "basic_publish",
        "basic_qos",
        "basic_reject",
        "close",
        "confirm_delivery",
        "exchange_declare",
        "queue_bind",
        "queue_declare",
        "queue_delete",
        "queue_unbind",
    ):
        assert callable(getattr(pika.channel.Channel, name, None)), name
    for name in ("channel_number", "consumer_tags", "is_open", "is_closing", "is_closed"):
        channel = pika.channel.Channel
        assert hasattr(channel, name) or name in instance_attributes(channel), name
