"""Chromium without a window, for tests of pages: of the documentation's site, and of the console.

It needs the package selenium and the programs chromium and chromedriver (Debian: chromium,
chromium-driver); `require_browser` skips the tests of a module where one of them is missing.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.guide import require, require_tool

__all__ = ["PHONE", "SCREEN", "browser", "require_browser", "show", "wider_than_the_window"]

#: Sizes of windows, in pixels.
PHONE, SCREEN = (360, 740), (1440, 900)
OPTIONS = (
    "--headless",
    "--no-sandbox",  # as root, which tests may be, there is none
    "--disable-gpu",
    "--disable-dev-shm-usage",  # containers have a small /dev/shm
    "--no-first-run",
    "--disable-quic",
    "--disable-sync",
    "--disable-background-networking",
    "--disable-component-update",
    # A page that loads anything from elsewhere would not work without a network.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
)


def require_browser() -> None:
    """Skip the tests of a module without a browser; fail if ``POSTAGE_REQUIRE_GUIDES=1``."""
    require("selenium")
    require_tool("chromium")
    require_tool("chromedriver")


@contextmanager
def browser(folder: Path) -> Iterator[Any]:
    """Run Chromium with its files below *folder*; yield selenium's driver.

    It reaches this machine only.  A command of the driver blocks this native thread.
    """
    from selenium.webdriver import Chrome, ChromeOptions
    from selenium.webdriver.chrome.service import Service

    options = ChromeOptions()
    options.binary_location = require_tool("chromium")
    for option in (*OPTIONS, f"--user-data-dir={folder / 'chromium'}"):
        options.add_argument(option)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = Chrome(options=options, service=Service(require_tool("chromedriver")))
    try:
        yield driver
    finally:
        driver.quit()


def show(driver: Any, size: tuple[int, int], *, dark: bool = False) -> None:
    """Let pages be shown in a window of this *size*, to a reader who likes *dark* or light ones.

    Chromium's windows are at least 500 pixels wide, so the size is emulated.
    """
    width, height = size
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})


def wider_than_the_window(driver: Any) -> int:
    """Return by how many pixels the page is wider than the window: readers must scroll sideways."""
    script = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
    return int(driver.execute_script(script))
