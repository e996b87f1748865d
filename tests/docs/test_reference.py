"""The reference has every public name, setting, exit code, header and count that the code has."""

from __future__ import annotations

import ast
import re
from dataclasses import fields

import pytest

from postage import (
    ChannelStatistics,
    ConnectionStatistics,
    MessageHandler,
    MessageProcessor,
    ProcessorStatistics,
    ProducerStatistics,
    Retry,
    Settings,
)
from postage.cli.exits import CODES, Code
from tests.support.programs import ROOT
from tools.api_pages import MODULES, groups, pages, public_names

PAGE = (ROOT / "docs" / "reference.md").read_text()
STATISTICS = (ProducerStatistics, ProcessorStatistics, ConnectionStatistics, ChannelStatistics)
VARIABLE = re.compile(r"(?<![A-Z_])POSTAGE_[A-Z_]+\b")
PAGES = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]


@pytest.mark.parametrize("module", MODULES)
def test_every_public_name_is_on_a_page(module: str) -> None:
    text = "".join(pages().values())

    for name in public_names(module):
        named = re.compile(rf"(?:::|<) ?(?:(?:{re.escape(module)}|postage)\.)?{name}\b")
        assert named.search(text), name


def test_the_groups_have_all_names_of_the_package() -> None:
    names = [name for group in groups().values() for name in group]

    assert sorted(names) == sorted(public_names("postage"))


def test_the_pages_import_public_names_only() -> None:
    """``from postage import errors`` imports a module."""
    text = "\n".join(page.read_text() for page in PAGES)
    found = re.findall(r"^(?:>>> )? *from (postage[\w.]*) import ([\w, ]+)$", text, re.MULTILINE)

    assert found
    for module, names in found:
        for name in names.split(", "):
            is_public = module in MODULES and name in public_names(module)
            assert is_public or f"{module}.{name}" in MODULES, (module, name)


def test_every_setting_is_in_the_table() -> None:
    table = PAGE.partition("## Settings")[2].partition("Other variables")[0]

    for each in fields(Settings):
        assert f"`{each.name}`" in table
        if each.name != "other_hosts":
            assert f"`POSTAGE_{each.name.upper()}" in table
        if not isinstance(each.default, (tuple, str)) or each.default == "PLAIN":
            assert f"`{each.default}`" in table


def test_every_variable_of_the_code_is_on_the_page() -> None:
    source = "\n".join(path.read_text() for path in (ROOT / "postage").rglob("*.py"))

    assert set(VARIABLE.findall(source)) - {"POSTAGE_COMPLETE", "POSTAGE_REQUIRE_RABBITMQ"} <= set(
        VARIABLE.findall(PAGE)
    )


def test_every_exit_code_is_in_the_table_with_its_errors() -> None:
    rows = dict(re.findall(r"^\| (\d) \| (.*)\|$", PAGE, re.MULTILINE))

    assert sorted(rows) == sorted(str(int(code)) for code in Code)
    for code in Code:
        assert f"`{code.name}`" in rows[str(int(code))]
    for kind, code in CODES.items():
        assert f"`{kind.__name__}`" in rows[str(int(code))]


@pytest.mark.parametrize("kind", STATISTICS)
def test_every_count_is_in_the_table_of_its_class(kind: type) -> None:
    table = PAGE.partition(f"(`{kind.__name__}`)")[2].partition("\nOf a ")[0]

    assert [each.name for each in fields(kind) if f"`{each.name}`" not in table] == []


def test_every_header_of_a_parked_message_is_in_the_table(run_processor, postage_parked) -> None:
    """And those that any code of ours names."""
    from postage import Exchange, GenericProducer

    class Place(Exchange):
        name = "reference-exchange"

    class Sender(GenericProducer):
        eks = ((Place, "key"),)

    class Fails(MessageProcessor):
        retry = Retry(delays=(0.05,))

        @MessageHandler("command", "work")
        def work(self, content):
            raise ValueError("always")

    run_processor(Fails({"name": "fails"}, eqk=[(Place, [("reference", "key")])]))
    Sender().send("work")
    [parked] = postage_parked("reference").wait(1)
    run_processor.errors.clear()

    written = {name for name in parked.properties.headers if name.startswith("x-postage-")}
    assert written >= {"x-postage-why", "x-postage-round"}
    assert written | named_in_code() <= set(re.findall(r"`(x-postage-[\w-]+)`", PAGE))


def named_in_code() -> set[str]:
    """Return the headers that are spelt in one piece in the code."""
    found = set()
    for path in (ROOT / "postage").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.JoinedStr) and len(node.values) == 2:  # f"{A}b"
                first, last = node.values
                prefix = isinstance(first, ast.FormattedValue) and ast.unparse(first.value)
                if prefix in {"OWN_HEADERS", "PREFIX"} and isinstance(last, ast.Constant):
                    found.add(f"x-postage-{last.value}")
    return found
