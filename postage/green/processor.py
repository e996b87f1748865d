"""Processors: classes whose decorated methods handle messages, many at a time."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import gevent
import gevent.event

from postage.addressing import Eqk, with_limits
from postage.around import Around
from postage.attributes import PROCESSOR, TIMER, refuse_misplaced
from postage.callables import refuse_lazy
from postage.copies import TYPED
from postage.dispatch import ACK, REJECT, Bound, NextAction, Outcome, dispatch
from postage.encoding import JsonEncoder, read_message
from postage.errors import MalformedMessage
from postage.fingerprint import FingerprintLike, complete, renew_after_forks
from postage.foreign_text import one_line
from postage.green.amqp.delivery import Delivery
from postage.green.amqp.hub_logging import HubLogger
from postage.green.consumer import GenericConsumer, OnEnd
from postage.green.handling.admission import Admission, needs_admission
from postage.green.handling.current import propagation
from postage.green.handling.finding import BoundHandlers, HandlerFinder
from postage.green.handling.jobs import Job, Jobs
from postage.green.handling.pausing import Pausing
from postage.green.handling.presence import enter
from postage.green.handling.recovery import Recovery, check_policies
from postage.green.handling.watching import watched_handling
from postage.green.microthread import MicroThread
from postage.green.pool import KILL_LIMIT, Pool
from postage.green.rpc.serving import refuse, serve
from postage.kill_switch import KillSwitch
from postage.log_records import counted, place_of
from postage.message import check_body
from postage.recoverability import Retry
from postage.remote_control import spoken
from postage.settings import Hup, Settings
from postage.statistics_types import ProcessorStatistics
from postage.values import check_arguments, check_values

if TYPE_CHECKING:
    from gevent.pool import Group

__all__ = ["GRACE", "MessageProcessor"]

logger = HubLogger(__name__)

_COUNTED = (
    *("handled", "unhandled", "failed", "malformed", "filtered"),
    *("expired", "poisonous", "duplicates", "stale", "restored"),
    *("retried", "delayed", "parked", "trips"),
    *("jobs", "failed_jobs", "restarts"),
)

CLOSE_LIMIT = 0.5
"""Seconds that a processor waits at its end for a broker that does not answer."""
GRACE = CLOSE_LIMIT + KILL_LIMIT
"""Seconds that a processor takes to end, at most, after its handlers were killed."""


class MessageProcessor(MicroThread, HandlerFinder, Pausing):
    """Handles the messages of its queues with its decorated methods.

    Each message is handled in its own greenlet, at most `concurrency` at a time.  So handlers
    may block, and may finish in another order than that of their messages.  Making a processor
    connects, declares and binds; `green.run` or a scheduler runs it.
    """

    consumer_class: type[GenericConsumer] = GenericConsumer
    eqk: Eqk = ()
    """The queues of a processor whose constructor gets no *eqk*; without any, `consumer_class` may
    have some."""
    concurrency: int = 250
    """How many messages are handled at a time.  1: one after the other, in the queue's order."""
    prefetch: int | None = None
    """How many unacknowledged messages of a queue the broker may have sent; None: `concurrency`.
    0: no limit."""
    answer_unknown: bool = True
    """Answer RPCs without a handler with ``UnknownCommand``.  Use False for a key that several
    processors share."""
    reply_to: Sequence[str] | None = None
    """Patterns of the queues that may get replies, such as `PRIVATE_QUEUES`; a request that names
    another one is rejected unhandled, and not answered.  None: any queue, which lets each caller
    make this process publish with its own rights."""
    expose_exceptions: str = "text"
    """What a caller learns of an exception: ``"text"``: its name and text; ``"name"``: its name;
    ``"id"``: only an id, which the log has beside the traceback."""
    max_deliveries: int | None = 20
    """How often a message may be delivered and not settled.  Then it is parked, because it probably
    kills its process.  None: no limit.  Only quorum queues count for all processes."""
    propagate: Collection[str] = ()
    """Names of headers, such as ``("x-tenant",)``.  If a message has them, all messages and calls
    that its handlers send have them, too, also from greenlets that the handlers spawn, unless the
    sender gives other values (``_headers``)."""
    around: Sequence[Around] = ()
    """Hooks around the handling of each message, the outermost first: see `Around`."""
    shutdown_timeout: float = 30.0
    """Seconds that running handlers get to finish when the processor stops.  Handlers that have not
    finished then are killed, and their messages are requeued."""
    retry: Retry | None = None
    """When messages whose handler has failed are handled again; ``@retry`` on a handler goes first.
    None: never."""
    park: str | None = "{queue}.parked"
    """The queue for messages that failed for good, declared when it is first needed; see
    docs/failures.md.  None: they are rejected."""
    park_calls: bool = False
    """Whether requests are parked, too, although their callers learn of the failure."""
    kill_switch: KillSwitch | None = None
    """When to stop taking messages, because they all fail by errors of one kind.  None: never."""
    restart: str = "transient"
    """When a scheduler restarts it: ``"transient"``: after a crash; ``"permanent"``: also after a
    handler has ended it by `StopIteration`; ``"temporary"``: never."""
    restart_intensity: int = 5
    """How many times the scheduler restarts the processor in any `restart_period`, after pauses
    that grow from 0 to 5 s.  Then the scheduler gives up and ends."""
    restart_period: float = 60.0
    """The seconds in which `restart_intensity` restarts are allowed."""

    next_action: NextAction = NextAction.CONTINUE
    """The next action of the scheduler after this processor has ended."""

    # The attributes of instances are declared here, so that no handler can have their names.
    fingerprint: dict[str, Any]
    consumer: GenericConsumer
    counts: Counter[str]
    """``handled``, ``unhandled``, ``malformed``, ``failed``, ``filtered``, ``second_reply``,
    ``lost_reply``, ``expired``, ``stale``, ``stale_acks``, ``poisonous``,
    ``duplicates``, ``retried``, ``delayed``, ``parked``, ``trips``, ``jobs``, ``failed_jobs``,
    ``restarts``, and the counts of the consumer."""
    _pool: Pool[Delivery | Job] | None
    _jobs: Jobs
    _ended: gevent.event.Event
    _error: Exception | None
    _on_end: OnEnd | None

    _screens = True
    """Whether a delivery that arrives may have to go back."""
    _is_draining = False
    _timers: Group | None = None
    _station: Any = None
    _rules = PROCESSOR

    def __init__(
        self,
        fingerprint: FingerprintLike | None = None,
        eqk: Eqk | None = None,
        hup: Hup | None = None,
        vhost: str | None = None,
        *,
        settings: Settings | None = None,
    ) -> None:
        check_values(self, PROCESSOR)
        refuse_misplaced(self)
        self.fingerprint = complete(fingerprint)
        renew_after_forks(self)
        # A user's consumer class may have the classic signature, without settings.
        given = {} if settings is None else {"settings": settings}
        eqk = eqk or self.eqk or eqk
        eqk = eqk and with_limits(eqk, self.max_deliveries)
        self.consumer = self.consumer_class(eqk, hup, vhost, **given)
        self.counts = self.consumer.counts
        self.consumer.prefetch = self.concurrency if self.prefetch is None else self.prefetch
        check_policies(self)
        self._pool = self._admission = None  # on the instance, where each message finds it sooner
        self._ended = gevent.event.Event()
        self._ended.set()
        self._error = None
        self._on_end = None

    def _renew(self) -> None:
        self.fingerprint = complete(self.fingerprint)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.fingerprint['name']!r}, {self._pool or 'idle'}>"

    def statistics(self) -> ProcessorStatistics:
        """Return a snapshot of the state and the counts of this processor; never switches."""
        pool, counts = self._pool, self.counts
        return ProcessorStatistics(
            name=str(self.fingerprint["name"]),
            state=self._state,
            queues=tuple(dict.fromkeys(queue for queue, _ in self.consumer.qk_list)),
            busy=0 if pool is None else pool.busy,
            waiting=0 if pool is None else pool.waiting + self._set_aside,
            lost_replies=counts["lost_reply"],
            **{name: counts[name] for name in _COUNTED},
        )

    @property
    def _state(self) -> str:
        if self._pool is None:
            return "idle"
        if self._is_draining or self.consumer.stopping:
            return "draining"
        if self._screens:
            return "paused" if self.is_paused else "tripped"
        return "consuming" if self.consumer.consuming else "restoring"

    @property
    def _set_aside(self) -> int:
        return 0 if self._admission is None else self._admission.waiting

    # --- running

    def add_eqk(self, eqk: Eqk) -> None:
        """Listen to more queues; see `GenericConsumer.add_eqk`."""
        self.consumer.add_eqk(with_limits(eqk, self.max_deliveries))

    def add_timeout(self, seconds: float, callback: Callable[[], object] | None = None) -> None:
        """Call *callback* after *seconds* in a greenlet of this processor; without one, sleep."""
        check_arguments(TIMER, seconds=seconds, callback=callback)
        if callback is None:
            gevent.sleep(seconds)
            return
        refuse_lazy(callback)
        if self._timers is None:
            from gevent.pool import Group  # noqa: PLC0415 - few programs need it

            self._timers = Group()
        timer = gevent.Greenlet(callback)
        self._timers.add(timer)
        timer.start_later(seconds)

    def step(self) -> None:
        """Handle messages until the processor stops: one step is its whole life."""
        self.start_consuming()
        raise StopIteration

    # This module and the scheduler call the next methods by the class, because a processor may have
    # a handler of the same name, such as `start` for the command "start".

    def start(self, on_end: OnEnd | None = None) -> None:
        """Start to handle messages; returns at once and never switches.

        A processor that waits for messages has no greenlet, which saves 8 KB.  `join` waits for the
        end of the processor.  *on_end* is called at its end, with the error that has ended it, or
        None.  Raises AssertionError if the processor runs already.
        """
        if self._pool is not None:
            raise AssertionError(f"{self!r} runs already; it can be started again after its end")
        name = f"{type(self).__name__} of {self.fingerprint['name']}"
        for remark in self._remarks():
            logger.warning("%r: %s", self, remark)
        said = type(self).__qualname__, spoken(self.remote_control)
        logger.info("%s: remote control is %s.", *said, extra=counted(*said))
        if self._admission is None and needs_admission(self):
            self._admission = Admission(self)
        handle = self._handle if self._admission is None else self._admission.handle
        running = self.consumer.copies.in_progress.workers
        pool: Pool[Delivery | Job] = Pool(self.concurrency, handle, name, self, running)
        self._pool, self._screens, self._is_draining = pool, False, False
        if self._admission is not None:
            self._admission.start()
        self.consumer.start(self._receive, partial(gevent.spawn, self._end, pool))
        propagation.used = propagation.used or bool(self.propagate)
        self._jobs = Jobs(self, pool.submit)
        self.next_action, self._error, self._on_end = NextAction.CONTINUE, None, on_end
        self._ended.clear()
        self._station = enter(self)

    def _remarks(self) -> Iterator[str]:
        if not self.consumer.listens:
            yield "it listens to no queue: give it an eqk, in its class or its constructor"
        yield from self._routes.remarks()

    def join(self, timeout: float | None = None) -> bool:
        """Wait until the processor has ended; return False after *timeout* seconds.  Switches.

        Raises the error that has ended it, such as `TopologyMismatch`, or `ConnectionClosed` if our
        own side has closed the connection.
        """
        if not self._ended.wait(timeout):
            return False
        if self._error is not None:
            raise self._error
        return True

    def start_consuming(self) -> None:
        """Handle messages until `stop_consuming`, and then let running handlers finish.

        Switches.  If the connection is lost, waits for another one without a time limit.  Raises
        the same errors as `join`.  If this greenlet is killed, it stops the processor first.
        """
        if self._pool is None:
            MessageProcessor.start(self)
        try:
            MessageProcessor.join(self)
        finally:
            if self._pool is not None:
                MessageProcessor.stop(self)

    def stop_consuming(self) -> None:
        """Ask the processor to stop; never switches, may be called anywhere, handlers included."""
        self.consumer.stop_consuming()

    def stop(self, timeout: float | None = None) -> None:
        """Stop consuming, let running handlers finish, and wait until the processor has ended.

        Switches.  Handlers get *timeout* seconds, by default `shutdown_timeout`.  Those that have
        not finished then are killed, and their messages requeued, within another second.  If this
        greenlet is killed, the processor still stops.  A handler must call `stop_consuming`
        instead, because here it would wait for itself.
        """
        if self._pool is not None and gevent.getcurrent() in self._pool:
            raise AssertionError("a handler cannot wait for its own end; call stop_consuming()")
        self.stop_consuming()
        if not self._ended.wait(self.shutdown_timeout if timeout is None else timeout):
            self.kill_handlers()
            self._ended.wait(GRACE)

    def kill_handlers(self) -> None:
        """Kill the running handlers, whose messages are requeued; never switches."""
        if self._pool is not None:
            self._pool.kill(0)

    def _request_stop(self, next_action: NextAction) -> None:
        self.next_action = max(self.next_action, next_action)
        self.stop_consuming()

    def _end(self, pool: Pool[Delivery | Job], error: Exception | None) -> None:
        """Drain the processor; runs in a greenlet of its own."""
        self._jobs.stop()
        try:
            self._drain(pool)
        except Exception as exc:
            error = error or exc
        finally:
            self._pool, self._error, self._bound_handlers = None, error, None
            if self._station is not None:
                self._station.remove(self)
            self._ended.set()
            if self._on_end is not None:
                self._on_end(error)

    def _drain(self, pool: Pool[Delivery | Job]) -> None:
        """Stop in an order that lets running handlers acknowledge on the channel, closed last."""
        with ExitStack() as last:  # in reverse order, even if this greenlet is killed meanwhile
            last.callback(self._end_timers)
            last.callback(pool.kill)
            last.callback(self.consumer.stop, CLOSE_LIMIT)
            # Messages that arrive from now on are requeued.
            self._is_draining = self._screens = True
            self.consumer.cancel_consumers()
            for item in pool.withdraw():
                if isinstance(item, Delivery):
                    item.give_back()
            if self._admission is not None:
                self._admission.stop()
            if not pool.join(self.shutdown_timeout):
                logger.warning("%r: handlers did not finish in time; requeueing.", self)

    def _end_timers(self) -> None:
        if self._timers is not None:
            self._timers.kill(timeout=KILL_LIMIT)

    # --- one message, or one turn of a job

    def _receive(self, delivery: Delivery) -> None:
        """Take a delivery from the subscription; runs in the hub."""
        pool = self._pool
        if self.consumer.discard_all_messages:
            delivery.reject(requeue=False)
        elif pool is None or (self._screens and not self._takes(delivery)):
            delivery.give_back()
        else:
            pool.submit(delivery)

    def _takes(self, delivery: Delivery) -> bool:
        is_taken = self._admission is None or self._admission.takes(delivery)
        return is_taken and not self._is_draining

    def _handle(self, item: Delivery | Job) -> None:
        """Handle one delivery from its bytes to its ack, or one turn of a job.

        Runs in a greenlet of the pool, and switches if a handler does.
        """
        if isinstance(item, Job):
            self._run_job(item)
            return
        delivery, counts = item, self.counts
        if not delivery.channel.alive:
            counts["stale"] += 1  # the broker delivers it again
            delivery.give_back()
            return
        try:
            if (delivery.redelivered or delivery.header[1] & TYPED) and self._is_spent(delivery):
                return
            body = self._decoded(delivery)
            if logger.isEnabledFor(logging.DEBUG):
                logger.debug("<-- %s: %s", type(self).__name__, body)
            found = self._handlers_of(body)
            if self.around or body["category"] == "rpc":
                carry_out = watched_handling if self.around else serve
                outcome = carry_out(self, delivery, body, found)
            else:
                outcome = dispatch(body, found, arrived=delivery)
            if outcome is None:
                delivery.ack()  # expired
            else:
                self._conclude(delivery, outcome)
        except MalformedMessage as exc:
            counts["malformed"] += 1
            name, sort = type(self).__name__, counted(type(self).__name__, *place_of(exc))
            logger.error("%s rejected a malformed message: %s", name, exc, extra=sort)  # noqa: TRY400 - it is not our error
            refuse(self, delivery, exc)
            self._recovery.give_up(delivery, "malformed", exc)
        except Exception as exc:  # a bug in Postage must not leave the message unacknowledged
            counts["failed"] += 1
            sort = counted(type(self).__name__, *place_of(exc))
            logger.exception("%r could not handle a message.", self, extra=sort)
            refuse(self, delivery, exc)
            self._recovery.give_up(delivery, "failed", exc)
        except BaseException as exc:  # the handler was killed, or has left a timeout running
            self._recovery.interrupted(delivery, exc)

    @cached_property
    def _recovery(self) -> Recovery:
        return Recovery(self)  # most processors never need it

    def _conclude(self, delivery: Delivery, outcome: Outcome) -> None:
        """Count the outcome, acknowledge or reject the message, and stop if a handler asked to."""
        counts = self.counts
        counts["handled" if outcome.handlers else "unhandled"] += 1
        if outcome.verdict is REJECT:
            outcome = self._recovery.again(delivery, outcome)
        if outcome.filtered:
            counts["filtered"] += outcome.filtered
        if not delivery.channel.alive:
            counts["stale_acks"] += 1
            self._recovery.redeliveries.leave(delivery)
            if outcome.verdict is ACK:
                self.consumer.copies.leave(delivery)
        if outcome.next_action:  # not CONTINUE, which is 0
            self._request_stop(outcome.next_action)
        if self._admission is not None and self._admission.judge(delivery, outcome):
            counts["handled"] -= 1  # it may be handled again
        elif outcome.verdict is ACK:
            delivery.ack()
        else:
            self._settle(delivery, outcome)

    def _settle(self, delivery: Delivery, outcome: Outcome) -> None:
        self.counts["failed"] += 1
        self._recovery.settle(delivery, outcome)

    def _is_spent(self, delivery: Delivery) -> bool:
        """Settle or put off a delivery that comes again and needs no handler now; tell if so."""
        if self.consumer.settles_copy(delivery, partial(self._receive, delivery)):
            return True
        if self.max_deliveries is None or not delivery.redelivered:
            return False
        running = () if self._pool is None else self._pool.running
        return self._recovery.is_poisonous(delivery, running)

    def _decoded(self, delivery: Delivery) -> dict[str, Any]:
        """Return the message in a delivery; raise `MalformedMessage`."""
        consumer, data = self.consumer, delivery.body
        is_usual = type(consumer).decode is GenericConsumer.decode
        try:
            if is_usual and type(consumer.encoder) is JsonEncoder:
                return read_message(data)
            return check_body(consumer.decode(data))
        except MalformedMessage:
            raise
        except Exception as exc:  # a user's encoder may raise anything
            encoding = str(delivery.properties.content_encoding or "")
            named = f" (its content_encoding is {encoding[:40]!r})" if encoding else ""
            raise MalformedMessage(f"{one_line(exc)}{named}") from exc

    def _handlers_of(self, body: dict[str, Any]) -> Sequence[Bound]:
        """Return the handlers of a message, bound to this processor."""
        # Nearly every processor has the handlers of its class only: this saves it a call.
        table = type(self)._route_table if self._own_handlers is None else self._routes  # noqa: SLF001
        known: BoundHandlers | None = self._bound_handlers
        if known is None or known.table is not table:
            known = self._bound_handlers = BoundHandlers(self, table, self._tallies)
        found = known[body["category"], body["type"], body["name"]]
        if not found:
            self._warn_of_unhandled(body)
        return found

    def _run_job(self, job: Job) -> None:
        outcome = job.run()
        self.counts["jobs"] += 1
        self.counts["failed_jobs"] += bool(outcome.failures)
        if outcome.next_action is not NextAction.CONTINUE:
            self._request_stop(outcome.next_action)
