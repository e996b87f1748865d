"""No log, repr, error or traceback of a fault shows the password.

conftest.py also searches the output of all tests of this folder: see `fail_if_leaking`.
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
from tests.faults import catalogue
from tests.faults.fault_env import PASSWORD, USER, FaultEnv, on_embedded
from tests.faults.fault_run import fault_run, inject
from tests.faults.load import LoadSettings
from tests.faults.password_leaks import (
    fail_if_leaking,
    leaking_objects,
    leaking_records,
    shows_password,
)
from tests.faults.report import report
from tests.support.endpoints import Endpoint

SMALL = LoadSettings(publishers=5, callers=5, processors=4, pause=0.02, recovery_timeout=3.0)
INJECTIONS = {
    "cut": catalogue.cut,
    "refused": partial(catalogue.refuse, seconds=0.5),
    "in mid-frame": catalogue.cut_in_mid_frame,
    "404": catalogue.delete_exchange,
    "406": catalogue.declare_other_flags,
    "cancelled": lambda env, load: env.broker.faults.cancel_consumers(load.notes, env.vhost),
}


@pytest.fixture
def env() -> Iterator[FaultEnv]:
    with on_embedded() as opened:
        yield opened


@pytest.mark.parametrize("fault", INJECTIONS)
def test_no_log_of_a_fault_shows_it_and_no_object(env: FaultEnv, fault: str, caplog: Any) -> None:
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.DEBUG, "pika")  # its records are off unless a program asks for them
    with fault_run(env, fault, SMALL) as load:
        inject(env, load, INJECTIONS[fault])
        objects = leaking_objects()

    assert not leaking_records(caplog.records)
    assert len(caplog.records) > 1000, "all records were searched"
    assert not objects
    assert not shows_password(f"{report(load.journal)} {load.journal!r}")


def connect(url: str, monkeypatch: Any) -> str:
    """Try to send with this URL; return the traceback of the error."""
    monkeypatch.setenv("POSTAGE_URL", url)
    try:
        Endpoint("secrets").producer(publish_timeout=1.0, rpc_timeout=0.5).message_one()
    except PostageError:
        return traceback.format_exc()
    raise AssertionError("it did not fail")


WRONG: dict[str, Callable[[FaultEnv], str]] = {
    "the password": lambda env: env.url.replace(USER, "somebody"),
    "the vhost": lambda env: env.url.replace("%2F?", "elsewhere?"),
    "the port": lambda env: env.url.replace(str(env.proxy.port), "1"),
    "no port": lambda env: env.url.replace(str(env.proxy.port), "port"),
    "the scheme": lambda env: env.url.replace("amqp", "http"),
    "an option": lambda env: env.url.replace("heartbeat", "hartbeat"),
    "its value": lambda env: env.url.replace("heartbeat=2", "heartbeat=-2"),
    "a colon too many": lambda env: env.url.replace(quote(PASSWORD, safe=""), PASSWORD),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_no_error_of_a_wrong_url_shows_it(
    env: FaultEnv, wrong: str, monkeypatch: Any, caplog: Any
) -> None:
    caplog.set_level(logging.DEBUG)
    story = connect(WRONG[wrong](env), monkeypatch)
    monkeypatch.undo()
    assert not shows_password(story)
    assert not leaking_records(caplog.records)
    assert not leaking_objects()


def test_no_object_of_ours_shows_it(env: FaultEnv) -> None:
    producer = Endpoint("secrets").producer()
    consumer = messaging.GenericConsumer(Endpoint("secrets").eqk)
    assert Settings.resolve().password == PASSWORD
    assert not shows_password(
        f"{producer!r} {producer.settings!r} {consumer!r} {messaging.global_hup!r}"
    )
    assert not leaking_objects()


# --- each leak would be found


def test_a_log_that_shows_it_is_found() -> None:
    arguments = {"password": PASSWORD}, quote(PASSWORD, safe=""), "nothing"
    records = [logging.makeLogRecord({"msg": "as %s", "args": (each,)}) for each in arguments]
    assert len(leaking_records(records)) == 2


def test_an_object_that_shows_it_is_found() -> None:
    error = PostageError(f"cannot log in as {USER} with {PASSWORD}")
    assert len(leaking_objects()) == 1
    del error


@pytest.mark.parametrize(
    ("sections", "error"),
    [([("Captured log", f"x {PASSWORD}")], ""), ([], f"E  {quote(PASSWORD, safe='')}")],
)
def test_a_report_that_shows_it_is_a_failure(sections: Any, error: str) -> None:
    report: Any = SimpleNamespace(sections=sections, longreprtext=error, outcome="passed")
    fail_if_leaking(report)
    assert report.outcome == "failed"
    assert not shows_password(f"{report!r}".replace(f"longreprtext={error!r}", ""))


def test_a_report_that_shows_nothing_stays() -> None:
    report: Any = SimpleNamespace(sections=[("x", "y")], longreprtext="E", outcome="passed")
    fail_if_leaking(report)
    assert report.outcome == "passed"
