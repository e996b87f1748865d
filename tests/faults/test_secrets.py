"""No log, repr, error or traceback of a fault shows the password.

What each test of this folder prints is looked at by `leaks.spoil`, a hook of conftest.py.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Iterator
from functools import partial
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import pytest

from postage import messaging
from postage.errors import PostageError
from postage.settings import Settings
from tests.faults import channels, links
from tests.faults.exam import Exam
from tests.faults.leaks import every_word, shows, spoil, told_by_objects
from tests.faults.load import Shape
from tests.faults.login import PASSWORD, USER
from tests.faults.scene import Scene, on_embedded
from tests.support.places import Place

SMALL = Shape(publishers=5, callers=5, processors=4, pause=0.02)
STRIKES = {
    "cut": links.cut,
    "refused": partial(links.unreachable, seconds=0.5),
    "in mid-frame": links.cut_in_mid_frame,
    "404": channels.exchange_deleted,
    "406": channels.mismatched,
    "cancelled": lambda scene, load: scene.broker.faults.cancel_consumers(load.notes, scene.vhost),
}


@pytest.fixture
def scene() -> Iterator[Scene]:
    with on_embedded() as opened:
        yield opened


@pytest.mark.parametrize("strike", STRIKES)
def test_no_log_of_a_fault_shows_it_and_no_object(scene: Scene, strike: str) -> None:
    with every_word() as leaks, Exam(scene, SMALL, patience=3.0) as exam:
        exam.begin()
        exam.suffer(STRIKES[strike])
        objects = told_by_objects()
        account = exam.account(strike)

    assert not leaks.found
    assert leaks.seen > 1000, "every word was to be heard"
    assert not objects
    assert not shows(f"{account} {account!r}")


def connect(url: str, monkeypatch: Any) -> str:
    """Try to send with this URL; return the whole story of the error."""
    monkeypatch.setenv("POSTAGE_URL", url)
    try:
        Place("secrets").producer(publish_timeout=1.0, rpc_timeout=0.5).message_one()
    except PostageError:
        return traceback.format_exc()
    raise AssertionError("it should have failed")


WRONG: dict[str, Callable[[Scene], str]] = {
    "the password": lambda scene: scene.url.replace(USER, "somebody"),
    "the vhost": lambda scene: scene.url.replace("%2F?", "elsewhere?"),
    "the port": lambda scene: scene.url.replace(str(scene.proxy.port), "1"),
    "no port": lambda scene: scene.url.replace(str(scene.proxy.port), "port"),
    "the scheme": lambda scene: scene.url.replace("amqp", "http"),
    "an option": lambda scene: scene.url.replace("heartbeat", "hartbeat"),
    "its value": lambda scene: scene.url.replace("heartbeat=2", "heartbeat=-2"),
    "a colon too many": lambda scene: scene.url.replace(quote(PASSWORD, safe=""), PASSWORD),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_no_error_of_a_wrong_url_shows_it(scene: Scene, wrong: str, monkeypatch: Any) -> None:
    with every_word() as leaks:
        story = connect(WRONG[wrong](scene), monkeypatch)
    monkeypatch.undo()
    assert not shows(story)
    assert not leaks.found
    assert not told_by_objects()


def test_no_object_of_ours_shows_it(scene: Scene) -> None:
    producer = Place("secrets").producer()
    consumer = messaging.GenericConsumer(Place("secrets").eqk)
    assert Settings.resolve().password == PASSWORD
    assert not shows(f"{producer!r} {producer.settings!r} {consumer!r} {messaging.global_hup!r}")
    assert not told_by_objects()


# --- and that it would be found


def test_a_log_that_shows_it_is_found() -> None:
    with every_word() as leaks:
        logging.getLogger("postage.x").debug("as %s", {"password": PASSWORD})
        logging.getLogger("pika").debug("as %s", quote(PASSWORD, safe=""))
        logging.getLogger("pika").debug("as nothing")
    assert (len(leaks.found), leaks.seen) == (2, 3)


def test_an_object_that_shows_it_is_found() -> None:
    error = PostageError(f"cannot log in as {USER} with {PASSWORD}")
    assert len(told_by_objects()) == 1
    del error


@pytest.mark.parametrize(
    ("sections", "error"),
    [([("Captured log", f"x {PASSWORD}")], ""), ([], f"E  {quote(PASSWORD, safe='')}")],
)
def test_a_report_that_shows_it_is_a_failure(sections: Any, error: str) -> None:
    report: Any = SimpleNamespace(sections=sections, longreprtext=error, outcome="passed")
    spoil(report)
    assert report.outcome == "failed"
    assert not shows(f"{report!r}".replace(f"longreprtext={error!r}", ""))


def test_a_report_that_shows_nothing_stays() -> None:
    report: Any = SimpleNamespace(sections=[("x", "y")], longreprtext="E", outcome="passed")
    spoil(report)
    assert report.outcome == "passed"
