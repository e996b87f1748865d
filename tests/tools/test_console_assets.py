"""The committed page of ``postage web`` is small, loads nothing from outside, fits its sources."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.programs import ROOT

SOURCES = ROOT / "console"
ASSETS = ROOT / "postage" / "cli" / "console" / "assets"
NAMES = {"index.html", "console.js", "console.css", "favicon.svg", "LICENSES.txt"}
MOST_BYTES = 400_000
#: Addresses that name something, and are never loaded.
NAMESPACES = re.compile(r"http://www\.w3\.org/(?:2000/svg|1999/xhtml|1999/xlink|1998/Math/MathML)")


def test_all_assets_weigh_at_most_400_kb() -> None:
    assert {each.name for each in ASSETS.iterdir()} == NAMES
    assert sum(each.stat().st_size for each in ASSETS.iterdir()) <= MOST_BYTES


@pytest.mark.parametrize("name", sorted(NAMES - {"LICENSES.txt"}))
def test_no_asset_names_an_outside_address(name: str) -> None:
    text = NAMESPACES.sub("", (ASSETS / name).read_text())
    assert not re.findall(r"(?:https?:)?//[\w-]+\.[\w.-]+", text)
    assert "@import" not in text


def test_the_page_has_no_inline_script_or_style() -> None:
    page = (ASSETS / "index.html").read_text()
    assert re.findall(r"<script[^>]*>(.*?)</script>", page, re.DOTALL) == [""]
    assert not re.findall(r"<style|\sstyle=|\son\w+=", page)
    assert not re.findall(r"innerHTML|insertAdjacentHTML|document\.write", _sources())


def test_the_licences_of_all_packages_are_listed() -> None:
    licences = (ASSETS / "LICENSES.txt").read_text()
    packages = set(re.findall(r'from "((?:@[\w-]+/)?[\w-]+)(?:/[\w/]+)?"', _sources()))
    assert packages
    for package in packages:
        assert re.search(rf"^{re.escape(package)} [\d.]+ \(", licences, re.MULTILINE), package


def test_the_lock_file_names_no_registry() -> None:
    assert '"resolved"' not in (SOURCES / "package-lock.json").read_text()


@pytest.mark.soak  # downloads packages, if they are not there
def test_the_build_gives_the_committed_bytes(tmp_path: Path) -> None:
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("needs Node, which only this build needs")
    if not (SOURCES / "node_modules").is_dir():
        subprocess.run([npm, "ci"], cwd=SOURCES, check=True)
    node = shutil.which("node") or "node"
    subprocess.run([node, "build.mjs", str(tmp_path)], cwd=SOURCES, check=True)
    for name in NAMES:
        assert (tmp_path / name).read_bytes() == (ASSETS / name).read_bytes(), name


def _sources() -> str:
    files = [*SOURCES.glob("src/**/*.js"), *SOURCES.glob("src/**/*.jsx")]
    return "\n".join(each.read_text() for each in files)
