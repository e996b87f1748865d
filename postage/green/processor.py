"""Processors: classes whose decorated methods handle messages, many at a time."""

from __future__ import annotations

import logging
import types
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import gevent
import gevent.event

from postage.addressing import Eqk
from postage.dispatch import Bound, NextAction, Outcome, Verdict, dispatch, perform
from postage.errors import AckAndRestart, MalformedMessage
from postage.fingerprint import FingerprintLike, complete
from postage.green.amqp.delivery import Delivery
from postage.green.consumer import GenericConsumer
from postage.green.jobs import Job, Jobs
from postage.green.microthread import MicroThread
from postage.green.pool import KILL_LIMIT, Pool
from postage.green.rpc.serving import serve
from postage.green.runtime import runtime_of
from postage.handlers import (
    MessageHandlerFullBody,
    MessageHandlerType,
    RouteTable,
    is_handler,
)
from postage.message import check_body
from postage.settings import Hup, Settings

if TYPE_CHECKING:
    from gevent.pool import Group

    from postage.statistics_types import ProcessorStatistics

__all__ = ["GRACE", "MessageProcessor"]

logger = logging.getLogger(__name__)

_COUNTED = (
    *("handled", "unhandled", "failed", "malformed", "filtered"),
    *("expired", "poisonous", "stale", "restored"),
    *("jobs", "failed_jobs", "restarts"),
)

CLOSE_LIMIT = 0.5
"""Seconds that the end of a processor waits for a broker that does not answer."""
GRACE = CLOSE_LIMIT + KILL_LIMIT
"""Seconds that a processor takes to end, at most, once its handlers get no more time."""


class MessageProcessor(MicroThread, metaclass=MessageHandlerType):
    """Handles the messages of its queues with its decorated methods.

    Each message runs in a greenlet of its own, at most `concurrency` at a time; so handlers may
    block, and may finish in another order than their messages came.  Making a processor connects,
    declares and binds; `green.run` or a scheduler runs it.
    """

    consumer_class: type[GenericConsumer] = GenericConsumer
    concurrency: int = 250
    """How many messages are handled at a time.  1: one after the other, in the queue's order."""
    prefetch: int | None = None
    """How many messages of a queue may be here unacknowledged; None: as many as `concurrency`."""
    answer_unknown: bool = True
    """Answer RPCs that nobody here handles with ``UnknownCommand``.  False for a key that several
    processors share."""
    max_deliveries: int | None = 20
    """A message that comes more often than that, and was never settled, is rejected to the dead
    letters instead of being handled: it seems to kill who does.  None: it is handled for ever.
    On queues other than quorum queues, what came to processes that died is not counted."""
    remote_control: bool = True
    """Obey the commands ``quit`` and ``restart``."""
    shutdown_timeout: float = 30.0
    """Seconds that running handlers get to finish when the processor stops; what has not finished
    then goes back to its queue."""
    restart: str = "transient"
    """Whether a scheduler starts it again: ``"transient"``, after a crash; ``"permanent"``, also
    when a handler has ended it by `StopIteration`; ``"temporary"``, never."""
    restart_intensity: int = 5
    """How often it is started again in any `restart_period`, after pauses that grow from none to
    5 s; then the scheduler gives up, and ends."""
    restart_period: float = 60.0
    """Seconds."""

    ending: NextAction = NextAction.CONTINUE
    """What the scheduler shall do once this processor has ended."""

    def __init__(
        self,
        fingerprint: FingerprintLike | None = None,
        eqk: Eqk | None = None,
        hup: Hup | None = None,
        vhost: str | None = None,
        *,
        settings: Settings | None = None,
    ) -> None:
        self.fingerprint = complete(fingerprint)
        # A consumer class of the user's may have the classic signature, without settings.
        given = {} if settings is None else {"settings": settings}
        self.consumer = self.consumer_class(eqk, hup, vhost, **given)
        self.counts: Counter[str] = self.consumer.counts
        """``handled``, ``unhandled``, ``malformed``, ``failed``, ``filtered``, ``second_reply``,
        ``lost_reply``, ``expired``, ``stale``, ``stale_acks``, ``poisonous``, ``jobs``,
        ``failed_jobs``, ``restarts``, and what the consumer counts."""
        self.consumer.prefetch = self.concurrency if self.prefetch is None else self.prefetch
        self._pool: Pool[Delivery | Job] | None = None
        self._ended = gevent.event.Event()
        self._ended.set()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.fingerprint['name']!r}, {self._pool or 'idle'}>"

    def statistics(self) -> ProcessorStatistics:
        """Return a picture of it; never switches."""
        from postage.statistics_types import ProcessorStatistics  # noqa: PLC0415 - for who asks

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

    # --- handlers of this instance

    _is_draining = False
    _timers: Group | None = None
    _own_handlers: dict[str, Any] | None = None
    _own_routes: tuple[RouteTable, RouteTable] | None = None

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute; what is decorated becomes a handler of this instance.

        A plain function whose first parameter is ``self`` is bound, as it would be in the class.
        """
        if is_handler(value) and _takes_self(value):
            value = types.MethodType(value, self)
        super().__setattr__(name, value)
        if is_handler(value):
            own = {**(self._own_handlers or {}), name: value}
            super().__setattr__("_own_handlers", own)
            super().__setattr__("_own_routes", None)

    def add_handler(self, handler: Callable[..., Any]) -> None:
        """Add a decorated function or `Handler` class to this instance; see `__setattr__`."""
        if not is_handler(handler):
            raise TypeError(f"{handler!r} must be decorated with MessageHandler or its kin")
        setattr(self, handler.__name__, handler)

    @property
    def _routes(self) -> RouteTable:
        """The handlers of this processor: those of its class, and its own."""
        of_class = type(self)._route_table  # noqa: SLF001 - which the metaclass of this class keeps
        if self._own_handlers is None:
            return of_class
        if self._own_routes is None or self._own_routes[0] is not of_class:
            super().__setattr__("_own_routes", (of_class, of_class.extended(self._own_handlers)))
        return self._own_routes[1]  # type: ignore[index]  # set just now

    # --- remote control

    @MessageHandlerFullBody("command", "quit")
    def msg_quit(self, body: dict[str, Any]) -> None:
        """Stop this processor; when the last one has, the program goes on after its loop."""
        if self._obeys("quit", body):
            self._finish(NextAction.QUIT)

    @MessageHandlerFullBody("command", "restart")
    def msg_restart(self, body: dict[str, Any]) -> None:
        """Replace the process by a new run of the same program, once all handlers are done."""
        if self._obeys("restart", body):
            raise AckAndRestart

    def _obeys(self, command: str, body: dict[str, Any]) -> bool:
        sender = body.get("fingerprint")
        if self.remote_control:
            logger.info("%r obeys the command %s of %s.", self, command, sender)
        else:
            logger.warning(
                "%r refused the command %s of %s: its remote_control is False.",
                self,
                command,
                sender,
            )
        return self.remote_control

    # --- running

    def add_eqk(self, eqk: Eqk) -> None:
        """Listen to more queues; see `GenericConsumer.add_eqk`."""
        self.consumer.add_eqk(eqk)

    def add_timeout(self, seconds: float, callback: Callable[[], object] | None = None) -> None:
        """Call *callback* in *seconds*, in a greenlet of this processor; or, without one, sleep."""
        if callback is None:
            gevent.sleep(seconds)
            return
        if self._timers is None:
            from gevent.pool import Group  # noqa: PLC0415 - few need it

            self._timers = Group()
        timer = gevent.Greenlet(callback)
        self._timers.add(timer)
        timer.start_later(seconds)

    def step(self) -> None:
        """Handle messages until the processor stops: a scheduler's turn of it is its whole life."""
        self.start_consuming()
        raise StopIteration

    def start_consuming(self) -> None:
        """Handle messages until `stop_consuming`; then let running handlers finish.

        Switches.  When the connection is lost it waits for another one, for as long as it takes,
        and consumes again.  Raises what keeps it from consuming and will not pass, as
        `TopologyMismatch`, and `ConnectionClosed` when our own side closes the connection.
        """
        if self._pool is None:
            self.begin()
        assert self._pool is not None
        try:
            self.consumer.join()
        finally:
            self._jobs.stop()
            try:
                self._drain(self._pool)
            finally:
                self._pool = None
                self._ended.set()

    def begin(self, on_over: Callable[[], object] | None = None) -> None:
        """Begin what `start_consuming` then goes on with; never switches.

        For schedulers: a processor that consumes needs no greenlet of its own, which costs 8 KB.
        *on_over* is called in the hub when consuming is over, and `start_consuming` has work to do.
        """
        name = f"{type(self).__name__} of {self.fingerprint['name']}"
        pool: Pool[Delivery | Job] = Pool(self.concurrency, self._handle, name)
        self.consumer.start(self._receive)
        if on_over is not None:
            self.consumer._over.rawlink(lambda _: on_over())  # noqa: SLF001
        self.ending, self._is_draining = NextAction.CONTINUE, False
        self._pool, self._jobs = pool, Jobs(self, pool.submit)
        self._ended.clear()

    def stop_consuming(self) -> None:
        """Ask the processor to stop; never switches, may be called anywhere, handlers included."""
        self.consumer.stop_consuming()

    def stop(self, timeout: float | None = None) -> None:
        """Stop consuming, let running handlers finish, and wait until the processor has ended.

        Switches.  Handlers get *timeout* seconds, by default `shutdown_timeout`; what has not
        finished then goes back to its queue, within another second.  A greenlet killed while it
        waits here leaves the processor ending.  Not for the processor's own handlers, which would
        wait for themselves: they call `stop_consuming`.
        """
        if self._pool is not None and gevent.getcurrent() in self._pool:
            raise AssertionError("a handler cannot wait for its own end; call stop_consuming()")
        self.stop_consuming()
        if not self._ended.wait(self.shutdown_timeout if timeout is None else timeout):
            self.abandon()
            self._ended.wait(GRACE)

    def abandon(self) -> None:
        """Give the handlers of a stopping processor no more time; never switches."""
        if self._pool is not None:
            self._pool.kill(0)

    def _finish(self, after: NextAction) -> None:
        self.ending = max(self.ending, after)
        self.stop_consuming()

    def _drain(self, pool: Pool[Delivery | Job]) -> None:
        """First no new messages, then the running handlers, then the channel.

        In this order nothing is handled twice that could be handled once: what runs still has the
        channel to acknowledge on, and what has not begun goes back first, to others.
        """
        with ExitStack() as at_last:  # the last one first, whatever ends this greenlet meanwhile
            at_last.callback(self._end_timers)
            at_last.callback(pool.kill)
            at_last.callback(self.consumer.stop, CLOSE_LIMIT)
            self._is_draining = True  # requeues what arrives from now on
            self.consumer.cancel_consumers()
            for item in pool.withdraw():
                if isinstance(item, Delivery):
                    item.reject(requeue=True)
            if not pool.join(self.shutdown_timeout):
                logger.warning("%r: handlers did not finish in time; their messages go back.", self)

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

        Runs in a greenlet of the pool, and switches as handlers do.
        """
        if isinstance(item, Job):
            self._run_job(item)
            return
        delivery, counts = item, self.counts
        if not delivery.channel.alive:
            counts["stale"] += 1  # the broker delivers it again
            return
        try:
            if delivery.redelivered and self._came_too_often(delivery):
                delivery.reject(requeue=False)
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
            logger.error("%s rejected what is no message: %s", type(self).__name__, exc)  # noqa: TRY400
            delivery.reject(requeue=False)
        except Exception:  # a defect of ours: it must not leave the message without a verdict
            counts["failed"] += 1
            logger.exception("%r could not handle a message.", self)
            delivery.reject(requeue=False)

    def _conclude(self, delivery: Delivery, outcome: Outcome) -> None:
        """Count the outcome, tell the broker the verdict, and do what the handlers asked for."""
        counts = self.counts
        counts["handled" if outcome.handlers else "unhandled"] += 1
        if outcome.filtered:
            counts["filtered"] += outcome.filtered
        if not delivery.channel.alive:
            counts["stale_acks"] += 1
        if outcome.verdict is Verdict.ACK:
            delivery.ack()
        else:
            counts["failed"] += 1
            delivery.reject(requeue=False)
        if outcome.next_action is not NextAction.CONTINUE:
            self._finish(outcome.next_action)

    def _came_too_often(self, delivery: Delivery) -> bool:
        """Tell whether a redelivered message has come too often; count and log it then."""
        if self.max_deliveries is None:
            return False
        queue, properties = self.consumer.queue_of(delivery), delivery.properties
        counts = runtime_of(self.consumer.settings).redeliveries
        times = counts.deliveries(queue, properties.message_id, properties.headers)
        if times <= self.max_deliveries:
            return False
        self.counts["poisonous"] += 1
        logger.error(
            "%s rejected a message of queue %r, id %r: it was delivered %d times and never "
            "acknowledged or rejected.",
            type(self).__name__,
            queue,
            properties.message_id,
            times,
        )
        return True

    def _decoded(self, delivery: Delivery) -> dict[str, Any]:
        """Return the message in a delivery; raise `MalformedMessage`."""
        consumer, data = self.consumer, delivery.body
        if len(data) > consumer.max_body:
            raise MalformedMessage(f"a body of {len(data)} bytes, over {consumer.max_body}")
        # A call less for each message, unless a consumer class of the user's decodes by itself.
        is_plain = type(consumer).decode is GenericConsumer.decode
        decode = consumer.encoder.decode if is_plain else consumer.decode
        try:
            return check_body(decode(data))
        except MalformedMessage:
            raise
        except Exception as exc:  # an encoder of the user's may raise anything
            raise MalformedMessage(str(exc)) from exc

    def _handlers_of(self, body: dict[str, Any]) -> list[Bound]:
        """Return the handlers of a message, bound to this processor."""
        # As `_routes`, without a call for each message.
        table = type(self)._route_table if self._own_handlers is None else self._routes  # noqa: SLF001
        found = []
        for attribute, part in table.find(body["category"], body["type"], body["name"]):
            handler = getattr(self, attribute)
            if isinstance(handler, type):  # a `Handler` class
                handler = types.MethodType(handler, self)
            found.append((handler, part))
        return found

    def _run_job(self, job: Job) -> None:
        try:
            outcome = perform(job.method)
        finally:
            job.end()
        self.counts["jobs"] += 1
        self.counts["failed_jobs"] += bool(outcome.failures)
        if outcome.next_action is not NextAction.CONTINUE:
            self._finish(outcome.next_action)


def _takes_self(handler: Any) -> bool:
    is_plain = isinstance(handler, types.FunctionType)
    return is_plain and handler.__code__.co_varnames[:1] == ("self",)
