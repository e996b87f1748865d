"""docs/troubleshooting.md has a section for each error, and `postage explain` has both pages."""

from __future__ import annotations

import re

import pytest

import postage.errors
import postage.testing
from postage.cli.checking.explaining.sections import PAGES
from postage.message import (
    CONNECTION_LOST,
    NO_REPLY,
    NO_ROUTE,
    SERVER_ERROR,
    TIMEOUT,
    UNKNOWN_COMMAND,
)
from tests.support.programs import ROOT

PAGE = (ROOT / "docs" / "troubleshooting.md").read_text()
TITLES = re.findall(r"^### (.*)$", PAGE, re.MULTILINE)
RESULTS = [CONNECTION_LOST, NO_REPLY, NO_ROUTE, SERVER_ERROR, TIMEOUT, UNKNOWN_COMMAND]
OF_TESTS = [
    name
    for name in postage.testing.__all__
    if isinstance(kind := getattr(postage.testing, name), type) and issubclass(kind, BaseException)
]


@pytest.mark.parametrize("name", sorted({*postage.errors.__all__, *RESULTS, *OF_TESTS}))
def test_an_error_has_a_section(name: str) -> None:
    assert name in TITLES


def test_no_two_sections_have_the_same_title() -> None:
    assert len(set(TITLES)) == len(TITLES)


@pytest.mark.parametrize("page", PAGES)
def test_the_package_has_the_pages_of_docs(page: str) -> None:
    packaged = ROOT / "postage" / "cli" / "checking" / "explaining" / page

    assert packaged.read_text() == (ROOT / "docs" / page).read_text()
