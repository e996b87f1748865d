"""The page ``/metrics`` of all workers equals what they have written down."""

from __future__ import annotations

import os
import re
import signal
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import gevent
import pytest

from postage import messaging
from postage.testing.polling import wait_until
from tests.cli.support import SOON, running
from tests.support.endpoints import exchange
from tests.support.metrics_pages import free_run, page, sums
from tests.support.programs import Program

WORKERS, EACH = 4, 100
SENT = {"fine": 4 * EACH, "bad": EACH // 10, "late": EACH // 10, "again": EACH, "echo": EACH}


class Sender(messaging.GenericProducer):
    eks = ((exchange("cli-measured"), "rk"),)
    rpc_timeout, max_retry = SOON, 0


@pytest.fixture
def measured(broker_env: Any, tmp_path: Path, monkeypatch: Any) -> Iterator[tuple[Program, int]]:
    monkeypatch.setenv("LEDGER", str(tmp_path / "ledger"))
    port = free_run(WORKERS)
    options = ("--workers", str(WORKERS), "--health", str(port))
    with running("run", "measured:Measured", *options) as program:
        wait_until(lambda: program.stderr.count("Running 1 component") == WORKERS, SOON)
        yield program, port


def ledger(tmp_path: Path) -> Counter[str]:
    lines = (tmp_path / "ledger").read_text().splitlines()
    return Counter(line.split()[0] for line in lines)


def test_four_workers_count_what_they_did(measured: Any, tmp_path: Path) -> None:
    program, port = measured
    sender = Sender()

    def send(name: str) -> None:
        for number in range(SENT[name]):
            if name == "echo":
                assert sender.rpc_echo(number).value == number
            else:
                sender.send(name, number)

    gevent.joinall([gevent.spawn(send, name) for name in SENT], raise_error=True)
    runs = SENT | {"late": 2 * SENT["late"], "again": 2 * SENT["again"]}
    wait_until(lambda: ledger(tmp_path) == Counter(runs), SOON)
    kept = SENT["bad"] + SENT["late"]  # the copies that the workers have published, with confirms
    expected = {
        **{("postage_handler_received_total", name): count for name, count in runs.items()},
        ("postage_handler_received_total", "again"): SENT["again"],
        ("postage_handler_retried_total", "again"): SENT["again"],
        ("postage_handler_seconds_count", "again"): runs["again"],
        ("postage_handler_delayed_total", "late"): SENT["late"],
        ("postage_handler_failed_total", "bad"): SENT["bad"],
        ("postage_handler_parked_total", "bad"): SENT["bad"],
        ("postage_handler_failed_total", "again"): 0,
        ("postage_handler_in_flight", "fine"): 0,
        ("postage_processor_messages_total", "handled"): sum(SENT.values()) + SENT["late"],
        ("postage_publish_confirms_total", "ack"): kept,
        ("postage_worker_up", ""): WORKERS,
    }

    def told(asked: int) -> dict[tuple[str, str], float]:
        found = sums(page(port + asked))
        return {series: found[series] for series in expected}

    for asked in range(WORKERS):  # a page is up to a second old, and has pages that are as old
        wait_until(partial(lambda asked: told(asked) == expected, asked), SOON)
    assert [told(asked) for asked in range(WORKERS)] == [expected] * WORKERS
    assert program.terminate(SOON).code == 0


def test_a_family_has_one_block_and_each_series_one_line(measured: Any) -> None:
    _, port = measured
    lines = page(port).splitlines()
    heads = [line for line in lines if line.startswith("# TYPE")]
    series = [line.rpartition(" ")[0] for line in lines if not line.startswith("#")]
    assert len(heads) == len(set(heads))
    assert len(series) == len(set(series))
    current = ""
    for line in lines:
        if line.startswith("# TYPE"):
            current = line.split()[2]
        elif not line.startswith("#"):
            assert line.startswith(current)


def test_a_worker_that_does_not_answer_is_down(measured: Any) -> None:
    program, port = measured
    (pid,) = re.findall(r"Worker 1 is process (\d+)", program.stderr)
    assert 'worker="1"' not in page(port, "/metrics/own")
    os.kill(int(pid), signal.SIGSTOP)
    try:
        wait_until(lambda: 'postage_worker_up{worker="1"} 0' in page(port), SOON)
        text = page(port)
    finally:
        os.kill(int(pid), signal.SIGCONT)
    assert 'postage_info{worker="1"' not in text
    for number in (0, 2, 3):
        assert f'postage_info{{worker="{number}",version="' in text
    wait_until(lambda: 'postage_worker_up{worker="1"} 1' in page(port), SOON)
