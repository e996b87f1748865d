"""The processes of a round, with the message, the counting, and Postage on the embedded broker."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest

from benchmarks.actor import acting
from benchmarks.broker import Target, broker
from benchmarks.contestants import CONTESTANTS, OURS
from benchmarks.environments import command, name
from benchmarks.job import Job
from benchmarks.payload import encoded, number_of, payload
from benchmarks.rounds import Play, Round
from benchmarks.tally import Tally, percentile
from benchmarks.workloads import WORKLOADS


@pytest.fixture(scope="module")
def target() -> Iterator[Target]:
    with broker("embedded") as running:
        yield running


@pytest.mark.parametrize("workload", ["rpc", "rpc100", "confirm", "consume", "start"])
def test_a_tiny_round_of_postage(target: Target, workload: str):
    each = Round(target.url, target.pid, seconds=0.05, count=50)
    figures = Play(each, WORKLOADS[workload], CONTESTANTS[OURS], sys.executable).figures()
    told = [getattr(figures, name) for name in WORKLOADS[workload].columns]
    assert told[0] > 0
    assert None not in told


TURNS = """
import gevent
from benchmarks.job import Job
from benchmarks.peers import postage

postage.open_caller(Job("postage", "green", "call", "embedded://", "q", polling={polling}))
turns = []
gevent.get_hub().loop.prepare().start(lambda: turns.append(None))
gevent.sleep(0.1)
print(len(turns))
"""


@pytest.mark.parametrize("polling", [False, True])
def test_a_hub_that_polls_turns_without_a_pause(polling: bool):
    code = TURNS.format(polling=polling)
    told = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, timeout=30)
    assert (int(told.stdout) > 100) is polling


def test_processes_have_bytecode_as_what_is_installed_has(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    code = "import json, sys; print(json.dumps({'compiles': sys.dont_write_bytecode}))"
    with acting([sys.executable, "-c", code], 10.0) as actor:
        assert actor.report() == {"compiles": False}


@pytest.mark.parametrize("number", [0, 1, 899_999])
def test_every_message_is_of_the_same_size(number: int):
    assert len(encoded(payload(number))) == 302
    assert number_of(payload(number)) == number


def test_a_job_is_one_argument():
    job = Job(peer="kombu", style="gevent", role="call", url="amqp://h/", queue="q", callers=3)
    assert Job.from_json(job.as_json()) == job
    assert command("python", job) == ["python", "-m", "benchmarks.role", job.as_json()]


def test_a_job_for_c_is_all_words():
    job = Job(peer="librabbitmq", style="c", role="publish", url="amqp://h/", queue="q")
    words = command("program", job)
    assert words[:4] == ["program", "publish", "amqp://h/", "q"]
    assert words[-6:] == ["1", "3.0", "20000", "0.5", "0", "1"]


def test_a_tally_gives_one_payload_even_if_the_time_is_over():
    tally = Tally(iter(range(10)), 0.0, compare=True)
    assert list(tally.payloads()) == [payload(0)]


def test_a_tally_ends_with_its_numbers():
    tally = Tally(iter(range(3)), 60.0, compare=True)
    assert list(tally.payloads()) == [payload(0), payload(1), payload(2)]


def test_another_answer_is_an_error():
    tally = Tally(iter(range(3)), 60.0, compare=True)
    with pytest.raises(AssertionError, match="sent"):
        tally.done(payload(0), payload(1), 0.1)


@pytest.mark.parametrize(("part", "milliseconds"), [(0.5, 50_000), (0.99, 99_000), (0, 1_000)])
def test_percentiles_are_milliseconds(part: float, milliseconds: float):
    assert percentile([float(each) for each in range(1, 101)], part) == milliseconds


@pytest.mark.parametrize("requirement", ["pika", "pika>=1.4,<2", "pika[x]", "pika; extra"])
def test_a_requirement_begins_with_its_name(requirement: str):
    assert name(requirement) == "pika"
