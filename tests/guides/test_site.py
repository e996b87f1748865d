"""The site of the documentation, as a reader sees it: on a phone and a screen, light and dark."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from postage.testing.polling import wait_until
from tests.support.browser import (
    PHONE,
    SCREEN,
    browser,
    require_browser,
    show,
    wider_than_the_window,
)
from tests.support.guide import SOON, require
from tests.support.programs import run_program

require("furo", "myst_parser", "sphinx", "sphinx_click")
require_browser()

pytestmark = [pytest.mark.slow, pytest.mark.limit(240)]
PAGES = {
    "docs/README.html": "The documentation of Postage",
    "docs/tutorial.html": "Tutorial: a shop",
    "docs/api/commands.html": "The command line, generated",
    "docs/howto/from_pika.html": "From pika",
}


class Quiet(SimpleHTTPRequestHandler):
    """Serves files without a word."""

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    built = run_program("-m", "tools.build_site", str(folder), within=200)
    assert built.code == 0, built.stderr
    return folder


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:
    handler = partial(Quiet, directory=str(site / "html"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with browser(tmp_path_factory.mktemp("browser")) as driver:
        yield driver


def results(driver: Any) -> list[str]:
    found = driver.find_elements("css selector", "ul.search li a")
    return [link.get_attribute("href") for link in found]


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("size", [PHONE, SCREEN], ids=["phone", "screen"])
def test_pages_fit_the_window(driver: Any, address: str, size: tuple[int, int], dark: bool) -> None:
    show(driver, size, dark=dark)
    for page, title in PAGES.items():
        driver.get(f"{address}/{page}")

        assert driver.find_element("css selector", "h1").text.rstrip("¶#") == title
        assert wider_than_the_window(driver) == 0, page
        ground = "return getComputedStyle(document.body).backgroundColor"
        brightness = int(driver.execute_script(ground).split("(")[1].split(",")[0])
        assert (brightness < 128) == dark, page
    complaints = [entry["message"] for entry in driver.get_log("browser")]
    assert [text for text in complaints if "/favicon.ico" not in text] == []  # there is none


def test_the_search_finds_pages(driver: Any, address: str) -> None:
    show(driver, SCREEN)
    driver.get(f"{address}/docs/README.html")
    driver.find_element("css selector", "input.sidebar-search").send_keys("parked\n")

    wait_until(lambda: f"{address}/docs/failures.html" in str(results(driver)), SOON)


def test_the_search_works_without_a_server(driver: Any, site: Path) -> None:
    driver.get(f"file://{site}/html/search.html?q=parked")

    wait_until(lambda: "docs/failures.html" in str(results(driver)), SOON)


def test_the_man_page_has_all_commands(site: Path) -> None:
    page = (site / "man" / "postage.1").read_text()

    sections = {line.removeprefix(".SS ") for line in page.splitlines() if line.startswith(".SS ")}
    assert {"run", "call", "dlq", "replay", "doctor"} <= sections
    assert "postage run shop.orders" in page
