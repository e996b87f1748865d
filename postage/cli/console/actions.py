"""What a person asks the console for: one component, what failed, a replay, a call.

All functions switch, and raise `PostageError`, whose text says what to do.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import gevent

from postage.cli.arguments import exchange_named
from postage.cli.console.forms import forms_of
from postage.cli.console.poller import Poller
from postage.cli.console.state import Entry
from postage.cli.exits import Code, CommandFailed
from postage.cli.fleet.descriptions import told
from postage.cli.fleet.flights import flights
from postage.cli.fleet.query import answers_to, remote_to
from postage.cli.parked.differences import differences
from postage.cli.remote import Remote
from postage.discovery import ASK
from postage.errors import PostageError
from postage.foreign_text import one_line
from postage.message import EXCEPTION, MessageResult
from postage.parking import FailedMessage, Replayed, find, groups, look, replay

__all__ = ["Actions"]

WAIT = 1.0
"""Seconds for which the processes of one component are asked."""
CALL_TIMEOUT = 15.0
"""Seconds for which a call from a form waits for its answer."""
MOST_LISTED = 500
"""Messages of a parking queue that are read at once."""
MOST_JOBS = 20
"""Replays that are remembered."""
LONGEST_ANSWER = 1 << 20
"""Bytes of a message that is shown."""


class Actions:
    """The actions, for the broker of the settings; *poller* knows who is there."""

    def __init__(self, poller: Poller) -> None:
        self._poller = poller
        self._numbers = itertools.count(1)

    # --- one component

    def component(self, name: str) -> Entry:
        """Return what the processes of the component *name* tell when they are asked."""
        if name not in self._poller.state["components"]:
            raise CommandFailed(f"there is no component {one_line(name)!r}", Code.TOPOLOGY)
        asked = [
            gevent.spawn(self._described, name),
            gevent.spawn(self._contract, name),
            gevent.spawn(self._flights, name),
        ]
        described, contract, records = (each.get() for each in asked)
        return {
            "name": name,
            "described": described,
            "contract": contract,
            "flight": [each for record in records for each in _entries(record)],
            "forms": forms_of(described[0], contract) if described else [],
        }

    @staticmethod
    def _described(name: str) -> list[Entry]:
        stations = remote_to(ASK)
        answers = [] if stations is None else answers_to(stations, "info", WAIT, {"to": name})
        return [] if isinstance(answers, PostageError) else told(answers)

    def _contract(self, name: str) -> Any:
        """Return the contract of a service; None if it has none, or does not tell it in time."""
        if self._poller.state["components"][name]["kind"] != "service":
            return None
        try:
            result = self._remote(name).rpc_command("describe", {}, _timeout=WAIT, _max_retry=0)
        except PostageError:
            return None
        value = result.value if result else None
        contract = value.get("contract") if isinstance(value, dict) else None
        return contract if isinstance(contract, dict) else None

    @staticmethod
    def _flights(name: str) -> list[dict[str, Any]]:
        try:
            return flights(name, WAIT)
        except PostageError:
            return []

    # --- what failed

    def parked(self, queue: str) -> Entry:
        """Return the messages in the queue of dead letters *queue*, without bodies, in groups."""
        found = look(queue, limit=MOST_LISTED)
        return {
            "queue": queue,
            "count": len(found) + found.more,
            "more": found.more,
            "consumers": found.consumers,
            "groups": [asdict(each) for each in groups(found)],
            "messages": [each.as_dict(with_body=False) for each in found],
        }

    def parked_message(self, queue: str, id_: str) -> Entry:
        """Return one message, with its dossier, its headers and its body."""
        message = find(queue, id_)
        if len(message.body) > LONGEST_ANSWER:
            shown = message.as_dict(with_body=False)
            return shown | {"text": f"{len(message.body)} bytes, too many to be shown here"}
        return message.as_dict()

    @staticmethod
    def difference(queue: str, one: str, other: str) -> Entry:
        """Return the lines that show in what two messages differ."""
        return {"lines": list(differences(find(queue, one), find(queue, other)))}

    # --- replays

    def replay(self, queue: str, *, ids: list[str] | None = None, group: str | None = None) -> str:
        """Begin to replay messages: those with these *ids*, those of *group*, or all.

        Returns the id of the job, whose progress is in the state.  Never switches.
        """
        id_, jobs = str(next(self._numbers)), self._poller.jobs
        what = "all messages" if group is None and ids is None else f"group {group}"
        if ids is not None:
            what = f"{len(ids)} message{'s' * (len(ids) != 1)}"
        job = {
            "what": what,
            "queue": queue,
            "done": 0,
            "total": None,
            "state": "running",
            "text": "",
        }
        jobs[id_] = job
        for old in [each for each in jobs if jobs[each]["state"] != "running"][:-MOST_JOBS]:
            del jobs[old]
        gevent.spawn(self._replay, job, queue, ids, group)
        return id_

    def _replay(self, job: Entry, queue: str, ids: list[str] | None, group: str | None) -> None:
        def progress(taken: int, size: int) -> None:
            job["done"], job["total"] = taken, size

        def is_of_group(message: FailedMessage) -> bool:
            return message.group == group

        chosen: Any = ids if group is None else is_of_group
        try:
            done = replay(queue, chosen, progress=progress)
        except PostageError as exc:
            job |= {"state": "failed", "text": one_line(exc)}
        else:
            job |= {"state": "failed" if done.refused else "done", "text": _told(done)}
        finally:
            self._poller.depths.look_soon(queue)
            self._poller.remake()

    # --- try it

    def call(self, component: str, name: str, parameters: Any) -> Entry:
        """Call the handler *name* of *component*; return its value, or the error and its kind."""
        remote = self._remote(component)
        result = remote.rpc_command(name, parameters, _timeout=CALL_TIMEOUT, _max_retry=0)
        return _answer(result)

    def send(self, component: str, name: str, parameters: Any) -> Entry:
        """Send the command *name* to *component*; return when the broker has confirmed it."""
        self._remote(component).message_command(name, parameters)
        return {}

    def _remote(self, component: str) -> Remote:
        """Return a producer for the queue of *component*."""
        queues = self._poller.state["components"].get(component, {}).get("queues")
        if not queues:
            text = f"no queue of {one_line(component)!r} is known: is it running?"
            raise CommandFailed(text, Code.TOPOLOGY)
        return Remote(exchange_named("", passive=True), queues[0])


def _entries(record: dict[str, Any]) -> Iterator[Entry]:
    """Yield the entries of a flight record, each with its process."""
    process = "{pid}@{host}".format_map({"pid": "?", "host": "?"} | record["fingerprint"])
    for each in record["flight"]:
        if isinstance(each, dict):
            yield {**each, "process": process}


def _told(done: Replayed) -> str:
    text = f"{done.count} replayed, {done.left} left"
    return f"{text}; {done.refused} could not be sent" if done.refused else text


def _answer(result: MessageResult) -> Entry:
    if result:
        return {"value": result.value}
    kind = result.value if result.kind == EXCEPTION else result.kind
    return {"error": one_line(result.message, 1000), "kind": one_line(kind, 100)}
