"""What becomes of a message that could not be handled: tried again, or parked.  Pure.

How it works
------------
A message that fails is tried again **at once** (`Retry.now` times, in the same greenlet), then
**later** (after each of `Retry.delays`; the broker holds it meanwhile), and then it is **parked**:
it goes to another queue, where a person looks at it.  Each delivery begins with the tries at once
again, so ``Retry(now=2, delays=(5, 30))`` makes nine tries.

How often a message was tried, and since when, stands in headers of the message itself, because the
next try may be made by another process.
"""

from __future__ import annotations

import bisect
import enum
import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

from postage.callables import name_of
from postage.errors import GiveUp, MalformedMessage, RejectMessage, RetryLater, SettingsError
from postage.foreign_text import one_line, traceback_text
from postage.protocol import OWN_HEADERS as PREFIX
from postage.typed_queue import type_of
from postage.values import MAX_SHORT, number, rule, seconds

# fmt: off
__all__ = [
    "ATTEMPT", "DELAY_STEPS", "DUE", "RETRY", "TEXT", "TRACEBACK", "Decision", "Failure", "History",
    "Remedy", "Retry", "check_queue", "decide", "delay_steps", "dossier", "encodable",
    "headers_of", "is_kept", "is_stream", "keeping_type", "origin_headers", "origin_of",
    "parking_queue", "reason_for", "retry",
]
# fmt: on

ATTEMPT = f"{PREFIX}attempt"
"""The header with the number of tries so far."""
TRACEBACK = f"{PREFIX}traceback"
"""The header with the traceback, the largest of ours."""
TEXT = f"{PREFIX}text"
"""The header with the text of the exception."""
_ROUND = f"{PREFIX}round"
_FIRST_FAILED = f"{PREFIX}first-failed-ms"

DUE = "postage.delay.due"
"""The exchange from which a message comes that has waited for its delay."""
RETRY = "_postage_retry"
"""The attribute in which a handler has its own policy."""

_now = number(0, 1000)
_delay = seconds(zero=True, most=RetryLater.MAX)
_part = rule("a float below 1", lambda value: isinstance(value, (int, float)) and 0 <= value < 1)
Function = TypeVar("Function")


@dataclass(frozen=True, slots=True)
class Retry:
    """How often, and when, a message is tried again after its handler has failed.

    *now*: how many times at once.  *delays*: the seconds before each later delivery.  *jitter*: at
    random, a delay is left as it is, or is longer or shorter by this part of itself, so that
    messages that failed together come back in three groups.  (More groups would need more queues.)
    *on*: the exceptions that are worth another try; others park the message.

    Raises `SettingsError` for values that cannot be used.
    """

    now: int = 0
    delays: tuple[float, ...] = ()
    jitter: float = 0.2
    on: type[BaseException] | tuple[type[BaseException], ...] = Exception

    def __post_init__(self) -> None:
        _now("Retry.now", self.now)
        given: Any = self.delays
        if not isinstance(given, (tuple, list)):
            raise SettingsError(f"Retry.delays must be a tuple of seconds, not {given!r:.80}")
        delays = tuple(given)
        for each in delays:
            _delay("a delay of Retry.delays", each)
        object.__setattr__(self, "delays", tuple(map(float, delays)))
        _part("Retry.jitter", self.jitter)
        kinds: tuple[Any, ...] = self.on if isinstance(self.on, tuple) else (self.on,)
        if not all(isinstance(each, type) and issubclass(each, BaseException) for each in kinds):
            raise SettingsError(
                f"Retry.on must be an exception class or several, not {self.on!r:.80}"
            )

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as plain data, exceptions by their names."""
        kinds = self.on if isinstance(self.on, tuple) else (self.on,)
        names = [each.__qualname__ for each in kinds]
        return {
            "now": self.now,
            "delays": list(self.delays),
            "jitter": float(self.jitter),
            "on": names,
        }


class Remedy(enum.Enum):
    """What is done with a message whose handler has failed."""

    AT_ONCE = enum.auto()
    LATER = enum.auto()
    PARK = enum.auto()


_FINAL = (GiveUp, MalformedMessage, RejectMessage, KeyboardInterrupt, SystemExit)


class Decision(NamedTuple):
    """A remedy, and the seconds until the next try."""

    remedy: Remedy
    delay: float = 0.0


class History(NamedTuple):
    """What the headers of a message tell of its earlier tries."""

    attempts: int = 0
    """How many tries have failed."""
    rounds: int = 0
    """How many delays it has had."""
    first_failed: float | None = None
    """When the first try failed, in seconds since the epoch; None: none has."""

    @classmethod
    def of(cls, headers: Mapping[str, Any] | None) -> History:
        """Return the history in *headers*; what no Postage can have written counts as absent."""
        if not headers:
            return cls()
        first = headers.get(_FIRST_FAILED)
        if not isinstance(first, int) or isinstance(first, bool) or not 0 < first < 1 << 53:
            first = None
        seconds_ = None if first is None else first / 1000
        return cls(_count(headers.get(ATTEMPT)), _count(headers.get(_ROUND)), seconds_)

    def failed(self, now: float, tries: int = 1) -> History:
        """Return the history after *tries* more have failed, the last one at *now*."""
        first = now if self.first_failed is None else self.first_failed
        return History(self.attempts + tries, self.rounds, first)

    def later(self) -> dict[str, Any]:
        """Return the headers of a copy that has one more delay."""
        return self._replace(rounds=self.rounds + 1).headers()

    def headers(self) -> dict[str, Any]:
        """Return the headers in which the next try finds this history."""
        found: dict[str, Any] = {ATTEMPT: self.attempts, _ROUND: self.rounds}
        if self.first_failed is not None:
            found[_FIRST_FAILED] = round(self.first_failed * 1000)
        return found


_EXCHANGE, _ROUTING_KEY = f"{PREFIX}exchange", f"{PREFIX}routing-key"


def origin_headers(exchange: str, routing_key: str) -> dict[str, Any]:
    """Return the headers that tell where a message was sent that comes from a delay queue."""
    return {_EXCHANGE: encodable(exchange), _ROUTING_KEY: encodable(routing_key)}


def encodable(name: str) -> str:
    """Return *name* with its bytes that are no UTF-8, which peers may have sent, as escapes."""
    return name.encode("utf-8", "backslashreplace").decode()


def headers_of(delivery: Any) -> Mapping[str, Any] | None:
    """Return the headers of *delivery*; None if nobody can decode them, so that none is ours."""
    try:
        headers: Mapping[str, Any] | None = delivery.properties.headers
    except MalformedMessage:
        return None
    return headers


def origin_of(exchange: str, key: str, headers: Mapping[str, Any] | None) -> tuple[str, str]:
    """Return where a message was sent: by its *headers* if it comes from a delay queue."""
    if exchange not in RETURNING or not headers:
        return exchange, key
    told = headers.get(_EXCHANGE), headers.get(_ROUTING_KEY)
    return told if all(isinstance(each, str) for each in told) else (exchange, key)  # type: ignore[return-value]


RETURNING = ("", DUE)
"""The exchanges through which messages come back from delay queues; and others, if they like."""


def first_exchange(delivery: Any) -> str | None:
    """Return the exchange to which *delivery* was first published; None if it was tried before."""
    headers = headers_of(delivery)
    if History.of(headers).attempts:
        return None
    return origin_of(delivery.exchange, delivery.routing_key, headers)[0]


def _count(value: object) -> int:
    is_count = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 31
    return int(value) if is_count else 0  # type: ignore[call-overload]


def decide(
    failures: Iterable[tuple[BaseException, Retry | None]],
    history: History,
    *,
    tries: int,
    draw: Callable[[], float] = random.random,
) -> Decision:
    """Return what to do with a message after *failures*, exceptions of handlers and their policies.

    *history* is that before this delivery, and *tries* how often this delivery was tried.  *draw*
    returns a random number from 0 to 1.  If several handlers have failed, the remedy that stands
    last in `Remedy` wins: a message that one of them gives up is parked.
    """
    remedies = [_remedy(each, history, tries, draw) for each in failures]
    return max(remedies, key=lambda decision: (decision.remedy.value, decision.delay))


def _remedy(
    failure: tuple[BaseException, Retry | None],
    history: History,
    tries: int,
    draw: Callable[[], float],
) -> Decision:
    error, retry = failure
    if isinstance(error, RetryLater):
        return Decision(Remedy.LATER, error.seconds)
    if retry is None or isinstance(error, _FINAL):
        return Decision(Remedy.PARK)
    # The default is any failure, also one that is no Exception: that of @time_limit.
    if retry.on is not Exception and not isinstance(error, retry.on):
        return Decision(Remedy.PARK)
    if tries <= retry.now:
        return Decision(Remedy.AT_ONCE)
    if history.rounds < len(retry.delays):
        delay = retry.delays[history.rounds]
        return Decision(Remedy.LATER, delay * (1 + retry.jitter * (min(2, int(3 * draw())) - 1)))
    return Decision(Remedy.PARK)


def retry(
    policy: Retry | None = None,
    /,
    *,
    now: int = 0,
    delays: tuple[float, ...] = (),
    jitter: float = 0.2,
    on: type[BaseException] | tuple[type[BaseException], ...] = Exception,
) -> Callable[[Function], Function]:
    """Give a handler its own policy: a `Retry`, or the fields of one.  None: it is not retried.

    Raises `SettingsError` for values that cannot be used.
    """
    if callable(policy):
        raise SettingsError(f"write @retry(...) with brackets above {name_of(policy)}")
    chosen = policy or Retry(now, delays, jitter, on)

    def mark(handler: Function) -> Function:
        setattr(handler, RETRY, chosen)
        return handler

    return mark


# --- the delays that the queues of the broker have

# Preferred numbers (ISO 3, R20): each is an eighth larger than the one before, so no delay is more
# than 6 % from one of them, and the processors of a virtual host share few queues.
_R20 = (
    *(1.0, 1.12, 1.25, 1.4, 1.6, 1.8, 2.0, 2.24, 2.5, 2.8),
    *(3.15, 3.55, 4.0, 4.5, 5.0, 5.6, 6.3, 7.1, 8.0, 9.0),
)
DELAY_STEPS = tuple(
    step for power in range(2, 10) for each in _R20 if (step := round(each * 10**power)) < 2**32
)
"""The milliseconds of all delay queues, from a tenth of a second to 49 days."""


def delay_steps(delay: float) -> list[int]:
    """Return the three steps of `DELAY_STEPS` that are next to *delay* seconds, in milliseconds.

    The first is the nearest.
    """
    wanted = delay * 1000
    place = bisect.bisect_left(DELAY_STEPS, wanted)
    return sorted(DELAY_STEPS[max(0, place - 3) : place + 3], key=lambda step: abs(step - wanted))[
        :3
    ]


def check_queue(
    name: str,
    flags: Mapping[str, Any],
    policies: Iterable[Retry | None],
    *,
    has_switch: bool = False,
) -> None:
    """Raise `SettingsError` if one of *policies* has delays that the queue *name* cannot have.

    A copy comes back through the queue: into one that has ended meanwhile it cannot, and in a
    stream every reader would get it.  If the queue drops messages after some time, or ends when it
    is not used for some time, the delays of a message must be shorter together.  Nor can a kill
    switch (*has_switch*) give anything back to a stream.
    """
    if has_switch and is_stream(flags):
        raise SettingsError(
            f"a kill_switch cannot be used with the stream {name!r}, to which no message can be "
            f"given back: use another queue, or Retry(now=...)"
        )
    delays = [sum(policy.delays) for policy in policies if policy is not None and policy.delays]
    if not delays:
        return
    for argument in ("x-message-ttl", "x-expires"):
        limit = (flags.get("arguments") or {}).get(argument)
        if isinstance(limit, (int, float)) and max(delays) * 1000 >= limit:
            raise SettingsError(
                f"Retry.delays of {max(delays):g} s together are longer than the queue {name!r} "
                f"keeps a message ({argument}: {limit / 1000:g} s): use shorter delays"
            )
    reason = "ends with its consumer" if flags.get("exclusive") or flags.get("auto_delete") else ""
    if is_stream(flags):
        reason = "is a stream, in which every reader would get the message again"
    if reason:
        raise SettingsError(
            f"Retry.delays cannot be used with the queue {name!r}, which {reason}: use another "
            f"queue, or Retry(now=...) only"
        )


# --- queues, by the flags with which they were declared


def is_kept(flags: Mapping[str, Any]) -> bool:
    """Tell whether failed messages of a queue with *flags* are parked.

    Not if its owner has said where its dead letters go; not if the queue ends with its consumer,
    since nobody could send the messages back to it; and not if it is a stream, which keeps them.
    """
    arguments = flags.get("arguments") or {}
    ends = flags.get("exclusive") or flags.get("auto_delete")
    return not (ends or is_stream(flags) or "x-dead-letter-exchange" in arguments)


def is_stream(flags: Mapping[str, Any]) -> bool:
    """Tell whether every reader of a queue with *flags* would get a message that comes back."""
    return type_of(flags) == "stream"


def keeping_type(flags: Mapping[str, Any]) -> str:
    """Return the type of the queues that hold what failed in a queue with *flags*."""
    return "quorum" if type_of(flags) == "quorum" else "classic"


def parking_queue(template: str, queue: str) -> str:
    """Return the name of the parking queue of *queue*; a name that AMQP cannot carry is cut."""
    room = MAX_SHORT - len(template.replace("{queue}", "").encode())
    return template.replace("{queue}", queue.encode()[:room].decode("utf-8", "ignore"))


# --- the dossier of a parked message


class Failure(NamedTuple):
    """Why a message is parked, and where it happened."""

    why: str
    """``failed``, ``rejected``, ``gave-up``, ``malformed`` or ``poisonous``."""
    error: BaseException | None
    handler: str = ""
    processor: str = ""
    component: str = ""
    host: str = ""
    pid: str = ""
    queue: str = ""
    exchange: str = ""
    routing_key: str = ""


_REASONS: tuple[tuple[type[BaseException], str], ...] = (
    (GiveUp, "gave-up"),
    (RejectMessage, "rejected"),
    (MalformedMessage, "malformed"),
)


def reason_for(errors: Iterable[BaseException]) -> tuple[str, BaseException | None]:
    """Return why a message with these *errors* is parked, and the error that says so."""
    first = None
    for error in errors:
        first = first or error
        for kind, why in _REASONS:
            if isinstance(error, kind):
                return why, error
    return "failed", first


def dossier(failure: Failure, history: History, now: float) -> dict[str, Any]:
    """Return the headers that explain a parked message, in the order of their importance.

    Their names are documented in docs/failures.md.
    """
    error = failure.error
    about: dict[str, Any] = {
        "why": failure.why,
        "parked-ms": round(now * 1000),
        "queue": encodable(failure.queue),
        "processor": one_line(failure.processor),
        "handler": one_line(failure.handler),
        "component": one_line(failure.component),
        "host": one_line(failure.host),
        "pid": one_line(failure.pid),
    }
    if error is not None:
        kind = type(error)
        about["exception"] = f"{kind.__module__}.{kind.__qualname__}"
        about["text"] = one_line(error)
        if failure.handler:  # else it would show only Postage itself
            about["traceback"] = traceback_text(error)
    named = {f"{PREFIX}{name}": value for name, value in about.items() if value != ""}
    origin = origin_headers(failure.exchange, failure.routing_key)
    return {**history.headers(), **origin, **named}
