"""Running processors beside a test, and hearing of what went wrong in them."""

from __future__ import annotations

import logging
from typing import Any, TypeVar

import gevent
import pytest

from postage.green import MessageProcessor
from postage.testing.polling import wait_until

__all__ = ["RunProcessor"]

P = TypeVar("P", bound=MessageProcessor)

PATIENCE = 5.0
"""Seconds for a processor to begin, and to end beyond the time its handlers have."""


class RunProcessor:
    """Runs processors in greenlets, and stops them at the end.

    ``run_processor(EchoServer, eqk=...)`` makes a processor and runs it; ``run_processor(server)``
    runs one that was made before.  Both return it when it consumes.  Switches to the hub.

    At the end the test fails for what is in `errors`; one that provokes errors checks them and
    calls ``run_processor.errors.clear()``.
    """

    def __init__(self) -> None:
        self.errors: list[str] = []
        """What Postage has logged as an error, tracebacks included: above all a handler's."""
        self._runs: list[tuple[MessageProcessor, gevent.Greenlet[..., Any]]] = []
        self._listener = _Listener(self.errors)

    def __enter__(self) -> RunProcessor:  # noqa: PYI034 - Self needs Python 3.11
        logging.getLogger("postage").addHandler(self._listener)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            self.stop()
        finally:
            logging.getLogger("postage").removeHandler(self._listener)
        if self.errors and kind is None:
            pytest.fail("a processor had errors:\n\n" + "\n\n".join(self.errors), pytrace=False)

    def __call__(self, processor: type[P] | P, *arguments: Any, **named: Any) -> P:
        """Run *processor*, a class with the arguments for it or an instance, and return it."""
        made = processor(*arguments, **named) if isinstance(processor, type) else processor
        run = gevent.spawn(made.start_consuming)
        self._runs.append((made, run))
        wait_until(lambda: run.dead or made.consumer.consuming, PATIENCE, f"{made!r} runs")
        if run.dead:
            run.get()
        return made

    def stop(self) -> None:
        """Stop all processors: their handlers finish; raises what had ended one of them before."""
        runs, self._runs = self._runs, []
        for processor, _ in runs:
            processor.stop_consuming()
        for processor, run in runs:
            run.join(processor.shutdown_timeout + PATIENCE)
            late = not run.dead
            run.kill()
            if late:
                pytest.fail(f"{processor!r} did not stop", pytrace=False)
        for _, run in runs:
            run.get(block=False)


class _Listener(logging.Handler):
    """Keeps errors as text."""

    def __init__(self, errors: list[str]) -> None:
        super().__init__(logging.ERROR)
        self._errors = errors
        self.setFormatter(logging.Formatter("%(name)s: %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        self._errors.append(self.format(record))
