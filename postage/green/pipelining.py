"""Making many components at a time: none waits until the broker has declared the ones before."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from postage.green.amqp.pair import Pair

__all__ = ["AT_ONCE", "Pipeline", "current_pipeline", "pipelined"]

AT_ONCE = 32
"""How many queues are declared at a time: each takes a channel for as long.  On one channel a
broker declares one after the other; with RabbitMQ, which writes durable queues to disk, 32 at a
time took a fifth of the time."""


class Pipeline:
    """Declarations under way that nobody waits for until `settle`."""

    def __init__(self) -> None:
        from gevent.pool import Pool  # noqa: PLC0415 - most programs make their few one by one

        self._pool = Pool(AT_ONCE)
        self._errors: list[Exception] = []

    def add(self, pair: Pair, declare: Callable[[], None]) -> None:
        """Run *declare* beside the caller; switches only while `AT_ONCE` are under way."""
        greenlet = self._pool.spawn(self._run, declare)
        pair.declaring.add(greenlet)
        greenlet.rawlink(pair.declaring.discard)

    def _run(self, declare: Callable[[], None]) -> None:
        try:
            declare()
        except Exception as exc:
            self._errors.append(exc)

    def settle(self) -> None:
        """Wait until all are done; switches.  Raises the error of the first that failed."""
        self._pool.join()
        if self._errors:
            raise self._errors[0]

    def kill(self) -> None:
        """Leave what is under way to happen or not; switches."""
        self._pool.kill()


_current: ContextVar[Pipeline | None] = ContextVar("postage_pipeline", default=None)
current_pipeline = _current.get


@contextmanager
def pipelined() -> Iterator[None]:
    """Have the queues of what the block makes declared at the same time, not one by one.

    For who makes many processors::

        with green.pipelined():
            depots = [Depot(eqk=[(Stock, [(f"depot-{n}", f"depot-{n}")])]) for n in range(1000)]

    Making one does not wait for the broker then; the end of the block does, and raises what making
    them would have raised, such as `TopologyMismatch`: of several errors the first.  What is sent,
    by anyone in this hub, waits for the declarations that are under way just then, so that it
    reaches queues which were made before it.  Exclusive queues, and those whose name the broker
    chooses, are waited for as ever.  It is for the greenlet that enters it; a block inside another
    one is part of that.
    """
    if _current.get() is not None:
        yield
        return
    pipeline = Pipeline()
    token = _current.set(pipeline)
    try:
        yield
    except BaseException:
        pipeline.kill()
        raise
    finally:
        _current.reset(token)
    pipeline.settle()
