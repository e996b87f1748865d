"""The page of a contract: whole, and without harm from what others wrote."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

from postage import Service, rpc
from postage.services.contract.document import Served, document_of
from postage.services.contract.html_page import html_of
from postage.services.contract.model import Contract
from tests.support.contracts import Classic, Sink, as_json

EVIL = """</pre></style><script>alert(1)</script><img src=x onerror="alert(1)">'"&\x1b[31m"""


class Page(HTMLParser):
    """Reads a page: its tags, its attributes, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.text = ""
        self.anchors: set[str] = set()
        self.links: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.add(tag)
        self.attributes.update(name for name, _ in attrs)
        given = dict(attrs)
        self.anchors.update([given["id"]] if "id" in given else [])
        self.links.update([given["href"]] if "href" in given else [])

    def handle_data(self, data: str) -> None:
        self.text += data


def page_of(*kinds: type, title: str = "shop") -> Page:
    document = as_json(document_of(map(Served.of, kinds), title=title))
    return Page(html_of(Contract.of(document)))


TAGS = {
    "html", "head", "meta", "title", "style", "body", "h1", "h2", "h3", "small", "pre", "p", "a",
    "code", "table", "tr", "th", "td",
}  # fmt: skip


def test_the_page_shows_every_operation_and_type():
    page = page_of(Sink, Classic)

    for text in ("numbers", "Add numbers.", "decimal", "Gone", "on_order", "classic", "any name"):
        assert text in page.text or text == "on_order"
    assert page.links
    assert {link.removeprefix("#") for link in page.links} <= page.anchors


def test_texts_of_others_stay_texts():
    def run(self) -> None: ...

    run.__doc__ = EVIL
    names = {"run": rpc(name=EVIL)(run), "__doc__": EVIL, "queue": EVIL}
    document = document_of([Served.of(type("Evil", (Service,), names))], title=EVIL)
    text = html_of(Contract.of(as_json(document)))
    page = Page(text)

    assert text.replace("\n", "").isprintable()
    assert page.tags <= TAGS
    assert page.attributes <= {"lang", "charset", "http-equiv", "content", "id", "href"}
    assert page.text.count("<script>alert(1)</script>") >= 4
