"""What a processor does with a message that it could not handle: see `postage.recoverability`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import gevent
from gevent.lock import Semaphore

from postage.callables import name_of
from postage.dispatch import Bound, HandlerKilled, Outcome, Verdict, dispatch
from postage.errors import ConnectionClosed, PostageError, RejectMessage
from postage.green.amqp.backoff import Backoff
from postage.green.amqp.delivery import Delivery, UnreadableDelivery
from postage.green.amqp.hub_logging import HubLogger
from postage.green.handling.current import note_tries
from postage.green.handling.keeping import Parking
from postage.green.handling.watching import watched_handling
from postage.green.rpc.serving import refuse
from postage.green.runtime import runtime_of
from postage.green.topology import QueueDeclaration
from postage.handler_statistics import HandlerTally, flow_of
from postage.log_records import counted
from postage.recoverability import (
    RETRY,
    Decision,
    Failure,
    History,
    Remedy,
    Retry,
    check_queue,
    decide,
    dossier,
    headers_of,
    is_kept,
    is_stream,
    keeping_type,
    origin_headers,
    origin_of,
    parking_queue,
    reason_for,
)
from postage.redelivery import Redeliveries

__all__ = ["Recovery", "check_policies"]

logger = HubLogger(__name__)

PARK = Decision(Remedy.PARK)


class Recovery:
    """Tries the failed messages of one processor again, and parks those that no try can help."""

    __slots__ = ("_backoff", "_parking", "_processor", "_turn", "redeliveries")

    def __init__(self, processor: Any) -> None:
        self._processor = processor
        self._parking = Parking(runtime_of(processor.consumer.settings))
        self._turn, self._backoff = Semaphore(), Backoff()
        self.redeliveries = Redeliveries()
        """How often each message came that was never settled."""

    def is_poisonous(self, delivery: Delivery, running: Iterable[Any]) -> bool:
        """Return whether *delivery* has exceeded `max_deliveries`, and settle it if so.

        *running* are the items whose handlers have not ended.  Settling switches.
        """
        processor = self._processor
        begun = (item for item in running if isinstance(item, Delivery))
        times = self.redeliveries.count(delivery, begun)
        if times <= processor.max_deliveries:
            return False
        processor.counts["poisonous"] += 1
        text = "%s gives up a message of queue %r, id %r: delivered %d times, and never settled."
        told = delivery.origin, delivery.properties.message_id, times
        logger.error(text, type(processor).__name__, *told, extra=counted(delivery.origin))
        error = RejectMessage("it was delivered too often")
        refuse(processor, delivery, error)
        self.give_up(delivery, "poisonous", error)
        return True

    def again(self, delivery: Delivery, outcome: Outcome) -> Outcome:
        """Run the handlers again at once, as often as their policies say; return the last outcome.

        The handlers get the message as it was delivered, with a higher ``attempt``.  Ends early if
        the channel is lost.  Switches if the handlers do.
        """
        processor, found, tries = self._processor, outcome.found, 1
        while found and delivery.channel.alive:
            if self._decide(delivery, outcome, tries).remedy is not Remedy.AT_ONCE:
                break
            processor.counts["retried"] += 1
            for *_, tally in found:
                tally.count("retried")
            note_tries(tries)
            outcome, tries = self._run(delivery, found), tries + 1
            if outcome.verdict is Verdict.ACK:
                break
        outcome.tries = tries
        return outcome

    def _run(self, delivery: Delivery, found: Sequence[Bound]) -> Outcome:
        processor = self._processor
        body = processor._decoded(delivery)  # noqa: SLF001 - a handler may be called `decoded`
        if not processor.around:
            return dispatch(body, found)
        outcome = watched_handling(processor, delivery, body, found, again=True)
        assert outcome is not None  # as only a call can have expired
        return outcome

    def settle(self, delivery: Delivery, outcome: Outcome) -> None:
        """Delay, park or reject a message whose handlers have failed, after all tries at once.

        Switches.  While the broker does not take the copy, waits, at most until the processor stops
        or the channel is lost; the message then returns to its queue.
        """
        if outcome.tallies:
            headers = headers_of(delivery)
            exchange, _ = origin_of(delivery.exchange, delivery.routing_key, headers)
            flow = flow_of(outcome.body, exchange)
            for tally in outcome.tallies:
                tally.count_failed(flow)
        why, error = reason_for(outcome.failures)
        handlers = ", ".join(map(name_of, outcome.failed_handlers))
        decision = PARK
        if outcome.found:  # else it is a call, which its caller repeats
            decision = self._decide(delivery, outcome, outcome.tries)
        queue = self._queue_of(delivery)
        if decision.remedy is Remedy.LATER and queue is not None and not is_stream(queue.flags):
            self._delay(delivery, queue, decision.delay, outcome)
        else:
            failure = Failure(why, error, handlers)
            self._park(delivery, queue, failure, outcome.tries, outcome.tallies)

    def give_up(self, delivery: Delivery, why: str, error: BaseException) -> None:
        """Park or reject a message that no handler gets, because of *error*; waits as `settle`."""
        self._park(delivery, self._queue_of(delivery), Failure(why, error), 0)

    def interrupted(self, delivery: Delivery, error: BaseException) -> None:
        """Return a message to its queue, because *error* has ended its greenlet early.

        *error* is a kill, or a timeout that the handler has started and not closed.  Without this,
        the message would stay unacknowledged, and take a place of the prefetch, until its channel
        ends.  Raises *error* unless that is a timeout.
        """
        self.redeliveries.leave(delivery)
        if not isinstance(error, HandlerKilled):  # then its processor ends, and requeues it
            delivery.reject(requeue=True)
        if not isinstance(error, gevent.Timeout):
            raise error
        text = (
            "%r: a gevent.Timeout that a handler did not close has fired after the end of the "
            "handler; the message returns to its queue: %r"
        )
        told = self._processor, error
        logger.error(text, *told, extra=counted(type(self._processor).__name__))

    def _decide(self, delivery: Delivery, outcome: Outcome, tries: int) -> Decision:
        usual: Retry | None = self._processor.retry
        policies = [getattr(each, RETRY, usual) for each in outcome.failed_handlers]
        history = History.of(headers_of(delivery))
        return decide(zip(outcome.failures, policies, strict=True), history, tries=tries)

    def _delay(
        self, delivery: Delivery, queue: QueueDeclaration, seconds: float, outcome: Outcome
    ) -> None:
        """Let the broker deliver the message again after *seconds*."""
        headers = headers_of(delivery)
        history = History.of(headers).failed(time.time(), outcome.tries)
        origin = origin_headers(*origin_of(delivery.exchange, delivery.routing_key, headers))
        put = partial(self._parking.delay, delivery, queue, history.later() | origin, seconds)
        self._keep(delivery, "delayed", put, outcome.tallies)

    def _park(
        self,
        delivery: Delivery,
        queue: QueueDeclaration | None,
        failure: Failure,
        tries: int,
        tallies: Sequence[HandlerTally] = (),
    ) -> None:
        """Park the message, or reject it if its queue or its processor says so.

        *tallies* are those of the handlers that have failed.
        """
        processor = self._processor
        if queue is None:  # it was removed meanwhile
            delivery.reject(requeue=True)
            return
        has_body = not isinstance(delivery, UnreadableDelivery)
        if not (has_body and processor.park and is_kept(queue.flags)) or self._is_answered(
            delivery
        ):
            delivery.reject(requeue=False)
            return
        headers, now = headers_of(delivery), time.time()
        exchange, routing_key = origin_of(delivery.exchange, delivery.routing_key, headers)
        failure = failure._replace(
            processor=type(processor).__qualname__,
            component=str(processor.fingerprint["name"]),
            host=str(processor.fingerprint["host"]),
            pid=str(processor.fingerprint["pid"]),
            queue=queue.name,
            exchange=exchange,
            routing_key=routing_key,
        )
        about = dossier(failure, History.of(headers).failed(now, tries), now)
        name = parking_queue(processor.park, queue.name)
        put = partial(self._parking.park, delivery, name, keeping_type(queue.flags), about)
        self._keep(delivery, "parked", put, tallies)

    def _keep(
        self,
        delivery: Delivery,
        what: str,
        put: Callable[[], None],
        tallies: Sequence[HandlerTally],
    ) -> None:
        """Let the broker keep a copy of the message, and acknowledge it only then.

        If the broker does not, tries again, with growing pauses.  Meanwhile the message keeps its
        place among those that are handled, so a processor that can park nothing soon takes nothing.
        Messages that the broker has not kept take turns, of which the pauses are a part: 250 that
        tried each for itself kept a processor core busy.
        """
        if self._try_to_keep(delivery, what, put, tallies):
            return
        consumer = self._processor.consumer
        while True:
            with self._turn:
                if not delivery.channel.alive or consumer.stopping:
                    break
                if self._try_to_keep(delivery, what, put, tallies):
                    self._backoff.reset()
                    return
                consumer.ending.wait(self._backoff.pause())
        delivery.reject(requeue=True)

    def _try_to_keep(
        self,
        delivery: Delivery,
        what: str,
        put: Callable[[], None],
        tallies: Sequence[HandlerTally],
    ) -> bool:
        """Try once to let the broker keep the message; tell whether it does."""
        if not delivery.channel.alive:
            return False
        try:
            put()
        except ConnectionClosed:
            return False  # our own side has closed the connections, or the message comes again
        except PostageError as exc:
            self._complain(delivery, what, exc)
            return False
        self._processor.counts[what] += 1
        for tally in tallies:
            tally.count(what)
        self._processor.consumer.ack(delivery)  # knows it again, if the broker has withdrawn it
        return True

    def _complain(self, delivery: Delivery, what: str, error: PostageError) -> None:
        if not delivery.channel.alive:
            return  # the broker delivers the message again
        text = (
            "%r: a message that failed could not be %s, and stays unacknowledged until it can be "
            "(docs/failures.md says what that needs; park = None rejects it): %s"
        )
        sort = counted(what, type(error).__name__)
        logger.error(text, self._processor, what, error, extra=sort)

    def _queue_of(self, delivery: Delivery) -> QueueDeclaration | None:
        found: QueueDeclaration | None = self._processor.consumer.declaration_of(delivery)
        return found

    def _is_answered(self, delivery: Delivery) -> bool:
        """Tell whether a caller has been told of the failure, which is enough for most calls."""
        if self._processor.park_calls:
            return False
        try:
            return bool(delivery.properties.reply_to)
        except PostageError:
            return False


def check_policies(processor: Any) -> None:
    """Raise `SettingsError` if a queue of *processor* cannot have the delays of its policies."""
    handlers = (getattr(processor, name) for _, name in type(processor).route_table.entries)
    policies = [processor.retry, *(getattr(each, RETRY, None) for each in handlers)]
    for queue in processor.consumer.declarations:
        has_switch = processor.kill_switch is not None
        check_queue(queue.requested_name, queue.flags, policies, has_switch=has_switch)
