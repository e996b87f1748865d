"""Says whether a processor takes messages now, and which of them may begin.

How it works
------------
Most processors have no `Admission`, and pay nothing for it.  One that is paused, or that has a
kill switch or a handler with a limit, asks it three questions:

* **May this delivery be taken** (`takes`)?  Not while the processor is paused or its kill switch is
  open.  The consumers are then cancelled as well (`GenericConsumer.hold`), and messages that no
  handler has begun are given back.  None of this applies to queues that end with their consumers.
* **May the delivery begin** (`handle`)?  It passes a `Turnstile` for each limit of its handlers,
  and one for a kill switch that doubts.
* **What becomes of the message** (`judge`)?  While a kill switch has not decided whether a failed
  message is to blame, the message is held: it stays unacknowledged, and counts neither as handled
  nor as failed.

While the switch is open, a timer tries one message after the other (`_probe_one`): in turns one
that is held and one from the queue, so no message can keep the switch open alone.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Iterable
from typing import Any

import gevent

from postage.deadline import Deadline
from postage.dispatch import Outcome, Verdict
from postage.errors import MalformedMessage
from postage.green.amqp.delivery import Delivery
from postage.green.amqp.hub_logging import HubLogger
from postage.green.handling.jobs import Job
from postage.green.handling.turnstile import Turnstile
from postage.handler_limits import TokenBucket, limit_of
from postage.kill_switch import Ruling, Switch, SwitchState, kind_of
from postage.log_records import counted
from postage.redelivery import marks_of

__all__ = ["Admission", "needs_admission"]

logger = HubLogger(__name__)

Held = tuple[Delivery, Outcome, int]
"""A message that has failed, its outcome, and the number of this failure."""

LONGEST_HELD = 1200.0
"""Seconds for which a failed message is held while a switch is open.  If a message is held for half
an hour (the consumer timeout), RabbitMQ takes it back, and before 4.3 ends the channel."""


def needs_admission(processor: Any) -> bool:
    """Tell whether *processor* has a kill switch, or a handler with a limit."""
    handlers = (getattr(processor, name) for _, name in processor._routes.entries)  # noqa: SLF001 - no handler can hide it
    return processor.kill_switch is not None or any(map(limit_of, handlers))


class Admission:
    """What one processor may take and begin; for the thread of its hub.

    Only `handle` switches.
    """

    def __init__(self, processor: Any) -> None:
        self._processor = processor
        self.is_paused = False
        """Whether a person has paused the processor."""
        self.switch: Switch | None = None
        """The kill switch of the present run."""
        self._forget()

    def _forget(self) -> None:
        """Begin without any delivery."""
        self._timer: Any = None
        self._room = self._turnstile()
        self._limits: dict[str, Turnstile | None] = {}  # by the names of handlers
        # The turnstiles that a delivery has passed, in their order.
        self._places: dict[Delivery, list[Turnstile]] = {}
        # What has failed, with the number of its failure, and what was begun after which failure.
        self._held: deque[Held] = deque()
        self._began: dict[Delivery, int] = {}
        self._failures = 0
        # What was held, and shall be settled by a greenlet of the pool.
        self._decided: dict[Delivery, Outcome] = {}
        self._calls: set[Delivery] = set()  # those whose callers wait for a time only
        self._probe: Delivery | None = None
        self._was_held_probed = False

    def _turnstile(self, size: int | None = None, bucket: TokenBucket | None = None) -> Turnstile:
        return Turnstile(self._admit, self._is_over, size, bucket)

    # --- for the processor

    def start(self) -> None:
        """Begin a run of the processor, with a kill switch that has counted nothing yet."""
        self._forget()
        settings = self._processor.kill_switch
        self.switch = None if settings is None else Switch(settings)
        self._processor.consumer.spare = 0 if settings is None else settings.after
        if self.switch is not None:
            self._room.resize(self.switch.room)
        self._take()

    def stop(self) -> None:
        """Give back the messages that have not begun or are held, at the end of the run."""
        self._stop_timer()
        self._give_back_all()

    @property
    def is_open(self) -> bool:
        """Whether the kill switch is open."""
        return self.switch is not None and self.switch.is_open

    @property
    def screens(self) -> bool:
        """Whether deliveries that arrive may have to go back."""
        return self.is_paused or self.is_open

    @property
    def waiting(self) -> int:
        """How many deliveries wait for a limit, or for what the kill switch decides."""
        limits = sum(len(each) for each in self._limits.values() if each is not None)
        return limits + len(self._room) + len(self._held)

    def pause(self) -> None:
        """Take nothing until `resume`, and give back the messages that have not begun or are held.

        May be called twice.
        """
        if not self.is_paused:
            self.is_paused = True
            self._take()
            self._give_back_all()

    def resume(self) -> None:
        """Take messages again, unless the kill switch is open; may be called twice."""
        if self.is_paused:
            self.is_paused = False
            self._take()

    def takes(self, delivery: Delivery) -> bool:
        """Tell whether *delivery*, which has just arrived, may wait for its turn."""
        if not (self.screens and self._is_watched(delivery)):
            return True
        consumer = self._processor.consumer
        if self.is_paused or consumer.is_held or self._probe is not None:
            return False
        consumer.hold()  # this one is enough
        self._probe = delivery
        return True

    def handle(self, item: Delivery | Job) -> None:
        """Handle *item* if it may begin now; otherwise put it in the line of a turnstile.

        Runs in a greenlet of the pool, and switches if a handler does.
        """
        if isinstance(item, Job):
            self._processor._handle(item)  # noqa: SLF001 - it belongs to this class
        elif item in self._decided:
            self._processor.counts["handled"] += 1
            self._processor._settle(item, self._decided.pop(item))  # noqa: SLF001 - as above
        elif self._is_over(item) or self._pass_turnstiles(item):
            self._began[item] = self._failures
            try:
                self._processor._handle(item)  # noqa: SLF001 - as above
            finally:
                self._leave(item)

    def judge(self, delivery: Delivery, outcome: Outcome) -> bool:
        """Note how *delivery* ended; return whether it is held, so that nobody settles it now."""
        switch = self.switch
        if switch is None or not self._is_watched(delivery):
            return False
        before = switch.state
        if outcome.verdict is Verdict.ACK:
            if outcome.handlers > outcome.filtered:
                switch.succeed(is_probe=self._ends_probe(delivery))
                self._follow(before)
                if self._held and not switch.is_open:
                    self._settle_held(self._began.get(delivery, 0))
            return False
        kind = kind_of(outcome.failures)
        if kind is None:
            return False
        is_probe = self._ends_probe(delivery)
        ruling = switch.fail(kind, marks_of(delivery), is_probe=is_probe)
        is_held = ruling is not Ruling.SETTLE and outcome.reply is None and delivery.channel.alive
        if is_held:
            self._hold(delivery, outcome)
        if is_probe:
            told, sort = (self._processor, kind.__name__), counted(id(self), kind.__name__)
            logger.info("%r: a probe has failed, too: %s.", *told, extra=sort)
        self._follow(before)
        return is_held

    # --- what may begin

    def _pass_turnstiles(self, delivery: Delivery) -> bool:
        places = self._places.setdefault(delivery, [])
        for each in self._turnstiles_of(delivery)[len(places) :]:
            if not each.enter(delivery):
                return False
            places.append(each)
        return True

    def _turnstiles_of(self, delivery: Delivery) -> list[Turnstile]:
        is_watched = self.switch is not None and self._is_watched(delivery)
        found = [self._room] if is_watched else []
        try:
            body = self._processor._decoded(delivery)  # noqa: SLF001 - it belongs to this class
        except MalformedMessage:
            return found
        table = self._processor._routes  # noqa: SLF001 - as above
        handlers = table.find(body["category"], body["type"], body["name"])
        if body["category"] == "rpc":
            handlers = handlers[-1:]  # the others do not run
            self._calls.add(delivery)
            if self._is_over(delivery):
                return []
        limits = (self._limit_of(attribute) for attribute, _ in handlers)
        return [*found, *(each for each in limits if each is not None)]

    def _limit_of(self, attribute: str) -> Turnstile | None:
        if attribute not in self._limits:
            limit = limit_of(getattr(self._processor, attribute))
            bucket = None if limit is None or limit.rate is None else TokenBucket(limit.rate)
            made = None if limit is None else self._turnstile(limit.concurrency, bucket)
            self._limits[attribute] = made
        return self._limits[attribute]

    def _admit(self, turnstile: Turnstile, delivery: Delivery, has_place: bool) -> None:  # noqa: FBT001 - as `Turnstile` calls it
        if has_place:
            self._places[delivery].append(turnstile)
        self._submit(delivery)

    def _leave(self, delivery: Delivery) -> None:
        self._calls.discard(delivery)
        self._began.pop(delivery, None)
        for each in self._places.pop(delivery, ()):
            each.leave()
        if delivery is self._probe:  # its end says nothing about the dependency
            self._probe = None
            if self.is_open:
                self._take_probe()

    def _submit(self, item: Delivery | Job) -> None:
        pool = self._processor._pool  # noqa: SLF001 - it belongs to this class
        if pool is not None:
            pool.submit(item)
        elif isinstance(item, Delivery):
            item.give_back()

    def _is_watched(self, delivery: Delivery) -> bool:
        """Tell whether *delivery* came from a queue that can be left alone for a while."""
        queue = self._processor.consumer.declaration_of(delivery)
        return queue is None or not queue.ends_with_consumer

    # --- taking and giving back

    def _take(self) -> None:
        """Take messages, or none, as the processor may now."""
        consumer = self._processor.consumer
        if self.screens:
            consumer.hold()
        elif consumer.is_held:
            consumer.resume()
        self._processor._screens = self.screens  # noqa: SLF001 - it belongs to this class

    def _give_back_all(self) -> None:
        """Give back what has not begun, and what is held."""
        lines = [self._room, *filter(None, self._limits.values())]
        begun_later: list[Any] = [item for each in lines for item in each.withdraw()]
        pool = self._processor._pool  # noqa: SLF001 - it belongs to this class
        begun_later += [] if pool is None else pool.withdraw()
        for item in begun_later:
            if isinstance(item, Delivery) and self._is_watched(item):
                self._give_back(item)
            else:
                self._submit(item)
        while self._held:
            self._give_back(self._held.popleft()[0])

    def _give_back(self, delivery: Delivery) -> None:
        self._decided.pop(delivery, None)
        self._calls.discard(delivery)
        if delivery is self._probe:
            self._probe = None
        for each in self._places.pop(delivery, ()):
            each.leave()
        delivery.give_back()

    # --- the kill switch

    def _ends_probe(self, delivery: Delivery) -> bool:
        if delivery is not self._probe:
            return False
        self._probe = None
        return True

    def _hold(self, delivery: Delivery, outcome: Outcome) -> None:
        if self.is_paused or self._processor.consumer.stopping:
            delivery.give_back()
            return
        self._failures += 1
        self._held.append((delivery, outcome, self._failures))
        if not self.is_open:
            self._start_timer()
            if len(self._held) > 2 * self._processor.kill_switch.after:  # of different kinds
                self._settle(*self._held.popleft())

    def _follow(self, before: SwitchState) -> None:
        """Do what the state of the switch asks for, after it was *before*."""
        switch = self.switch
        assert switch is not None
        was_open = before in (SwitchState.OPEN, SwitchState.PROBING)
        if switch.is_open and not was_open:
            self._open(switch)
        elif was_open and not switch.is_open:
            self._close()
        self._room.resize(switch.room)

    def _open(self, switch: Switch) -> None:
        processor, kind = self._processor, switch.kind
        processor.counts["trips"] += 1
        text = (
            "%r: %d messages in a row have failed by %s, so its kill switch opens: it takes no "
            "messages, and tries one every %g s."
        )
        name = "" if kind is None else kind.__name__
        logger.warning(text, processor, switch.row, name, switch.settings.probe)
        held, self._held = self._held, deque()
        self._take()
        self._give_back_all()
        self._held = held
        self._start_timer()

    def _close(self) -> None:
        self._stop_timer()
        logger.info("%r: a message has succeeded, so its kill switch closes.", self._processor)
        held, self._held = self._held, deque()
        for delivery, *_ in held:
            self._submit(delivery)
        self._take()

    def _settle_held(self, last: float = math.inf) -> None:
        """Let the policies decide of what is held, up to the failure with the number *last*."""
        while self._held and self._held[0][2] <= last:
            self._settle(*self._held.popleft())
        if not self._held:
            self._stop_timer()

    def _settle(self, delivery: Delivery, outcome: Outcome, _number: int) -> None:
        """Settle what was held, in a greenlet of the pool."""
        self._decided[delivery] = outcome
        self._submit(delivery)

    def _start_timer(self) -> None:
        """Call `_on_timer` after the pause of the switch."""
        self._stop_timer()
        assert self.switch is not None
        self._timer = gevent.get_hub().loop.timer(self.switch.settings.probe, ref=False)
        self._timer.start(self._on_timer, update=True)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.close()
            self._timer = None

    def _on_timer(self) -> None:
        self._stop_timer()
        if self.is_open:
            self._start_timer()
            if not self.is_paused and self._probe is None:
                self._probe_one()
        elif self._room.busy:  # the next to end may fill the row
            self._start_timer()
        else:  # too few messages come to fill the row
            self._settle_held()

    def _probe_one(self) -> None:
        """Try one message: in turns one that is held, and one from the queue."""
        switch, consumer = self.switch, self._processor.consumer
        assert switch is not None
        self._held = deque(self._fresh(self._held))
        switch.probe()
        if self._held and not self._was_held_probed:
            consumer.hold()  # no message has come from the queue
            self._was_held_probed = True
            self._probe = self._held.popleft()[0]
            self._submit(self._probe)
        else:
            self._was_held_probed = False
            self._take_probe()

    def _take_probe(self) -> None:
        """Take one message from the queues, whenever there is one."""
        if not self.is_paused:
            self._processor.consumer.resume(prefetch=1)

    def _fresh(self, held: Iterable[Held]) -> Iterable[Held]:
        """Yield what can still be held until the next probe, and give back the rest."""
        assert self.switch is not None
        oldest = time.monotonic() + self.switch.settings.probe - LONGEST_HELD
        for each in held:
            if each[0].received < oldest:
                each[0].give_back()
            elif each[0].channel.alive:
                yield each

    def _is_over(self, delivery: Delivery) -> bool:
        """Tell whether no handler will get *delivery*: it is lost, or its caller has given up."""
        if not delivery.channel.alive:
            return True
        if delivery not in self._calls:
            return False
        try:
            expiration = delivery.properties.expiration
        except MalformedMessage:
            return False
        return expiration is not None and Deadline.of(expiration, delivery.received).expired
