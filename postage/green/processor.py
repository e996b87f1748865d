"""Processors: classes whose decorated methods handle messages, many at a time."""

from __future__ import annotations

import logging
import types
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import cached_property
from typing import TYPE_CHECKING, Any

import gevent
import gevent.event

from postage.addressing import Eqk
from postage.attributes import PROCESSOR, TIMER, refuse_misplaced
from postage.callables import refuse_lazy
from postage.dispatch import Bound, HandlerKilled, NextAction, Outcome, Verdict, dispatch, perform
from postage.errors import AckAndRestart, MalformedMessage, RejectMessage
from postage.fingerprint import FingerprintLike, complete, renew_after_forks
from postage.foreign_text import one_line
from postage.green.amqp.delivery import Delivery
from postage.green.amqp.hub_logging import HubLogger
from postage.green.consumer import GenericConsumer, OnEnd
from postage.green.jobs import Job, Jobs
from postage.green.microthread import MicroThread
from postage.green.pool import KILL_LIMIT, Pool
from postage.green.rpc.serving import refuse, serve
from postage.handlers import HandlerOwner, MessageHandlerFullBody
from postage.log_records import counted, place_of
from postage.message import check_body
from postage.redelivery import Redeliveries
from postage.remote_control import RemoteRule, objection, spoken, user_of
from postage.settings import Hup, Settings
from postage.statistics_types import ProcessorStatistics
from postage.values import check_arguments, check_values

if TYPE_CHECKING:
    from gevent.pool import Group

__all__ = ["GRACE", "MessageProcessor"]

logger = HubLogger(__name__)

_COUNTED = (
    *("handled", "unhandled", "failed", "malformed", "filtered"),
    *("expired", "poisonous", "stale", "restored"),
    *("jobs", "failed_jobs", "restarts"),
)

CLOSE_LIMIT = 0.5
"""Seconds that a processor waits at its end for a broker that does not answer."""
GRACE = CLOSE_LIMIT + KILL_LIMIT
"""Seconds that a processor takes to end, at most, after its handlers were killed."""


class MessageProcessor(MicroThread, HandlerOwner):
    """Handles the messages of its queues with its decorated methods.

    Each message is handled in a new greenlet, at most `concurrency` of them at a time.  So handlers
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
    """How often a message may be delivered without being acknowledged or rejected.  After that it
    is rejected to the dead letters, because it probably kills the process that handles it.
    None: no limit.  Only quorum queues count the deliveries to other processes, and to those that
    died."""
    remote_control: RemoteRule = True
    """From whom it takes remote commands, such as ``quit`` and ``restart``.  True or ``"on"``: from
    everybody that can publish to its queues; False or ``"off"``: from nobody; ``"own-user"``: from
    those that are logged in to the broker as its own user; or a list of users.  See
    `GenericProducer.send_user_id`."""
    shutdown_timeout: float = 30.0
    """Seconds that running handlers get to finish when the processor stops.  Handlers that have not
    finished then are killed, and their messages are requeued."""
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
    ``lost_reply``, ``expired``, ``stale``, ``stale_acks``, ``poisonous``, ``jobs``,
    ``failed_jobs``, ``restarts``, and the counts of the consumer."""
    _pool: Pool[Delivery | Job] | None
    _jobs: Jobs
    _ended: gevent.event.Event
    _error: Exception | None
    _on_end: OnEnd | None

    _is_draining = False
    _timers: Group | None = None
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
        self.consumer = self.consumer_class(eqk or self.eqk or eqk, hup, vhost, **given)
        self.counts = self.consumer.counts
        self.consumer.prefetch = self.concurrency if self.prefetch is None else self.prefetch
        self._pool = None
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
            waiting=0 if pool is None else pool.waiting,
            lost_replies=counts["lost_reply"],
            **{name: counts[name] for name in _COUNTED},
        )

    @property
    def _state(self) -> str:
        if self._pool is None:
            return "idle"
        if self.consumer.consuming:
            return "consuming"
        return "draining" if self.consumer.stopping else "restoring"

    # --- remote control

    @MessageHandlerFullBody("command", "quit")
    def msg_quit(self, body: dict[str, Any]) -> None:  # noqa: ARG002 - the classic signature
        """Stop this processor.  After the last one has stopped, the scheduler returns."""
        if self._obeys("quit"):
            self._request_stop(NextAction.QUIT)

    @MessageHandlerFullBody("command", "restart")
    def msg_restart(self, body: dict[str, Any]) -> None:  # noqa: ARG002 - as above
        """Replace the process by a new run of the same program, after all handlers have ended."""
        if self._obeys("restart"):
            raise AckAndRestart

    def _obeys(self, command: str, mistake: str = "") -> bool:
        """Tell whether to obey the remote command of the message in hand; log it and its sender.

        Every method that obeys a remote command asks here first.  *mistake*: why no sender can be
        obeyed, because the command itself is wrong.
        """
        user, fingerprint = None, {}
        # The pool runs each delivery in a greenlet of its own, which has the delivery as argument.
        item = next(iter(getattr(gevent.getcurrent(), "args", ())), None)
        if isinstance(item, Delivery):  # else our own program has called the method
            user, fingerprint = item.properties.user_id, self._decoded(item)["fingerprint"]
        own = user_of(self.consumer.settings)
        why = mistake or objection(self.remote_control, user, own)
        told, sort = (self, command, user, fingerprint), counted(id(self), command)
        if why:
            text = "%r refused the command %s of user %r, %r: %s."
            logger.warning(text, *told, why, extra=sort)
        else:
            logger.warning("%r obeys the command %s of user %r, %r.", *told, extra=sort)
        return not why

    # --- running

    def add_eqk(self, eqk: Eqk) -> None:
        """Listen to more queues; see `GenericConsumer.add_eqk`."""
        self.consumer.add_eqk(eqk)

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
        None.
        """
        name = f"{type(self).__name__} of {self.fingerprint['name']}"
        for remark in self._remarks():
            logger.warning("%r: %s", self, remark)
        said = type(self).__qualname__, spoken(self.remote_control)
        logger.info("%s: remote control is %s.", *said, extra=counted(*said))
        pool: Pool[Delivery | Job] = Pool(self.concurrency, self._handle, name)
        self.consumer.start(self._receive, lambda error: gevent.spawn(self._end, pool, error))
        self._pool, self._jobs, self._is_draining = pool, Jobs(self, pool.submit), False
        self.next_action, self._error, self._on_end = NextAction.CONTINUE, None, on_end
        self._ended.clear()

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
            self._pool, self._error = None, error
            self._ended.set()
            if self._on_end is not None:
                self._on_end(error)

    def _drain(self, pool: Pool[Delivery | Job]) -> None:
        """Stop in an order that lets running handlers acknowledge their messages.

        First the consumers are cancelled, and messages that wait are requeued for other processors.
        Then running handlers finish.  The channel, on which they acknowledge, is closed last.
        """
        with ExitStack() as last:  # in reverse order, even if this greenlet is killed meanwhile
            last.callback(self._end_timers)
            last.callback(pool.kill)
            last.callback(self.consumer.stop, CLOSE_LIMIT)
            self._is_draining = True  # messages that arrive from now on are requeued
            self.consumer.cancel_consumers()
            for item in pool.withdraw():
                if isinstance(item, Delivery):
                    item.reject(requeue=True)
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
        elif pool is None or self._is_draining:
            delivery.reject(requeue=True)
        else:
            pool.submit(delivery)

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
            return
        try:
            if delivery.redelivered and self._is_poisonous(delivery):
                delivery.reject(requeue=False)
                refuse(self, delivery, RejectMessage("it was delivered too often"))
                return
            body = self._decoded(delivery)
            if logger.isEnabledFor(logging.DEBUG):
                logger.debug("<-- %s: %s", type(self).__name__, body)
            found = self._handlers_of(body)
            if body["category"] == "rpc":
                outcome = serve(self, delivery, body, found)
            else:
                outcome = dispatch(body, found)
            if outcome is None:
                delivery.ack()  # expired
            else:
                self._conclude(delivery, outcome)
        except MalformedMessage as exc:
            counts["malformed"] += 1
            name, sort = type(self).__name__, counted(type(self).__name__, *place_of(exc))
            logger.error("%s rejected a malformed message: %s", name, exc, extra=sort)  # noqa: TRY400 - it is not our error
            delivery.reject(requeue=False)
            refuse(self, delivery, exc)
        except HandlerKilled:
            self._redeliveries.leave(delivery)
            raise
        except Exception as exc:  # a bug in Postage must not leave the message unacknowledged
            counts["failed"] += 1
            sort = counted(type(self).__name__, *place_of(exc))
            logger.exception("%r could not handle a message.", self, extra=sort)
            delivery.reject(requeue=False)
            refuse(self, delivery, exc)

    def _conclude(self, delivery: Delivery, outcome: Outcome) -> None:
        """Count the outcome, acknowledge or reject the message, and stop if a handler asked to."""
        counts = self.counts
        counts["handled" if outcome.handlers else "unhandled"] += 1
        if outcome.filtered:
            counts["filtered"] += outcome.filtered
        if not delivery.channel.alive:
            counts["stale_acks"] += 1
            self._redeliveries.leave(delivery)
        if outcome.verdict is Verdict.ACK:
            delivery.ack()
        else:
            counts["failed"] += 1
            delivery.reject(requeue=False)
        if outcome.next_action is not NextAction.CONTINUE:
            self._request_stop(outcome.next_action)

    @cached_property
    def _redeliveries(self) -> Redeliveries:
        return Redeliveries()  # most processors never need it

    def _is_poisonous(self, delivery: Delivery) -> bool:
        """Tell whether a redelivered message has exceeded `max_deliveries`; if so, log it."""
        if self.max_deliveries is None:
            return False
        running = () if self._pool is None else self._pool.running
        begun = (item for item in running if isinstance(item, Delivery))
        times = self._redeliveries.count(delivery, begun)
        if times <= self.max_deliveries:
            return False
        self.counts["poisonous"] += 1
        text = (
            "%s rejected a message of queue %r, id %r: it was delivered %d times and never "
            "acknowledged or rejected."
        )
        queue, message_id = self.consumer.queue_of(delivery), delivery.properties.message_id
        logger.error(text, type(self).__name__, queue, message_id, times, extra=counted(queue))
        return True

    def _decoded(self, delivery: Delivery) -> dict[str, Any]:
        """Return the message in a delivery; raise `MalformedMessage`."""
        consumer, data = self.consumer, delivery.body
        # Saves a call for each message, unless a user's consumer class overrides `decode`.
        is_plain = type(consumer).decode is GenericConsumer.decode
        decode = consumer.encoder.decode if is_plain else consumer.decode
        try:
            return check_body(decode(data))
        except MalformedMessage:
            raise
        except Exception as exc:  # a user's encoder may raise anything
            encoding = str(delivery.properties.content_encoding or "")
            named = f" (its content_encoding is {encoding[:40]!r})" if encoding else ""
            raise MalformedMessage(f"{one_line(exc)}{named}") from exc

    def _handlers_of(self, body: dict[str, Any]) -> list[Bound]:
        """Return the handlers of a message, bound to this processor."""
        # Nearly every processor has the handlers of its class only: this saves it a call.
        table = type(self)._route_table if self._own_handlers is None else self._routes  # noqa: SLF001
        found = []
        for attribute, part in table.found[body["category"], body["type"], body["name"]]:
            handler = getattr(self, attribute)
            if isinstance(handler, type):  # a `Handler` class
                handler = types.MethodType(handler, self)
            found.append((handler, part))
        if not found:
            self._warn_of_unhandled(body)
        return found

    def _warn_of_unhandled(self, body: dict[str, Any]) -> None:
        category = body["category"]
        if category == "rpc" and not self.answer_unknown:
            return  # another processor on this key handles it
        remark = self._routes.remark_on(category, body["type"], body["name"])
        if remark is not None:
            logger.warning("%s %s.", type(self).__name__, remark)

    def _run_job(self, job: Job) -> None:
        try:
            outcome = perform(job.method)
        finally:
            job.is_running = False
        self.counts["jobs"] += 1
        self.counts["failed_jobs"] += bool(outcome.failures)
        if outcome.next_action is not NextAction.CONTINUE:
            self._request_stop(outcome.next_action)
