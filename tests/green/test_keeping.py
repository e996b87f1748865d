"""The two steps of keeping a failed message, a copy and then an ack, and what comes between."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from postage import Retry, green
from postage.green.handling import keeping
from postage.testing.polling import wait_until
from tests.support.endpoints import Endpoint
from tests.support.programs import Program
from tests.support.raw import Raw, take_all
from tests.support.recorder import Handles, Recorder, at
from tests.support.running import SOON, running

pytestmark = pytest.mark.usefixtures("broker_env")


class Failing(Recorder):
    """Fails at each try, and records the attempts."""

    @Handles("command", "work")
    def work(self, content: Any) -> None:
        self.seen.append(green.message().attempt)
        raise ConnectionError


def made(endpoint: Endpoint, **attributes: Any) -> Any:
    return at(endpoint, type("Failing", (Failing,), attributes))


# --- the broker ends the channel after the copy is confirmed, and before the ack


def close_channel(delivery: Any) -> None:
    """Let the broker close the channel: it knows no such delivery (406)."""
    channel = delivery.channel
    channel.codec.ack(channel.number, 10**6, multiple=False)


def lose_connection(delivery: Any) -> None:
    delivery.channel.transport.lose(OSError("a test wants it so"))


@pytest.fixture(params=[close_channel, lose_connection])
def cut(request: pytest.FixtureRequest, monkeypatch: Any) -> Iterator[list[str]]:
    """The names of the exchanges for whose next copies the channel of the original ends."""
    cuts: list[str] = []
    delay, park = keeping.Parking.delay, keeping.Parking.park

    def wrapped(what: str, put: Callable[..., None]) -> Callable[..., None]:
        def then_end(self: Any, delivery: Any, *arguments: Any) -> None:
            put(self, delivery, *arguments)
            if what in cuts:
                cuts.remove(what)
                request.param(delivery)
                wait_until(lambda: not delivery.channel.alive, SOON)

        return then_end

    monkeypatch.setattr(keeping.Parking, "delay", wrapped("delay", delay))
    monkeypatch.setattr(keeping.Parking, "park", wrapped("park", park))
    return cuts


def test_a_message_whose_copy_is_parked_is_parked_again(
    endpoint: Endpoint, raw: Raw, cut: list[str], caplog: Any
) -> None:
    """Nobody can tell the broker that it has a copy; so the message is there twice, not lost."""
    cut.append("park")
    failing = made(endpoint)
    with running(failing), caplog.at_level(logging.ERROR):
        endpoint.producer().message_work(1)
        wait_until(lambda: failing.counts["parked"] == 2, SOON)
        wait_until(lambda: failing.statistics().busy == 0, SOON)
    attempts = [
        each.properties.headers["x-postage-attempt"]
        for each in take_all(raw, f"{endpoint.queue}.parked", 2)
    ]
    assert (failing.seen, attempts) == ([1, 2], [1, 1])
    assert raw.count(endpoint.queue) == 0
    assert "could not" not in caplog.text


def test_a_message_whose_copy_waits_is_tried_again(
    endpoint: Endpoint, raw: Raw, cut: list[str], caplog: Any
) -> None:
    """The copy and the original have attempts of their own, and each is parked at its end."""
    cut.append("delay")
    failing = made(endpoint, retry=Retry(delays=(0.3, 0.1), jitter=0), max_deliveries=2)
    with running(failing), caplog.at_level(logging.ERROR):
        endpoint.producer().message_work(1)
        wait_until(lambda: failing.counts["parked"] == 2, SOON)
        wait_until(lambda: failing.statistics().busy == 0, SOON)
    parked = [each.properties.headers for each in take_all(raw, f"{endpoint.queue}.parked", 2)]
    assert sorted(failing.seen) == [1, 2, 2, 2, 3, 3]
    assert [each["x-postage-why"] for each in parked] == ["failed", "failed"]
    assert [each["x-postage-attempt"] for each in parked] == [3, 3]
    assert raw.count(endpoint.queue) == 0
    assert "could not" not in caplog.text


# --- a worker that is killed between two delays


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["classic", "quorum"])
def test_deaths_between_delays_do_not_add_up(endpoint: Endpoint, raw: Raw, kind: str) -> None:
    """Each round is a message of its own: one death in each is fewer than `max_deliveries`."""
    script = "tests/green/programs/dying_in_each_round.py"
    attempts: list[int] = []
    deaths = 0
    parked = f"{endpoint.queue}.parked"
    while not raw.exists(parked) or not raw.count(parked):
        with Program("-B", script, endpoint.queue, kind) as program:
            program.wait_for_line("ready")
            if not attempts:
                endpoint.producer().message_work(1)
            wait_until(
                lambda p=program: not p.running or (raw.exists(parked) and raw.count(parked)), SOON
            )
            deaths += not program.running
            if program.running:
                program.terminate()  # a kill could fall between the confirm and the ack
            attempts += [int(line) for line in program.stdout.split() if line.isdigit()]
    headers = raw.take(parked).properties.headers
    assert deaths == 3
    assert attempts == [1, 2, 2, 3, 3, 4]
    assert (headers["x-postage-why"], headers["x-postage-attempt"]) == ("failed", 3)
    assert (headers["x-postage-round"], raw.count(endpoint.queue)) == (2, 0)
