"""Asks all processes what they do, again and again, and keeps the state of the map."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

import gevent

from postage._version import __version__
from postage.cli.console.depths import Depths
from postage.cli.console.sightings import Sightings
from postage.cli.console.state import (
    Collections,
    Entry,
    IdlePrograms,
    components_of,
    edges_of,
    exchanges_of,
    handlers_of,
    programs_of,
)
from postage.cli.fleet.descriptions import Description, told
from postage.cli.fleet.query import answers_to, hear_goodbyes, lost_connection, remote_to
from postage.discovery import ASK, EVERYTHING, LONGEST_FLOWS
from postage.errors import ChannelRefused, PostageError
from postage.foreign_text import one_line
from postage.green import GenericConsumer
from postage.log_records import logger_of
from postage.parking.walk import connection_to
from postage.settings import Settings

__all__ = ["INTERVAL", "Poller"]

INTERVAL = 2.0
"""Seconds between two rounds of questions, by default."""
SHARE = 0.03
"""The part of a processor that rounds may take: of a large system they are less frequent."""
WAIT = 0.8
"""Seconds for which a round waits for answers."""
FIRST_WAIT = 0.4
"""Seconds for which the first rounds wait, so that rates are soon there; who is late is found by
the next round."""
PATIENCE = 3.0
"""Seconds after which a round that has not ended is looked into: the broker may be away."""
DESCRIBED_EVERY = 60.0
"""Seconds after which processors are asked again what they are: groups and queues may change."""
LOOKS = 0.1
"""Seconds between two looks at the depth of a queue."""
HISTORY = 600.0
"""Seconds of which the history tells."""
POINT = 5.0
"""Seconds between two points of the history."""
LONGEST_PROBLEM = 300

logger = logger_of(__name__)

History = dict[str, dict[str, deque[Any]]]


class Poller:
    """Keeps the state up to date, in which *about* is told, too.

    Its methods run in one hub.  No failure of the broker or of a peer ends it.
    """

    def __init__(
        self, interval: float = INTERVAL, about: Mapping[str, Any] = MappingProxyType({})
    ) -> None:
        self.state: Collections = {}
        self.jobs: dict[str, Entry] = {}
        """What persons have started: see `postage.cli.console.actions`."""
        self.about: Entry = {
            "postage": __version__,
            "interval": interval,
            "problem": "",
            "as_of": 0,
        }
        self.about["broker"] = one_line(_broker(), LONGEST_PROBLEM)
        self.about |= about
        self.depths = Depths()
        self._publish: Callable[[Collections], None] = lambda _state: None
        self._interval = interval
        self._sightings, self._idle_programs = Sightings(), IdlePrograms()
        self._history: History = {"components": {}, "handlers": {}, "queues": {}}
        self._next_point = 0.0
        self._described_at = 0.0
        self._goodbyes: GenericConsumer | None = None
        self.remake()

    def publish_to(self, publish: Callable[[Collections], None]) -> None:
        """Call *publish* with each state from now on."""
        self._publish = publish
        publish(self.state)

    def run(self) -> None:
        """Ask until this greenlet is killed; switches."""
        looking = gevent.spawn(self._look_at_queues)
        try:
            self.begin()
            gevent.sleep(self._interval)
            while True:
                began, spent = time.monotonic(), time.process_time()
                self._ask_or_tell_why_not(WAIT)
                spent = time.process_time() - spent
                pause = began + self._interval - time.monotonic()
                if self._sightings.are_missed:  # killed, or late: the next answer tells soon
                    pause = 0.0
                gevent.sleep(max(pause, began + spent / SHARE - time.monotonic(), 0.0))
        finally:
            looking.kill(block=False)

    def begin(self, seconds: float = 1.0) -> None:
        """Ask until rates are known, those of so many *seconds*; switches.

        From the first question on processors note when each message comes.  The second and the
        third one ask for these times, because a rate needs two.
        """
        self._ask_or_tell_why_not(FIRST_WAIT)
        began = time.monotonic()
        self._ask_or_tell_why_not(FIRST_WAIT)
        gevent.sleep(max(began + seconds - time.monotonic(), 0.0))
        self._ask_or_tell_why_not(FIRST_WAIT)

    def _ask_or_tell_why_not(self, wait: float) -> None:
        """Ask once; while the questions wait for the broker, tell so."""
        asking = gevent.spawn(self.ask, wait)
        try:
            while not asking.ready():
                asking.join(PATIENCE)
                if not asking.ready() and self.about["problem"] != lost_connection():
                    self.about["problem"] = lost_connection()
                    self.remake()
        finally:
            asking.kill(block=False)

    def ask(self, wait: float = WAIT) -> None:
        """Ask all processes once, for *wait* seconds; switches, and never raises."""
        problem = ""
        try:
            answers = self._answers("flows", wait)
            self._sightings.update(answers)
            self.depths.look_for_parked(self._sightings)
            is_old = time.monotonic() - self._described_at > DESCRIBED_EVERY
            is_first = not self.about["as_of"]  # the next one comes soon
            if not is_first and (is_old or not self._sightings.are_described):
                self._describe(wait)
            if self._goodbyes is None and answers:
                self._goodbyes = hear_goodbyes(self._sightings.end)
        except Exception as exc:  # the next round may succeed, whatever it is
            problem = one_line(f"{type(exc).__name__}: {exc}", LONGEST_PROBLEM)
        else:
            self.about["as_of"] = round(time.time(), 1)
        self.about["problem"] = problem or lost_connection()
        self.remake()

    def _answers(self, query: str, wait: float) -> list[Description]:
        stations = remote_to(ASK)
        if stations is None:
            return []
        answers = answers_to(stations, query, wait, {"to": EVERYTHING})
        if isinstance(answers, PostageError):
            raise answers
        return told(answers, longest=LONGEST_FLOWS)

    def _describe(self, wait: float) -> None:
        self._described_at = time.monotonic()
        self._sightings.learn(self._answers("info", wait))
        self.depths.learn(self._sightings)

    # --- depths of queues

    def _look_at_queues(self) -> None:
        while True:
            name = self.depths.due()
            if name is not None:
                self._look_at(name)
            gevent.sleep(LOOKS)

    def _look_at(self, name: str) -> None:
        try:
            with connection_to(None).lease() as channel:
                size, consumers = channel.queue_counts(name)
        except ChannelRefused as exc:
            self.depths.refused(name, "" if exc.misses(name) else one_line(exc, LONGEST_PROBLEM))
        except Exception as exc:  # the broker is away: the other queues would tell the same
            logger.debug("The depth of a queue is unknown: %s", exc)
            gevent.sleep(self._interval)
        else:
            self.depths.found(name, size, consumers)

    # --- the state

    def remake(self) -> None:
        """Make the state of all that is known now, and publish it; never switches."""
        sightings = list(self._sightings)
        components = components_of(sightings)
        edges = self._idle_programs.without(edges_of(sightings), components)
        self.state = {
            "about": dict(self.about),
            "components": components | programs_of(edges, components),
            "handlers": handlers_of(sightings),
            "exchanges": exchanges_of(edges),
            "queues": self.depths.entries(),
            "edges": edges,
            "jobs": {id_: dict(job) for id_, job in self.jobs.items()},
        }
        self._remember()
        self._publish(self.state)

    def _remember(self) -> None:
        now = time.monotonic()
        if now < self._next_point:
            return
        self._next_point = now + POINT
        points: dict[str, Iterable[tuple[str, Any]]] = {
            **{each: _rates_of(self.state[each]) for each in ("components", "handlers")},
            "queues": ((id_, each["depth"]) for id_, each in self.state["queues"].items()),
        }
        for collection, values in points.items():
            known = self._history[collection]
            self._history[collection] = {
                id_: _with_point(known.get(id_), value) for id_, value in values
            }

    def history(self) -> dict[str, dict[str, list[Any]]]:
        """Return the points of the last ten minutes, a new one each `POINT` seconds."""
        return {
            collection: {id_: list(points) for id_, points in known.items()}
            for collection, known in self._history.items()
        }


def _rates_of(entries: Mapping[str, Entry]) -> Iterator[tuple[str, Any]]:
    for id_, each in entries.items():
        yield id_, None if each["rate"] is None else (each["rate"], each["error_rate"])


def _with_point(points: deque[Any] | None, value: Any) -> deque[Any]:
    known = deque(maxlen=int(HISTORY / POINT)) if points is None else points
    known.append(value)
    return known


def _broker() -> str:
    """Return where the broker is, without the password."""
    settings = Settings.resolve()
    return f"{settings.user}@{settings.host}:{settings.port}, virtual host {settings.vhost}"
