"""Running processors beside a test, and failing the test if one of them has an error."""

from __future__ import annotations

import logging
from typing import Any, TypeVar

import gevent
import pytest

from postage.green import MessageProcessor
from postage.testing.polling import wait_until

P = TypeVar("P", bound=MessageProcessor)

TIMEOUT = 5.0
"""Seconds for a processor to start, and to stop beyond its shutdown timeout."""


class RunProcessor:
    """The fixture ``run_processor``: runs processors in greenlets until the test ends.

    ``run_processor(EchoServer, eqk=...)`` makes a processor and runs it; ``run_processor(server)``
    runs an existing one.  Both return the processor when it consumes, and switch meanwhile.

    At the end, the test fails if there are `errors`.  A test that provokes errors checks them and
    calls ``run_processor.errors.clear()``.
    """

    def __init__(self) -> None:
        self.errors: list[str] = []
        """The errors that Postage has logged, with tracebacks, such as those of handlers."""
        self._runs: list[tuple[MessageProcessor, gevent.Greenlet[..., Any]]] = []
        self._collector = ErrorCollector(self.errors)

    def __enter__(self) -> RunProcessor:  # noqa: PYI034 - Self needs Python 3.11
        logging.getLogger("postage").addHandler(self._collector)
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        try:
            self.stop()
        finally:
            logging.getLogger("postage").removeHandler(self._collector)
        if self.errors and error is None:
            pytest.fail("a processor had errors:\n\n" + "\n\n".join(self.errors), pytrace=False)

    def __call__(self, processor: type[P] | P, *arguments: Any, **named: Any) -> P:
        """Run *processor*, a class with the arguments for it or an instance, and return it."""
        made = processor(*arguments, **named) if isinstance(processor, type) else processor
        run = gevent.spawn(made.start_consuming)
        self._runs.append((made, run))

        def started() -> bool:  # it may be paused, or all messages fail and its kill switch opens
            is_held = made.consumer.is_held and made.statistics().state != "idle"
            return made.consumer.consuming or is_held

        wait_until(lambda: run.dead or started(), TIMEOUT, f"{made!r} runs")
        if run.dead:
            run.get()
        return made

    def stop(self) -> None:
        """Stop all processors and wait for their handlers; raises the error that has ended one."""
        runs, self._runs = self._runs, []
        for processor, _ in runs:
            processor.stop_consuming()
        for processor, run in runs:
            run.join(processor.shutdown_timeout + TIMEOUT)
            late = not run.dead
            run.kill()
            if late:
                pytest.fail(f"{processor!r} did not stop", pytrace=False)
        for _, run in runs:
            run.get(block=False)


class ErrorCollector(logging.Handler):
    """Appends each logged error to a list, as text."""

    def __init__(self, errors: list[str]) -> None:
        super().__init__(logging.ERROR)
        self._errors = errors
        self.setFormatter(logging.Formatter("%(name)s: %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        """Keep *record*."""
        self._errors.append(self.format(record))
