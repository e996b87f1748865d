"""Sphinx's settings for the site; `make docs` builds it, see tools/build_site.py."""

from typing import Any

from postage import __version__

project = "Postage"
version = release = __version__
root_doc = "docs/README"
language = "en"

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx_click"]
myst_heading_anchors = 4  # links to titles work as on forges
suppress_warnings = ["ref.python"]  # hints such as `type` are also names of attributes of ours

smartquotes = False  # they would make one dash of the two of an option

default_role = "py:obj"  # `name` in a docstring is a link if the name is in the reference
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_typehints = "signature"
maximum_signature_line_length = 88
add_module_names = False
toc_object_entries_show_parents = "hide"

html_theme = "furo"
pygments_dark_style = "github-dark"  # furo's own underlines names of modules, as if they were links
html_title = f"Postage {release}"
html_copy_source = False
html_show_copyright = False

# The commands alone: sphinx-click has described them for the site, so `man postage` says the same.
man_pages = [("docs/api/commands", "postage", "run, call and look at AMQP components", "", "1")]


def setup(app: Any) -> None:
    """Keep docutils from taking ``name@host``, in the help of a command, for an address of mail."""
    for part in ("description", "epilog"):
        app.connect(f"sphinx-click-process-{part}", _without_addresses)


def _without_addresses(_app: Any, _context: Any, lines: list[str]) -> None:
    lines[:] = [line.replace("@", "\\@") for line in lines]
