"""One process of components: made, run, and watched by probes."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from postage.cli.exits import Code
from postage.cli.running.lifeline import SIGNALLED, Lifeline
from postage.cli.running.plan import Plan
from postage.cli.running.targets import patch

if TYPE_CHECKING:
    from postage.green import MicroThread

__all__ = ["run_here"]

logger = logging.getLogger(__name__)

SHUTDOWN_TIMEOUT = 30.0
"""Seconds: that of processors which do not say theirs."""


def run_here(plan: Plan, worker: Lifeline | None) -> int:
    """Make the components of *plan* and run them in this process until they have ended."""
    when_signalled = Code.CLEAN if worker is None else SIGNALLED
    # There is nothing to finish yet; and an exception might be caught by the user's own modules.
    signal.signal(signal.SIGTERM, lambda *_: os._exit(when_signalled))
    if worker is not None:
        worker.hold(plan.shutdown_timeout or SHUTDOWN_TIMEOUT)
    was_signalled = _run(plan, worker.number if worker else 0)
    return when_signalled if was_signalled else Code.CLEAN


def _run(plan: Plan, number: int) -> bool:
    """Run until all have ended; return whether SIGTERM was the reason."""
    patch()
    from postage import green  # noqa: PLC0415 - after patching, and never in a parent of workers
    from postage.cli.running import probes  # noqa: PLC0415
    from postage.cli.running.components import components  # noqa: PLC0415

    running: list[MicroThread] = []
    with probes.serving(plan.health, number, running):
        with green.pipelined():
            running += components(plan.targets)
        _adjust(running, plan)
        _announce(running)
        with _signals() as signals:
            green.run(*running)
    logger.info("All components have ended.")
    return bool(signals)


@contextlib.contextmanager
def _signals() -> Iterator[list[int]]:
    """Note each SIGTERM that comes while the block lasts, beside whoever else does."""
    import gevent  # noqa: PLC0415 - after patching

    noted: list[int] = []
    watcher = gevent.signal_handler(signal.SIGTERM, noted.append, signal.SIGTERM)
    try:
        yield noted
    finally:
        watcher.cancel()


def _adjust(components: Iterable[MicroThread], plan: Plan) -> None:
    """Set what the command line says of processors."""
    from postage.green import MessageProcessor  # noqa: PLC0415 - after patching

    for each in components:
        if not isinstance(each, MessageProcessor):
            continue
        if plan.shutdown_timeout is not None:
            each.shutdown_timeout = plan.shutdown_timeout
        if plan.concurrency is not None and each.concurrency == MessageProcessor.concurrency:
            each.concurrency = plan.concurrency
            each.consumer.prefetch = each.prefetch or plan.concurrency


def _announce(components: list[MicroThread]) -> None:
    from postage.settings import Settings  # noqa: PLC0415 - after patching

    names = ", ".join(type(each).__name__ for each in components[:10])
    more = ", ..." if len(components) > 10 else ""  # noqa: PLR2004 - as above
    logger.info("Running %d components: %s%s.", len(components), names, more)
    if Settings.resolve().embedded is not None:
        from postage.broker import embedded  # noqa: PLC0415 - most processes have none

        logger.info("Others reach them with --url %s", embedded().url)
