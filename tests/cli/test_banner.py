"""What ``postage run`` logs at its start."""

from __future__ import annotations

import logging
import platform
import re
from typing import Any

import pytest

from postage import Exchange, MessageProcessor, MicroThread, __version__
from postage.cli.running import banner
from postage.testing.processors import RunProcessor
from tests.cli.support import SOON, running


def test_versions_components_and_the_broker_are_logged(broker_env: Any) -> None:
    with running("run", "fleet:Echo", "--concurrency", "7") as program:
        program.wait_for_line("The broker is ", SOON)
        log = program.stderr
        assert program.terminate(SOON).code == 0

    lines = [line.partition(": ")[2] for line in log.splitlines() if ".banner: " in line]
    version, count, echo, broker, product = lines
    assert version == f"This is Postage {__version__}, on Python {platform.python_version()}."
    assert count == "Running 1 component: Echo."
    assert echo == "Echo 'echo' takes up to 7 messages at a time from 'cli-echo' (echo, echo.#)."
    assert re.search(r"^Their broker is 127\.0\.0\.1:\d+, virtual host '", broker)
    assert re.search(r"^The broker is (RabbitMQ|postage-embedded) \d+\.\d+\.\d+", product)


class Desk(Exchange):
    name = "cli-banner"
    exchange_type = "direct"


class Clerk(MessageProcessor):
    """Listens to many queues by many keys."""

    def __init__(self) -> None:
        queues = [({"name": "", "flags": {"exclusive": True}}, f"key {n}") for n in range(12)]
        keys = [(queues[0][0], f"other {n}") for n in range(12)]
        super().__init__({"name": "odd\x1b[2J\n" + 5000 * "x"}, [(Desk, queues + keys)])


def test_names_are_escaped_and_long_lists_are_cut(
    run_processor: RunProcessor, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    clerks = [run_processor(Clerk) for _ in range(3)]
    monkeypatch.setattr(banner, "COMPONENTS_SHOWN", 2)
    caplog.set_level(logging.INFO, logger=banner.__name__)

    banner.log_start([*clerks, MicroThread()])

    texts = [each.getMessage() for each in caplog.records if each.name == banner.__name__]
    assert texts[1] == "Running 4 components: Clerk, Clerk, Clerk, MicroThread."
    assert all(each.isprintable() and len(each) < 4000 for each in texts)
    told = [each for each in texts if "at a time" in each]
    assert len(told) == 2
    assert all(each.startswith("Clerk 'odd") and each.endswith(", ....") for each in told)
    assert "1 more take messages." in texts
