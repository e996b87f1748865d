"""The code in README and docs runs, and prints what its comments say.

The Python blocks of a page are one program, run from top to bottom.  A comment ``# prints: x`` says
what a line prints.  A block that runs until it is stopped is a program of its own, and so is one
that other processes import, which must therefore do nothing when it is imported.
"""

from __future__ import annotations

import re
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from postage.testing.processes import wait_blocking
from tests.support.programs import ROOT, Program, run_program
from tests.support.pytest_options import WITHOUT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
#: The list of the pages has no code.  The tutorial and the guides show files: see test_tutorial.py
#: and tests/guides.
OTHERS = [
    *(ROOT / "docs" / name for name in ("README.md", "tutorial.md")),
    *(ROOT / "docs" / "howto").glob("*.md"),
]
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PRINTS = re.compile(r"# prints: (.*)$", re.MULTILINE)
STAYS = re.compile(r"^(?:green\.)?run\(", re.MULTILINE)
MAIN = 'if __name__ == "__main__":'
ALONE = re.compile(f"{STAYS.pattern}|^{MAIN}", re.MULTILINE)
LINK = re.compile(r"\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)")


def blocks(page: Path) -> list[str]:
    return BLOCK.findall(page.read_text())


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT)).removeprefix("docs/")


SCRIPTS = {
    name_of(page): "\n".join(block for block in blocks(page) if not ALONE.search(block))
    for page in PAGES
    if page not in OTHERS
} | {
    f"{name_of(page)}, a file": block
    for page in PAGES
    if page not in OTHERS
    for block in blocks(page)
    if MAIN in block
}
STAYING = {
    name_of(page): block
    for page in PAGES
    if page not in OTHERS
    for block in blocks(page)
    if STAYS.search(block)
}


@pytest.mark.parametrize("name", [name for name, script in SCRIPTS.items() if script])
def test_the_code_of_a_page_runs(broker_env, tmp_path: Path, name: str):
    """As a file, as readers run it: a process pool imports the file again in each process."""
    script = SCRIPTS[name]
    file = tmp_path / "script.py"
    file.write_text(script)

    ended = run_program("-W", "error", str(file))

    assert (ended.code, ended.stderr) == (0, ""), ended
    assert ended.stdout.splitlines() == PRINTS.findall(script)


def test_the_tests_of_the_page_on_testing_pass(tmp_path: Path):
    """A script only defines them."""
    (tmp_path / "test_page.py").write_text(SCRIPTS["testing.md"])
    known = entry_points(group="pytest11", name="postage")
    plugin = () if known else ("-p", "postage.testing.plugin")
    options = (*plugin, *WITHOUT, "--postage-broker=embedded")

    ended = run_program("-m", "pytest", *options, "test_page.py", cwd=tmp_path)

    assert ended.code == 0, ended.stdout


@pytest.mark.parametrize("name", STAYING)
def test_programs_of_a_page_run_until_they_are_stopped(broker_env, rabbitmq, name: str):
    def consumers() -> bool:
        listed = rabbitmq.ctl("list_consumers", "-p", broker_env.vhost, "--no-table-headers")
        return bool(listed.strip())

    with Program("-W", "error", "-c", STAYING[name]) as program:
        assert wait_blocking(consumers, 20, pause=0.2), program.stderr
        ended = program.terminate()

    assert (ended.code, ended.stderr) == (0, "")


@pytest.mark.behaviour("rpc-call")
def test_the_readme_shows_the_echo_in_twelve_lines():
    echo = blocks(ROOT / "README.md")[0]

    assert 'call("echo", "hello")' in echo
    assert echo.count("import ") == echo.count("from postage import ") == 1
    assert len(echo.splitlines()) == 12


@pytest.mark.parametrize("page", [*PAGES, ROOT / "demos" / "README.md"], ids=name_of)
def test_links_lead_somewhere(page: Path):
    for target, section in LINK.findall(page.read_text()):
        linked = page.parent / target if target else page
        assert linked.exists(), target
        if section:
            titles = re.findall(r"^#+ (.*)$", linked.read_text(), re.MULTILINE)
            assert section in [title.lower().replace(" ", "-") for title in titles], section


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) < 200
