"""Each how-to guide has a test of its programs, and a place in the list of the pages."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.programs import ROOT

PAGES = sorted((ROOT / "docs" / "howto").glob("*.md"))
TESTS = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_is_tested_and_listed(page: Path) -> None:
    assert f'save_files("{page.stem}"' in TESTS
    assert f"(howto/{page.name})" in (ROOT / "docs" / "README.md").read_text()
