"""The state of the map: collections of entries by their ids, as the page gets them.  Pure.

Other programs wrote most values: texts are cut, and what is no number is None.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from postage.cli.console.sightings import CounterKey, Sighting, amount_at, items_at, text_at

__all__ = [
    "Collections",
    "Entry",
    "IdlePrograms",
    "components_of",
    "edges_of",
    "exchanges_of",
    "handlers_of",
    "programs_of",
    "rounded",
]

Entry = dict[str, Any]
Collections = dict[str, dict[str, Any]]
"""Entries by their ids, by the name of the collection; ``about`` has plain values."""

MOST_INSTANCES = 200
"""Processes of a component that are listed one by one."""
HANDLER_COUNTS = ("received", "in_flight", "failed", "retried", "delayed", "parked")
COUNTS = ("handled", "failed", "retried", "delayed", "parked")
FORGOTTEN = 600.0
"""Seconds after its last message until a program that runs no processor is left out."""
WELL = "consuming"
"""The state that nobody needs to look at."""
UNKNOWN = "?"


def name_of(sighting: Sighting) -> str:
    """Return the name of the component."""
    return text_at(sighting.told, "fingerprint", "name") or UNKNOWN


def by_name(sightings: Iterable[Sighting]) -> dict[str, list[Sighting]]:
    """Return the processors of each component."""
    found: dict[str, list[Sighting]] = defaultdict(list)
    for each in sightings:
        found[name_of(each)].append(each)
    return dict(sorted(found.items()))


def components_of(sightings: Iterable[Sighting]) -> dict[str, Entry]:
    """Return the components: one for each name, with its processors as instances."""
    return {name: _component(name, found) for name, found in by_name(sightings).items()}


def _component(name: str, found: list[Sighting]) -> Entry:
    present = [each for each in found if each.gone_since is None]
    latest = (present or found)[-1]
    infos = [each.info for each in found if each.info] or [{}]
    bindings = [each for info in infos for each in items_at(info, "queues", 50)]
    kind = text_at(latest.told, "kind")
    return {
        "name": name,
        "kind": kind if kind in ("service", "application") else "processor",
        "class": text_at(latest.told, "class"),
        "doc": text_at(infos[-1], "doc"),
        "version": text_at(latest.told, "version"),
        "groups": sorted({each for one in found for each in _groups(one)}),
        "hosts": sorted({_host(each) for each in present or found}),
        "exchanges": _distinct(text_at(each, "exchange") for each in bindings),
        "queues": _distinct(text_at(each, "queue") for each in bindings),
        "instances": [_instance(each) for each in found[:MOST_INSTANCES]],
        "left_out": max(0, len(found) - MOST_INSTANCES),
        "state": _state(present),
        "gone": not present,
        "rate": _sum(each.rates.get(("handled",)) for each in present),
        "error_rate": _sum(each.rates.get(("failed",)) for each in present),
        "in_flight": _sum(amount_at(each.told, "in_flight") for each in present),
        **{key: _sum(each.counts.get((key,)) for each in found) for key in COUNTS},
        **_times(each.told for each in present),
    }


def _instance(sighting: Sighting) -> Entry:
    told, gone = sighting.told, sighting.gone_since is not None
    return {
        "key": text_at(told, "key"),
        "host": _host(sighting),
        "pid": text_at(told, "fingerprint", "pid"),
        "state": text_at(told, "statistics", "state") or UNKNOWN,
        "started": sighting.started,
        "rate": None if gone else sighting.rates.get(("handled",)),
        "in_flight": None if gone else amount_at(told, "in_flight"),
        "gone": gone,
    }


def _host(sighting: Sighting) -> str:
    return text_at(sighting.told, "fingerprint", "host") or UNKNOWN


def _groups(sighting: Sighting) -> Iterator[str]:
    yield from (each[:60] for each in items_at(sighting.told, "groups", 5) if isinstance(each, str))


def _state(present: list[Sighting]) -> str:
    """Return the first state that is not `WELL`, if an instance has one; ``gone`` if all have."""
    states = sorted(text_at(each.told, "statistics", "state") or UNKNOWN for each in present)
    return next((each for each in states if each != WELL), states[0] if states else "gone")


def _distinct(texts: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(filter(None, texts)))


def _sum(numbers: Iterable[float | None]) -> float | None:
    """Return the sum of the *numbers* that are known; None if none is."""
    known = [each for each in numbers if each is not None]
    return rounded(sum(known)) if known else None


def rounded(number: float) -> float:
    """Return *number* with four significant digits."""
    return number if isinstance(number, int) or number == 0 else float(f"{number:.4g}")


def _times(told: Iterable[Any]) -> Entry:
    """Return the mean of the means, and the largest quantiles, since those cannot be added up."""
    found = list(told)
    means = [each for each in (amount_at(one, "mean") for one in found) if each is not None]
    times: Entry = {"mean": rounded(sum(means) / len(means)) if means else None}
    for name in ("p50", "p99"):
        times[name] = max(
            (each for each in (amount_at(one, name) for one in found) if each is not None),
            default=None,
        )
    return times


# --- handlers


def handlers_of(sightings: Iterable[Sighting]) -> dict[str, Entry]:
    """Return the handlers of all components, whether they have run or not.

    Those of Postage itself are left out: every component has them, and nobody looks for them.
    """
    found = {}
    for name, processors in by_name(sightings).items():
        described = {text_at(each, "handler"): each for each in _described(processors)}
        present = [(each, each.handlers) for each in processors if each.gone_since is None]
        ran = [handler for _, handlers in present for handler in handlers]
        for handler in _distinct([*described, *ran]):
            info = described.get(handler, {})
            if info.get("built_in") is not True:
                told = [(each, known[handler]) for each, known in present if handler in known]
                found[f"{name}/{handler}"] = _handler(name, handler, info, told)
    return found


def _described(processors: Iterable[Sighting]) -> Iterator[Any]:
    for each in processors:
        yield from items_at(each.info, "handlers", 100)


def _handler(component: str, handler: str, info: Any, told: list[tuple[Sighting, Any]]) -> Entry:
    counts = [each for _, each in told]
    failing: Any = max(counts, key=lambda each: amount_at(each, "last_error_at") or 0, default={})
    return {
        "component": component,
        "handler": handler,
        **{key: text_at(info, key) for key in ("name", "category", "type", "doc", "signature")},
        "rate": _sum(each.rates.get((handler, "received")) for each, _ in told),
        "error_rate": _sum(each.rates.get((handler, "failed")) for each, _ in told),
        **{key: _sum(amount_at(each, key) for each in counts) or 0 for key in HANDLER_COUNTS},
        **_times(counts),
        "last_error": text_at(failing, "last_error"),
        "last_error_at": amount_at(failing, "last_error_at"),
    }


# --- edges


class _Edge:
    """What is summed up for one edge."""

    def __init__(self) -> None:
        self.rate = self.error_rate = self.total = 0.0
        self.p99: float | None = None
        self.handlers: set[str] = set()
        self.is_known = False

    def add(self, sighting: Sighting, flow: CounterKey, p99: float | None) -> None:
        """Add the counts of *flow*, which *sighting* has told."""
        self.total += sighting.counts.get((*flow, "messages"), 0)
        rate = sighting.rates.get((*flow, "messages"))
        if rate is not None:
            self.is_known = True
            self.rate += rate
            self.error_rate += sighting.rates.get((*flow, "failed"), 0)
        if p99 is not None:
            self.p99 = max(p99, self.p99 or 0)
        self.handlers.add(flow[0])


Node = tuple[str, str]
"""``component`` or ``exchange``, and its id."""


def edges_of(sightings: Iterable[Sighting]) -> dict[str, Entry]:
    """Return who calls whom, and who sends what to whom.

    A call leads from its sender to the component that answers.  A message leads from its sender to
    an exchange, and from the exchange to each component that handles it; the rates of both edges
    are those of deliveries, so what goes into an exchange is what comes out.  Through the default
    exchange a message leads to its component at once.
    """
    found = list(sightings)
    senders = _Senders(found)
    edges: dict[tuple[str, Node, Node], _Edge] = defaultdict(_Edge)
    for each in found:
        if each.gone_since is not None:
            continue
        p99s = {name: amount_at(one, "p99") for name, one in each.handlers.items()}
        to = "component", name_of(each)
        for key in each.counts:
            if key[-1] != "messages" or not each.counts[key]:
                continue
            flow = handler, sender, exchange, category = key[:-1]
            origin = senders.node(sender)
            if origin is None:
                continue
            for edge in _hops(category, origin, ("exchange", exchange), to):
                edges[edge].add(each, flow, p99s.get(handler))
    return {edge_id(*key): _edge_entry(*key, edge) for key, edge in sorted(edges.items())}


def _hops(category: str, origin: Node, exchange: Node, to: Node) -> list[tuple[str, Node, Node]]:
    if category == "rpc":
        return [("call", origin, to)]
    if not exchange[1]:
        return [("message", origin, to)]
    return [("message", origin, exchange), ("message", exchange, to)]


def edge_id(kind: str, origin: Node, to: Node) -> str:
    """Return the id of an edge: ``call web>orders``; an exchange has an ``@`` before its name."""
    return f"{kind} {_escaped(origin)}>{_escaped(to)}"


def _escaped(node: Node) -> str:
    """Return the name of *node* so that no two edges have one id, whatever peers are called."""
    sort, name = node
    name = name.replace("%", "%25").replace(">", "%3E")
    if sort == "exchange":
        return f"@{name}"
    return f"%40{name[1:]}" if name.startswith("@") else name


def _edge_entry(kind: str, origin: Node, to: Node, edge: _Edge) -> Entry:
    return {
        "kind": kind,
        "from": {"type": origin[0], "id": origin[1]},
        "to": {"type": to[0], "id": to[1]},
        "rate": rounded(edge.rate) if edge.is_known else None,
        "error_rate": rounded(edge.error_rate) if edge.is_known else None,
        "p99": edge.p99,
        "total": edge.total,
        "handlers": sorted(edge.handlers),
    }


class _Senders:
    """Finds the node of a sender by its name."""

    def __init__(self, sightings: Iterable[Sighting]) -> None:
        self._gone: dict[str, bool] = {}
        self._in_process: dict[str, set[str]] = defaultdict(set)
        for each in sightings:
            name = name_of(each)
            self._gone[name] = self._gone.get(name, True) and each.gone_since is not None
            process = f"{text_at(each.told, 'fingerprint', 'pid')}@{_host(each)}"
            self._in_process[process].add(name)

    def node(self, sender: str) -> Node | None:
        """Return the node of *sender*; None if it is a component that has gone.

        A sender without a name is known by its process: if only one component is there, that is
        the sender, else a program of which nothing else is known.
        """
        here = self._in_process.get(sender, set())
        name = next(iter(here)) if len(here) == 1 else sender
        return None if self._gone.get(name, False) else ("component", name)


class IdlePrograms:
    """Leaves out programs that have sent nothing for `FORGOTTEN` seconds, such as commands."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._idle_since: dict[str, float] = {}

    def without(
        self, edges: Mapping[str, Entry], components: Mapping[str, Entry]
    ) -> dict[str, Entry]:
        """Return *edges* without those from programs, which are no *components*, that are idle."""
        now = self._clock()
        self._idle_since = {
            id_: self._idle_since.get(id_, now)
            for id_, each in edges.items()
            if not each["rate"]
            and each["from"]["type"] == "component"
            and each["from"]["id"] not in components
        }
        since = self._idle_since
        return {id_: each for id_, each in edges.items() if now - since.get(id_, now) < FORGOTTEN}


def programs_of(edges: Mapping[str, Entry], components: Mapping[str, Entry]) -> dict[str, Entry]:
    """Return the senders of *edges* that run no processors: only their names are known."""
    senders = {each["from"]["id"] for each in edges.values() if each["from"]["type"] == "component"}
    empty: Entry = {
        "class": "",
        "doc": "",
        "version": "",
        "state": "",
        "gone": False,
        "left_out": 0,
    }
    empty |= {key: [] for key in ("groups", "hosts", "exchanges", "queues", "instances")}
    numbers = ("rate", "error_rate", "in_flight", *COUNTS, "mean", "p50", "p99")
    empty |= dict.fromkeys(numbers)
    return {
        name: {"name": name, "kind": "program", **empty}
        for name in sorted(senders - components.keys())
    }


def exchanges_of(edges: Mapping[str, Entry]) -> dict[str, Entry]:
    """Return the exchanges on the way of messages, with the rate of what comes out."""
    found: dict[str, list[float | None]] = defaultdict(list)
    for each in edges.values():
        if each["from"]["type"] == "exchange":
            found[each["from"]["id"]].append(each["rate"])
    return {name: {"name": name, "rate": _sum(rates)} for name, rates in found.items()}
