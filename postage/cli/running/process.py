"""One process of ``postage run``: makes the components of a plan, and runs them to their end."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from postage.cli.exits import Code
from postage.cli.options import HostPort
from postage.cli.running.banner import log_start
from postage.cli.running.flight_print import print_record_at_signal
from postage.cli.running.parent_pipe import ParentPipe
from postage.cli.running.targets import Target, make_all, prepare_imports
from postage.dispatch import NextAction
from postage.log_records import logger_of
from postage.remote_control import RemoteRule
from postage.signals import stopping_signals

if TYPE_CHECKING:
    from postage.green import MessageProcessor, MicroThread

logger = logger_of(__name__)

SHUTDOWN_TIMEOUT = 30.0
"""Seconds: the shutdown timeout of processors that do not set one."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to run and how, from the command line or a file; None: neither says it."""

    targets: tuple[Target, ...]
    embedded: bool = False
    """Of the command line, as *wait*: the file sets these two as settings of the broker."""
    wait: bool | None = None
    workers: int | None = None
    reload: bool = False
    concurrency: int | None = None
    shutdown_timeout: float | None = None
    health: HostPort | None = None
    remote_control: RemoteRule | None = None

    def variables(self) -> dict[str, str]:
        """Return the settings of the broker, by the names of their environment variables."""
        url = {"POSTAGE_URL": "embedded://"} if self.embedded else {}
        wait = {} if self.wait is None else {"POSTAGE_WAIT_FOR_BROKER": str(int(self.wait))}
        return {**url, **wait}


def run_here(plan: Plan, worker: ParentPipe | None) -> int:
    """Run the components of *plan* in this process until they have ended; return the exit code."""
    when_signalled = Code.CLEAN if worker is None else 128 + signal.SIGTERM
    # Until components run there is nothing to finish.  An exception instead of the exit could be
    # caught by the user's modules.
    signal.signal(signal.SIGTERM, lambda *_: os._exit(when_signalled))
    print_record_at_signal()
    if worker is not None:
        worker.watch(plan.shutdown_timeout or SHUTDOWN_TIMEOUT)
    number, was_quit = _run(plan, worker.number if worker else 0)
    if number:
        return 128 + number if worker else Code.CLEAN
    return Code.QUIT if was_quit else Code.CLEAN


def _run(plan: Plan, number: int) -> tuple[int, bool]:
    """Run until all components have ended.

    Returns the signal that was the reason, or 0, and whether a component was told to quit.
    """
    prepare_imports()
    import gevent  # noqa: PLC0415 - after patching, and never in a parent of workers

    from postage import green  # noqa: PLC0415 - as above
    from postage.cli.running.logs import add_ids  # noqa: PLC0415 - as above
    from postage.cli.running.probes import serve_probes  # noqa: PLC0415 - as above

    add_ids()
    running: list[MicroThread] = []
    with serve_probes(plan.health, number, running, plan.workers or 1):
        with green.pipelined():
            running += make_all(plan.targets)
        _configure(running, plan)
        # Starts when the loop waits, and so after it has begun to handle signals: a parent that
        # reads the line may send SIGTERM at once.
        gevent.spawn(log_start, running)
        signals: list[int] = []
        watchers = [
            gevent.signal_handler(number, signals.append, number) for number in stopping_signals()
        ]
        try:
            green.run(*running)  # which handles the signal as well
        finally:
            for watcher in watchers:
                watcher.cancel()
    logger.info("All components have ended.")
    was_quit = any(each.next_action is NextAction.QUIT for each in _processors(running))
    if was_quit and not signals:
        text = "The remote command quit has ended this process; its exit code is %d."
        logger.warning(text, Code.QUIT)
    return signals[0] if signals else 0, was_quit


def _configure(components: Iterable[MicroThread], plan: Plan) -> None:
    """Set what the command line says about processors."""
    from postage.green import MessageProcessor  # noqa: PLC0415 - after patching

    for each in _processors(components):
        if plan.remote_control is not None:
            each.remote_control = plan.remote_control
        if plan.shutdown_timeout is not None:
            each.shutdown_timeout = plan.shutdown_timeout
        if plan.concurrency is not None and each.concurrency == MessageProcessor.concurrency:
            each.concurrency = plan.concurrency
            each.consumer.prefetch = each.prefetch or plan.concurrency


def _processors(components: Iterable[MicroThread]) -> Iterator[MessageProcessor]:
    from postage.green import MessageProcessor  # noqa: PLC0415 - after patching

    return (each for each in components if isinstance(each, MessageProcessor))
