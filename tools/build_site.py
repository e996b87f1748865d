"""``make docs``: the pages of docs/ and the API reference as a site, in build/site/html.

The man page of the commands is made from the same sources, in build/site/man/postage.1.

Sphinx needs a *toctree*, which reads badly as a plain file.  So the pages are copied, and only the
copies get what is for Sphinx: the four parts of docs/README.md as toctrees, and the API reference.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from tools.api_pages import MODULES, ROOT, pages, public_names

TOP = ("README.md", "CONTRIBUTING.md", "RELEASING.md", "SECURITY.md", "CHANGELOG.md", "LICENSE")
FOLDERS = ("docs", "demos", "benchmarks")
START = "docs/README"
LINK = re.compile(r"^- \[([^\]]*)\]\(([^)#]*)\.md\)", re.MULTILINE)

REDIRECT = f"""<!doctype html>
<meta charset="utf-8">
<title>Postage</title>
<meta http-equiv="refresh" content="0; url={START}.html">
<a href="{START}.html">The documentation of Postage</a>
"""


def main() -> int:
    """Build both in the given folder, or in build/site; return the exit code of Sphinx."""
    build = Path(sys.argv[1]).resolve() if sys.argv[1:] else ROOT / "build" / "site"
    html = build / "html"
    shutil.rmtree(build, ignore_errors=True)
    assemble(build / "source")
    for builder in ("html", "man"):
        if code := sphinx(builder, build):
            return code
    (html / "index.html").write_text(REDIRECT)
    if missing := [*missing_names(html), *missing_options(html)]:
        print("The reference lacks:", *missing, sep="\n    ", file=sys.stderr)
        return 1
    print(f"The site is built: open {html / 'index.html'}")
    print(f"The man page is built: man {build / 'man' / 'postage.1'}")
    return 0


def sphinx(builder: str, build: Path) -> int:
    """Run Sphinx, which reads the pages once and keeps them in *build*/pages; return its code."""
    options = ("--fail-on-warning", "--keep-going", "--quiet", "--builder", builder)
    where = ("--conf-dir", str(ROOT / "docs" / "site"), "--doctree-dir", str(build / "pages"))
    command = [sys.executable, "-m", "sphinx", *options, *where]
    return subprocess.run(
        [*command, str(build / "source"), str(build / builder)], check=False
    ).returncode


def assemble(source: Path) -> None:
    """Copy all pages to *source*, and add what is for Sphinx."""
    ignore = shutil.ignore_patterns("__pycache__", "site")
    for folder in FOLDERS:
        shutil.copytree(ROOT / folder, source / folder, ignore=ignore)
    for name in TOP:
        shutil.copy(ROOT / name, source / name)
    start = source / f"{START}.md"
    start.write_text(with_toctrees(start.read_text()))
    (source / "docs" / "api").mkdir()
    reference = pages()
    for name, text in reference.items():
        (source / "docs" / "api" / f"{name}.rst").write_text(text)
    with (source / "docs" / "api.md").open("a") as page:
        page.write(toctree(f"api/{name}" for name in reference))


def with_toctrees(text: str) -> str:
    """Return the start page with a hidden toctree of the links below each of its titles."""
    _, *parts = re.split(r"^## (.*)\n", text, flags=re.MULTILINE)
    for title, part in zip(parts[::2], parts[1::2], strict=True):
        text += toctree((f"{name} <{page}>" for name, page in LINK.findall(part)), title)
    return text


def toctree(entries: Iterable[str], title: str = "") -> str:
    """Return MyST's directive that lists pages; with a *title*, it shows in the side bar only."""
    options = f":hidden:\n:caption: {title}" if title else ":maxdepth: 1"
    return "\n".join(["", "```{toctree}", options, "", *entries, "```", ""])


def missing_names(html: Path) -> Iterator[str]:
    """Yield the public names that the index of the site lacks."""
    from sphinx.util.inventory import InventoryFile  # noqa: PLC0415 - tests import this module

    inventory = InventoryFile.loads((html / "objects.inv").read_bytes(), uri="")
    known = {name for kind in inventory.data.values() for name in kind}
    for module in MODULES:
        for name in public_names(module):
            if not known & {f"{module}.{name}", f"postage.{name}"}:
                yield f"{module}.{name}"


def missing_options(html: Path) -> Iterator[str]:
    """Yield the options of commands that the page of the commands lacks."""
    from postage.cli.app import postage  # noqa: PLC0415 - it needs click

    text = (html / "docs" / "api" / "commands.html").read_text()
    for path, command in commands_of(postage, "postage"):
        anchor = path.replace(" ", "-")
        shown = (each for each in command.params if not getattr(each, "hidden", True))
        for option in shown:  # an argument is never hidden, and has no such attribute
            for name in option.opts:
                if f'id="cmdoption-{anchor}-{name.lstrip("-")}"' not in text:
                    yield f"{path} {name}"


def commands_of(command: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Yield *command* and all commands below it, each with what a user types."""
    yield path, command
    for name in getattr(command, "members", ()):
        yield from commands_of(command.get_command(None, name), f"{path} {name}")


if __name__ == "__main__":
    sys.exit(main())
