"""Waiting with a limit: for one answer of the broker, or for a thing that one greenlet makes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from gevent.event import AsyncResult

from postage.errors import OperationTimeout
from postage.green.amqp.bell import Bell

__all__ = ["Answer", "Lazy", "Mortal"]


T = TypeVar("T")


class Answer(Bell, Generic[T]):
    """What one greenlet waits for: a value or an error, whichever is first.

    Half the price of a ``gevent.event.AsyncResult``, which many may wait for: with the timeout that
    it needs beside it, that was an eighth of what a confirmed publish takes.
    """

    __slots__ = ("_error", "_value")

    def __init__(self) -> None:
        super().__init__()
        self._value: T | None = None
        self._error: BaseException | None = None

    def set(self, value: T) -> None:
        """Have *value* be it; never switches."""
        if not self.is_rung:
            self._value = value
            self.ring()

    def set_exception(self, error: BaseException) -> None:
        """Have the waiting greenlet raise *error*; never switches."""
        if not self.is_rung:
            self._error = error
            self.ring()

    def get(self, operation: str, limit: float) -> T:
        """Return the value, or raise the error; switches greenlets.

        Raises `OperationTimeout` after *limit* seconds; a ``gevent.Timeout`` or kill from outside
        passes through.
        """
        self.wait(limit)
        if not self.is_rung:
            raise OperationTimeout(operation, limit)
        if self._error is not None:
            raise self._error
        return self._value  # type: ignore[return-value]  # it is set, with whatever T is


class Mortal(Protocol):
    """Anything that can die under its users."""

    @property
    def alive(self) -> bool:
        """False once it cannot be used any more."""


M = TypeVar("M", bound=Mortal)


class Lazy(Generic[M]):
    """A thing made at its first use, and made anew when it has died.

    Of many greenlets that want it at once, one makes it; the others wait and share what comes of
    it, the error too, so that no queue of attempts builds up before a broker that is gone.
    """

    def __init__(self, make: Callable[[], M]) -> None:
        self._make = make
        self._value: M | None = None
        self._attempt: AsyncResult[M | None] | None = None

    @property
    def current(self) -> M | None:
        """What there is already, alive, or None."""
        return self._value if self._value is not None and self._value.alive else None

    def renew(self) -> None:
        """Have the next one who asks make it anew, although it is alive; never switches."""
        self._value = None

    def get(self) -> M:
        """Return it, made if need be; switches greenlets then, and raises what making it raises."""
        while True:
            value = self._value
            if value is not None and value.alive:
                return value
            if self._attempt is None:
                return self._attempt_it()
            # None: the greenlet that made it was killed, which is nobody else's failure.
            self._attempt.get()

    def _attempt_it(self) -> M:
        attempt = self._attempt = AsyncResult()
        try:
            self._value = self._make()
        except Exception as exc:
            attempt.set_exception(exc)
            raise
        else:
            return self._value
        finally:
            self._attempt = None
            if not attempt.ready():
                attempt.set(None)
