"""Makes many components at a time: their queues are declared in the background."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import gevent

from postage.green.runtime import Runtime

__all__ = ["Pipeline", "current_pipeline", "pipelined"]


class Pipeline:
    """Declarations that run in greenlets of their own until `join`."""

    def __init__(self) -> None:
        self._declaring: set[gevent.Greenlet[..., None]] = set()
        self._errors: list[Exception] = []

    def add(self, runtime: Runtime, declare: Callable[[], None]) -> None:
        """Run *declare* in a greenlet; switches only while the declare gate is full.

        The gate is acquired before the greenlet is made, to bound the number of greenlets, too.
        """
        place = runtime.declare_gate.acquire()
        greenlet = gevent.spawn(self._run, declare)
        self._declaring.add(greenlet)
        greenlet.rawlink(self._declaring.discard)
        known = runtime.pair.declaring
        known[greenlet] = time.monotonic()
        greenlet.rawlink(known.pop)
        greenlet.rawlink(lambda _: place.release())

    def _run(self, declare: Callable[[], None]) -> None:
        try:
            declare()
        except Exception as exc:
            self._errors.append(exc)

    def join(self) -> None:
        """Wait until all declarations are done; switches.  Raises the first error among them."""
        gevent.joinall([*self._declaring])
        if self._errors:
            raise self._errors[0]

    def kill(self) -> None:
        """Kill the declarations that still run, which may or may not happen; switches."""
        gevent.killall([*self._declaring])


_current: ContextVar[Pipeline | None] = ContextVar("postage_pipeline", default=None)
current_pipeline = _current.get


@contextmanager
def pipelined() -> Iterator[None]:
    """Declare the queues of all components that the block makes at the same time.

    Use it to make many processors::

        with green.pipelined():
            depots = [Depot(eqk=[(Stock, [(f"depot-{n}", f"depot-{n}")])]) for n in range(1000)]

    Inside the block a constructor does not wait for the broker.  The end of the block does, and
    raises the first error that a constructor would have raised, such as `TopologyMismatch`.

    * A message or call that any greenlet of this hub sends meanwhile first waits for the
      declarations under way, so that it reaches queues that were made before it, but not
      for one that the broker has not answered for 5 s.
    * A constructor still waits for exclusive queues, and for queues that the broker names.
    * It applies only to the greenlet that enters the block.  A nested block joins the outer one.
    """
    if _current.get() is not None:
        yield
        return
    pipeline = Pipeline()
    token = _current.set(pipeline)
    try:
        try:
            yield
        finally:
            _current.reset(token)
        pipeline.join()
    except BaseException:
        pipeline.kill()
        raise
