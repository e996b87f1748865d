"""The sections of the pages on errors and on the log, and which of them explains a text.

The pages are package data.  In a checkout they are links to docs/, so there is one text for both.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files

PAGES = ("troubleshooting.md", "log.md")

_HEADING = re.compile(r"^(###?) (.*)$", re.MULTILINE)
_LINK = re.compile(r"\[([^\]]*)\]\([^)]*\)")


@dataclass(frozen=True)
class Section:
    """What a page says below one title."""

    title: str
    """The name of an error, a symptom, or the text of a record with … for what differs."""
    text: str
    """Markdown, without the title.  Titles without a text of their own share that of their part."""

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """What finds the title in an error or in a line of a log, whatever stands for the …."""
        parts = (re.escape(part.strip()) for part in self.title.split("…"))
        found = r".*?".join(part for part in parts if part)
        return re.compile(rf"(?<!\w){found}(?!\w)", re.IGNORECASE)

    @property
    def plain(self) -> str:
        """The title and the text as a terminal shows them."""
        text = _LINK.sub(r"\1", self.text).replace("**", "")
        return f"{self.title}\n\n{text}"


def sections() -> list[Section]:
    """Return the sections of all pages, in their order."""
    found, about = [], ""
    for page in PAGES:
        text = files(__package__).joinpath(page).read_text(encoding="utf-8")
        _, *parts = _HEADING.split(text)
        for level, title, body in zip(parts[::3], parts[1::3], parts[2::3], strict=True):
            if level == "##":
                about = body.strip()
            else:
                found.append(Section(title, body.strip() or about))
    return found


def find(text: str) -> list[Section]:
    """Return the sections that explain *text*: a title, an error, a line of a log, or words.

    The first of these that is found decides: a whole title; titles in *text*, the name of an error
    as well as the record with the longest title; titles with *text* in them; sections that have all
    words of *text*.
    """
    known, sought = sections(), text.strip().casefold()
    if whole := [each for each in known if each.title.casefold() == sought]:
        return whole
    within = [each for each in known if each.pattern.search(text)]
    names = [each for each in within if each.title.isidentifier()]
    others = sorted(
        (each for each in within if each not in names), key=lambda each: -len(each.title)
    )
    if within:
        return names + others[:1]
    if titles := [each for each in known if sought in each.title.casefold()]:
        return titles
    words = sought.split()
    return [each for each in known if all(word in each.plain.casefold() for word in words)]
