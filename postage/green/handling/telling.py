"""What a processor tells of itself when a query asks: see `postage.discovery`."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from postage._version import __version__
from postage.discovery import LONGEST_FLOWS, WATCHED, cut, fitted, latest, short, size
from postage.flight_recorder import flight_recorder
from postage.handler_statistics import HandlerStatistics, quantile, watch

__all__ = ["flight", "flows", "info", "ping", "stats"]

MOST_GROUPS = 5
MOST_SENDERS_TOLD = 5
"""Senders of a handler that are told by name: those with the most runs."""
LONGEST_OF_HANDLER = LONGEST_FLOWS // 3
"""Bytes of the flows of one handler as JSON."""
_COUNTED = (
    *("busy", "waiting", "handled", "unhandled", "failed", "malformed", "retried", "delayed"),
    *("parked", "trips", "restarts"),
)


def ping(processor: Any, id_: str) -> dict[str, Any]:
    """Return who *processor* is: its fingerprint, id, kind, class and version."""
    cls = type(processor)
    told = ("name", 120), ("type", 40), ("pid", 20), ("host", 80), ("user", 40), ("vhost", 40)
    known = processor.fingerprint
    return {
        # Not escaped, because it identifies the processor.
        "fingerprint": {key: cut(str(known[key]), most) for key, most in told if key in known},
        "key": cut(id_, 160),
        "kind": _kind(cls),
        "class": short(f"{cls.__module__}.{cls.__qualname__}", 120),
        "version": __version__,
        "groups": [cut(group, 60) for group in groups_of(processor)[:MOST_GROUPS]],
    }


def groups_of(processor: Any) -> list[str]:
    """Return the groups of *processor* if it is an application."""
    groups = getattr(processor, "groups", ())
    return list(groups) if isinstance(groups, list) else []


def _kind(cls: type) -> str:
    ours = {base.__name__ for base in cls.__mro__ if base.__module__.startswith("postage.")}
    if "GenericApplication" in ours:
        return "application"
    return "service" if "Service" in ours else "processor"


def info(processor: Any, id_: str) -> dict[str, Any]:
    """Return what *processor* is: also its docstring's first line, its queues and its handlers."""
    doc = vars(type(processor)).get("__doc__") or ""
    park = processor.park and short(processor.park, 100)
    described = ping(processor, id_) | {"doc": _first_line(doc), "park": park}
    queues = (
        {
            "queue": short(each.queue, 100),
            "key": each.key and short(each.key, 60),
            "exchange": short(each.exchange.name, 100),
        }
        for each in processor.consumer.bindings
    )
    return fitted(described, queues=queues, handlers=_handlers(processor))


def _handlers(processor: Any) -> Iterator[dict[str, Any]]:
    """Yield the handlers of *processor*, those of Postage itself last."""
    entries = processor._routes.entries  # noqa: SLF001 - no handler can hide it
    signatures = getattr(type(processor), "signatures", {})
    for route, attribute in sorted(entries, key=lambda entry: _is_ours(processor, entry[1])):
        handler = getattr(processor, attribute)
        told = {
            "category": route.category,
            "type": short(route.type, 40),
            "name": route.name and short(route.name, 60),
            "handler": short(attribute, 60),
            "doc": _first_line(handler.__doc__ or ""),
        }
        if _is_ours(processor, attribute):
            told["built_in"] = True
        signature = signatures.get(attribute.partition(" (")[0])
        if signature is not None:
            told["signature"] = short(signature, 200)
        yield told


def _is_ours(processor: Any, attribute: str) -> bool:
    for base in type(processor).__mro__:
        if attribute in vars(base):
            return base.__module__.startswith("postage.")
    return False


def _first_line(doc: str) -> str:
    return short(inspect.cleandoc(str(doc)).partition("\n")[0], 120)


def stats(processor: Any, id_: str, uptime: float) -> dict[str, Any]:
    """Return what *processor* has done: its counts, and those of the handlers that have run."""
    handlers = processor.handler_statistics()
    told = ({**_counts(each), **_senders(each), **_last_error(each)} for each in _sorted(handlers))
    return fitted(_summary(processor, id_, uptime, handlers), handlers=told)


def flows(processor: Any, id_: str, uptime: float) -> dict[str, Any]:
    """Return what `stats` does, but all flows of each handler of the user, and watch them."""
    watch(WATCHED)
    processor._tallies.watch()  # noqa: SLF001 - no handler can hide it
    handlers = processor.handler_statistics()
    users = [each for each in handlers if not _is_ours(processor, each.handler)]
    told = ({**_counts(each), **_flows(each), **_last_error(each)} for each in _sorted(users))
    return fitted(_summary(processor, id_, uptime, handlers), LONGEST_FLOWS, handlers=told)


def _sorted(handlers: Iterable[HandlerStatistics]) -> list[HandlerStatistics]:
    """Return *handlers*, the most important ones first, as the last ones may not fit."""
    return sorted(handlers, key=lambda each: (-each.failed, -each.received))


def _summary(
    processor: Any, id_: str, uptime: float, handlers: Iterable[HandlerStatistics]
) -> dict[str, Any]:
    statistics = processor.statistics()
    users = [each for each in handlers if not _is_ours(processor, each.handler)]
    buckets = [sum(column) for column in zip(*(each.buckets for each in users), strict=True)]
    return ping(processor, id_) | {
        "statistics": {
            "state": statistics.state,
            **{name: getattr(statistics, name) for name in _COUNTED},
        },
        "inquiries": getattr(processor, "_inquiries", 0),
        "uptime": round(uptime, 3),
        "in_flight": sum(each.in_flight for each in users),
        **_times(buckets, sum(each.seconds for each in users)),
    }


def flight(processor: Any, id_: str) -> dict[str, Any]:
    """Return the end of the flight record of this process, which *processor* stands for."""
    record = flight_recorder.values()
    told = latest(record)
    fingerprint = ping(processor, id_)["fingerprint"]
    return {"fingerprint": fingerprint, "flight": told, "left_out": len(record) - len(told)}


def _times(buckets: list[int] | tuple[int, ...], seconds: float) -> dict[str, float | None]:
    ended = sum(buckets)
    times = {"mean": seconds / ended if ended else None}
    times |= {"p50": quantile(buckets, 0.5), "p99": quantile(buckets, 0.99)}
    return {name: time and float(f"{time:.3g}") for name, time in times.items()}


def _counts(statistics: HandlerStatistics) -> dict[str, Any]:
    """Return the counts and times of a handler; counts that are 0 are left out."""
    counts = {
        name: getattr(statistics, name)
        for name in ("received", "in_flight", "failed", "retried", "delayed", "parked")
    }
    told: dict[str, Any] = {"handler": short(statistics.handler, 60)}
    told |= {name: count for name, count in counts.items() if count}
    return told | _times(statistics.buckets, statistics.seconds)


def _senders(statistics: HandlerStatistics) -> dict[str, Any]:
    """Return the senders with the most messages."""
    senders = Counter(statistics.senders).most_common(MOST_SENDERS_TOLD)
    named = {short(name, 60): count for name, count in senders}
    others = sum(statistics.senders.values()) - sum(named.values()) + statistics.other_senders
    told: dict[str, Any] = {"senders": named}
    return told | ({"other_senders": others} if others else {})


def _flows(statistics: HandlerStatistics) -> dict[str, Any]:
    """Return the flows of a handler, those with the most messages if not all of them fit."""
    room, told, others = LONGEST_OF_HANDLER, [], statistics.other_senders
    for each in sorted(statistics.flows, key=lambda each: -each.messages):
        idle = each.idle and round(each.idle, 4)
        flow = [short(each.sender, 100), short(each.exchange, 100), *each[2:5], idle]
        room -= size(flow) + 2
        if room > 0:
            told.append(flow)
        else:
            others += each.messages
    return {"flows": told} | ({"other_senders": others} if others else {})


def _last_error(statistics: HandlerStatistics) -> dict[str, Any]:
    if not statistics.last_error:
        return {}
    at = round(statistics.last_error_at, 3)
    return {"last_error": short(statistics.last_error, 200), "last_error_at": at}
