"""Tries declarations that may end a connection on a connection of their own; see `refusals`."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from contextlib import AbstractContextManager, suppress
from typing import Protocol, TypeVar

from gevent.lock import BoundedSemaphore

from postage.errors import ChannelRefused, ConnectionFailed, ConnectionLost, NoFreeChannel
from postage.green.amqp import error_translation
from postage.green.amqp.channel import Channel
from postage.green.amqp.hub_logging import HubLogger
from postage.green.amqp.refusals import Declaration, Refusals

__all__ = ["Trials"]

logger = HubLogger(__name__)

LONGEST_WAIT = 2.0
"""Seconds for which a doubtful declaration waits for another one that is being tried."""
CLOSE_LIMIT = 1.0
"""Seconds for closing a connection on which a declaration was tried."""

T = TypeVar("T")


class Lender(Protocol):
    """What `Trials` uses of a connection."""

    @property
    def alive(self) -> bool:
        """Whether it is open."""

    def lease(self) -> AbstractContextManager[Channel]:
        """Lend a channel for requests that the broker may refuse."""

    def close(self, limit: float) -> None:
        """Close the connection within *limit* seconds."""


class Trials:
    """Carries out the declarations of *connection*, some of them on another connection.

    *make_another* connects to the same address.
    """

    def __init__(
        self, connection: Lender, make_another: Callable[[], Lender], refusals: Refusals
    ) -> None:
        self._connection, self._make_another = connection, make_another
        self._refusals = refusals
        self._accepted: set[Hashable] = set()  # sorts of declarations
        self._one_at_a_time = BoundedSemaphore()

    def carry_out(self, declaration: Declaration, operation: Callable[[Channel], T]) -> T:
        """Run *operation*, which makes *declaration*, on a leased channel; switches.

        Returns what *operation* does.  If the broker refuses the declaration, raises
        `ChannelRefused` or `TopologyMismatch`, and this connection goes on: a declaration that may
        end it is tried first on another connection, as `refusals` says.
        """
        try:
            return self._carry_out(declaration, operation)
        except ChannelRefused as exc:
            if exc.what or type(exc) is not ChannelRefused:  # it says already what was refused
                raise
            raise declaration.refused(exc.code, exc.text) from exc.__cause__

    def _carry_out(self, declaration: Declaration, operation: Callable[[Channel], T]) -> T:
        self._refusals.check(declaration)
        if not self._is_doubtful(declaration):
            return self._carry_out_here(declaration, operation)
        # The first trial of a sort shows what the broker does with all of that sort.  The others
        # wait only a little for it, because the broker may be slow with this very queue.
        is_alone = self._one_at_a_time.acquire(timeout=LONGEST_WAIT)
        try:
            self._refusals.check(declaration)
            if self._is_doubtful(declaration):
                return self._try(declaration, operation)
            return self._carry_out_here(declaration, operation)
        finally:
            if is_alone:
                self._one_at_a_time.release()

    def _is_doubtful(self, declaration: Declaration) -> bool:
        is_known = declaration.is_usual or declaration.sort in self._accepted
        return not is_known or self._refusals.is_suspect(declaration)

    def _carry_out_here(self, declaration: Declaration, operation: Callable[[Channel], T]) -> T:
        was_alive = self._connection.alive
        try:
            with self._connection.lease() as channel:
                return operation(channel)
        except NoFreeChannel:
            if declaration.is_exclusive:
                raise
            with suppress(ConnectionLost):  # the user may not have more channels at all
                return self._try(declaration, operation)
            raise
        except ConnectionLost as exc:
            if not was_alive or error_translation.refusal_in(exc) is None:
                raise
            self._refusals.suspect(declaration)
        # Once more, as a trial, which shows whether this was the declaration that was refused.
        return self._carry_out(declaration, operation)

    def _try(self, declaration: Declaration, operation: Callable[[Channel], T]) -> T:
        """Carry out *declaration* on a connection of its own, whose end says what was refused."""
        try:
            other = self._make_another()
        except ConnectionFailed as exc:  # the broker may allow no further connection
            if not self._connection.alive:
                raise
            logger.info("%s is declared on the shared connection: %s", declaration.what, exc)
            other = self._connection
        is_lost = declaration.is_exclusive and other is not self._connection
        try:
            with other.lease() as channel:
                result = operation(channel)
                if is_lost:  # RabbitMQ 4 may delete it some time after the end of the connection
                    channel.queue_delete(str(result))
        except ChannelRefused:
            if declaration.is_sort_checked_first:
                self._accepted.add(declaration.sort)
            if not is_lost:
                raise  # else our own connection may have the queue
        except ConnectionLost as exc:
            refusal = error_translation.refusal_in(exc)
            if refusal is None:
                raise
            raise self._refusals.refuse(declaration, refusal) from exc.__cause__
        finally:
            if other is not self._connection:
                other.close(CLOSE_LIMIT)
        self._accepted.add(declaration.sort)
        self._refusals.accept(declaration)
        return self._carry_out_here(declaration, operation) if is_lost else result
