"""What is known of one message in a queue of dead letters: ours, or those of any program.  Pure.

Whoever can publish to the queue has written what stands here, so nothing is taken for granted:
values of a wrong type count as absent.  Texts are as they came; escape them where they are shown.
"""

from __future__ import annotations

import base64
import hashlib
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import Any

from postage.encoding import JsonEncoder
from postage.errors import DecodingError, MalformedMessage, PostageError
from postage.green.amqp.delivery import NO_PROPERTIES, Delivery
from postage.green.amqp.properties import Properties
from postage.protocol import OWN_HEADERS, SEND_ID
from postage.recoverability import History

__all__ = ["Dossier", "FailedMessage", "Group", "groups", "id_of", "readable"]

ID_DIGITS = 12
GROUP_DIGITS = 6
LARGEST_NAMED = 1 << 20
"""Bytes of the largest body that is decoded only to know the name of the message."""


@dataclass(frozen=True, slots=True)
class Dossier:
    """Why a message failed, and where; texts that are not known are empty.

    For a message that a broker has dead-lettered, it is filled from the header ``x-death``.
    """

    why: str = ""
    """``failed``, ``rejected``, ``gave-up``, ``malformed`` or ``poisonous``; for a foreign message
    the reason of the broker: ``rejected``, ``expired``, ``maxlen`` or ``delivery_limit``."""
    exception: str = ""
    text: str = ""
    traceback: str = ""
    handler: str = ""
    processor: str = ""
    component: str = ""
    host: str = ""
    pid: str = ""
    queue: str = ""
    """The queue in which the message failed, and to which it is replayed."""
    exchange: str = ""
    routing_key: str = ""
    attempts: int = 0
    rounds: int = 0
    first_failed: float | None = None
    """Seconds since 1970, by the clock of the process in which it failed; so is `parked`."""
    parked: float | None = None

    @classmethod
    def of(cls, headers: Mapping[str, Any]) -> Dossier:
        """Return the dossier that *headers* hold."""
        if not _text(headers, "why"):
            return _of_broker(headers)
        history = History.of(headers)
        told: dict[str, Any] = {name: _text(headers, name.replace("_", "-")) for name in _TEXTS}
        return cls(
            **told,
            attempts=history.attempts,
            rounds=history.rounds,
            first_failed=history.first_failed,
            parked=_milliseconds(headers.get(f"{OWN_HEADERS}parked-ms")),
        )

    @property
    def place(self) -> str:
        """The innermost ``file:line`` of the traceback outside of Postage; empty if unknown."""
        places = _PLACE.findall(self.traceback)
        outside = [each for each in places if not _OF_POSTAGE.search(each[0])]
        return ":".join((outside or places or [("",)])[-1])


_TEXTS = (
    *("why", "exception", "text", "traceback", "handler", "processor", "component", "host", "pid"),
    *("queue", "exchange", "routing_key"),
)
_PLACE = re.compile(r'^ *File "([^"\n]+)", line (\d+)', re.MULTILINE)
_OF_POSTAGE = re.compile(r"[/\\]postage[/\\](green[/\\]|(dispatch|around|handlers|callables)\.py$)")


def _text(headers: Mapping[str, Any], name: str) -> str:
    value = headers.get(f"{OWN_HEADERS}{name}")
    return value if isinstance(value, str) else ""


def _milliseconds(value: object) -> float | None:
    is_time = isinstance(value, int) and not isinstance(value, bool) and 0 < value < 1 << 53
    return value / 1000 if is_time else None  # type: ignore[operator]


def _of_broker(headers: Mapping[str, Any]) -> Dossier:
    """Return what the broker tells of a message that it has dead-lettered (RabbitMQ, x-death)."""
    told = headers.get("x-death")
    deaths = [each for each in told if isinstance(each, dict)] if isinstance(told, list) else []
    if not deaths:
        return Dossier()
    # The latest is first.  A rejected message may have waited in other queues since.
    failed = (each for each in deaths if each.get("reason") in ("rejected", "delivery_limit"))
    death = next(failed, deaths[0])
    keys, time = death.get("routing-keys"), death.get("time")
    count = death.get("count")
    names = {"why": "reason", "queue": "queue", "exchange": "exchange"}
    texts: dict[str, Any] = {
        ours: value for ours, name in names.items() if type(value := death.get(name)) is str
    }
    return Dossier(
        routing_key=keys[0] if isinstance(keys, list) and keys and type(keys[0]) is str else "",
        attempts=count if isinstance(count, int) and 0 <= count < 1 << 31 else 0,
        parked=time.timestamp() if isinstance(time, datetime) else None,
        **texts,
    )


@dataclass(frozen=True, slots=True)
class FailedMessage:
    """One message in a queue of dead letters, as it was at the time of the look."""

    id: str
    """Twelve hexadecimal digits; the same at each look, as long as the message is in the queue."""
    number: int
    """Its place in the queue, from 1."""
    queue: str
    """The queue of dead letters in which it lies."""
    body: bytes = field(repr=False)
    properties: Properties
    exchange: str
    """The exchange that the message was published to last; `routing_key` is the key."""
    routing_key: str
    redelivered: bool
    dossier: Dossier
    header: bytes = field(default=NO_PROPERTIES, repr=False)
    """The properties as they came."""
    damaged: str = ""
    """What is wrong with the properties, if they cannot be decoded; `properties` is empty then."""

    @classmethod
    def of(cls, queue: str, number: int, delivery: Delivery) -> FailedMessage:
        """Return the message *delivery*, at place *number* of *queue*; never raises."""
        body, damaged = b"", ""
        try:
            body = delivery.body
            properties = delivery.properties
            headers: Mapping[str, Any] = properties.headers or {}
        except MalformedMessage as exc:
            properties, headers, damaged = Properties(), {}, str(exc)
        return cls(
            id=_id_of(delivery, properties, headers, body),
            number=number,
            queue=queue,
            body=body,
            properties=properties,
            exchange=delivery.exchange,
            routing_key=delivery.routing_key,
            redelivered=bool(delivery.redelivered),
            dossier=Dossier.of(headers),
            header=getattr(delivery, "header", NO_PROPERTIES),
            damaged=damaged,
        )

    def again(self, times: int) -> FailedMessage:
        """Return the message with another id, because *times* equal ones lie before it."""
        return replace(self, id=_digest(ID_DIGITS, self.id, str(times)))

    @property
    def group(self) -> str:
        """The id of the group of the message: six hexadecimal digits, the same for each `kind`."""
        return _digest(GROUP_DIGITS, *self.kind)

    @property
    def kind(self) -> tuple[str, str, str]:
        """Exception, place and handler; for a foreign message reason, queue and an empty text."""
        about = self.dossier
        if about.exception or about.handler:
            return about.exception, about.place, about.handler
        return about.why, about.queue, ""

    @property
    def name(self) -> str:
        """Type and name, such as ``command order``, of a message of Postage in JSON; else empty."""
        if len(self.body) > LARGEST_NAMED:
            return ""
        try:
            body = JsonEncoder.decode(self.body)
        except PostageError:
            return ""
        named = (body.get("type"), body.get("name")) if isinstance(body, dict) else (None,)
        return " ".join(map(str, named)) if all(isinstance(each, str) for each in named) else ""

    def as_dict(self, *, with_body: bool = True) -> dict[str, Any]:
        """Return everything, or all but the body, as plain data that JSON can hold."""
        return {
            "id": self.id,
            "number": self.number,
            "group": self.group,
            "queue": self.queue,
            "name": self.name,
            "exchange": self.exchange,
            "routing_key": self.routing_key,
            "redelivered": self.redelivered,
            "dossier": {**asdict(self.dossier), "place": self.dossier.place},
            "properties": _plain(self.properties.as_dict()),
            "damaged": self.damaged,
            **(readable(self.body) if with_body else {}),
        }


def readable(body: bytes) -> dict[str, Any]:
    """Return *body* as JSON under the key ``body``, else as ``text``, else in ``base64``."""
    try:
        return {"body": JsonEncoder.decode(body)}
    except DecodingError:
        pass
    try:
        return {"text": body.decode()}
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(body).decode()}


_COUNTED = frozenset({"x-delivery-count", "x-acquired-count"})


def _id_of(
    delivery: Delivery, properties: Properties, headers: Mapping[str, Any], body: bytes
) -> str:
    """Return an id by the send id, which no other message has, or by the content."""
    send_id = headers.get(SEND_ID)
    if isinstance(send_id, str) and send_id:
        return id_of(send_id)
    # Counts of the broker change with each look.
    told = sorted((str(k), repr(v)) for k, v in headers.items() if k not in _COUNTED)
    place = delivery.exchange, delivery.routing_key
    return _digest(ID_DIGITS, *place, repr(told), repr(properties.message_id), body)


def id_of(send_id: str) -> str:
    """Return the id of the message with this send id."""
    return _digest(ID_DIGITS, send_id)


def _digest(digits: int, *values: str | bytes) -> str:
    found = hashlib.blake2b(digest_size=digits // 2)
    for each in values:
        data = each.encode("utf-8", "surrogatepass") if isinstance(each, str) else each
        found.update(len(data).to_bytes(8, "big") + data)
    return found.hexdigest()


def _plain(value: Any) -> Any:
    """Return *value*, which came in properties, as JSON can hold it."""
    if isinstance(value, dict):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    if isinstance(value, (bytes, bytearray)):
        return bytes(value).decode("utf-8", "backslashreplace")
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)  # AMQP has NaN and infinite numbers, and JSON has not
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)


# --- groups


@dataclass(frozen=True, slots=True)
class Group:
    """Messages that failed in the same way."""

    id: str
    exception: str
    """The class of the exception; for foreign messages the reason of the broker."""
    place: str
    """``file:line``; for foreign messages the queue."""
    handler: str
    count: int
    oldest: float | None
    """When the first of them was parked, in seconds since 1970; None: not known."""
    newest: float | None
    first: str
    """The id of the message of the group that is first in the queue."""


def groups(messages: Iterable[FailedMessage]) -> list[Group]:
    """Return the groups of *messages*, the largest first."""
    by_kind: dict[tuple[str, str, str], list[FailedMessage]] = {}
    for each in messages:
        by_kind.setdefault(each.kind, []).append(each)
    found = [_group(kind, members) for kind, members in by_kind.items()]
    return sorted(found, key=lambda group: -group.count)


def _group(kind: tuple[str, str, str], members: list[FailedMessage]) -> Group:
    times = [each.dossier.parked for each in members if each.dossier.parked is not None]
    oldest, newest = (min(times), max(times)) if times else (None, None)
    first = members[0]
    return Group(first.group, *kind, len(members), oldest, newest, first.id)
