"""Runs the microthreads of a scheduler, and restarts processors when their policies say so.

How it works
------------
A scheduler has one runner for each of its microthreads.  A `MicrothreadRunner` calls the classic
methods in a greenlet: ``create()`` once and ``step()`` again and again.  When they end, the runner
reports that to the scheduler.

A `ProcessorRunner` starts its processor with `MessageProcessor.start`, which needs no greenlet.  If
a class overrides a method that is called in a classic loop (``main``, ``step``,
``start_consuming``), the runner calls the loop in a greenlet, as for any microthread.  Either way
`_on_run_end` then asks the policy of the processor (`postage.supervision`): the runner starts the
processor again after a pause, gives it up, or ends.  A processor whose queue the broker refuses for
good is not started again, and the others go on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import gevent.event

from postage.attributes import PROCESSOR
from postage.dispatch import NextAction
from postage.errors import (
    ChannelRefused,
    ConnectionClosed,
    ExitScheduler,
    GaveUp,
)
from postage.flight_recorder import flight_recorder
from postage.green.amqp.hub_logging import HubLogger
from postage.green.microthread import MicroThread
from postage.green.processor import MessageProcessor
from postage.supervision import End, Restarts, is_restarted
from postage.values import check_values

__all__ = ["MicrothreadRunner", "ProcessorRunner"]

logger = HubLogger(__name__)

REPORTED = 20
"""Entries of the flight record that are logged after a crash: the last ones."""


class MicrothreadRunner:
    """Runs a microthread, whose error ends the loop of the scheduler.

    Making one runs ``create()``.  *on_turn* is called after each step, and *on_end* with the runner
    when it has ended for good; both in any greenlet or in the hub.
    """

    def __init__(
        self,
        microthread: MicroThread,
        on_turn: Callable[..., object],
        on_end: Callable[..., object],
    ) -> None:
        self.microthread = microthread
        self.error: Exception | None = None
        """The error that the loop of the scheduler must raise."""
        self.refusal: Exception | None = None
        """The error that it must raise when no other processor is left."""
        self._on_turn, self._on_end = on_turn, on_end
        self._ended = gevent.event.Event()
        self._stop_requested = False
        self._own_action = NextAction.CONTINUE
        self._greenlet: Any = None
        self._steps: Iterator[int] | None = None  # what is left of its main()
        self._create()

    @property
    def next_action(self) -> NextAction:
        """What the scheduler does after the end of this microthread."""
        return self._own_action

    def start(self) -> None:
        """Start to run; returns at once and never switches."""
        self._greenlet = gevent.Greenlet(self._error_of, self._run_steps)
        self._greenlet.name = repr(type(self.microthread).__name__)
        self._greenlet.rawlink(self._on_greenlet_end)
        self._greenlet.start()

    def stop(self) -> None:
        """Ask the microthread to end after the step that runs; never switches."""
        self._stop_requested = True

    def kill_handlers(self) -> None:
        """Kill running handlers; never switches."""

    def kill(self) -> None:
        """Kill the greenlet, whatever it does; never switches."""
        if self._greenlet is not None:
            self._greenlet.kill(block=False)

    def join(self, timeout: float) -> bool:
        """Wait until it has ended; return False after *timeout* seconds.  Switches."""
        return bool(self._ended.wait(timeout))

    def _create(self) -> None:
        steps = self.microthread.main()
        next(steps, None)  # runs create()
        self._steps = steps

    def _run_steps(self) -> None:
        if self._steps is None:
            self._create()
        steps, self._steps = self._steps, None
        for _ in steps or ():
            self._on_turn()
            gevent.sleep(0)
            if self._stop_requested:
                break

    def _error_of(self, function: Callable[[], object]) -> Exception | None:
        """Call *function*; return the error that it raises, except those that mean a normal end."""
        try:
            function()
        except ExitScheduler:
            self._own_action = NextAction.EXIT
        except RuntimeError as exc:
            # PEP 479: a generator of the user has raised StopIteration.
            return None if isinstance(exc.__cause__, StopIteration) else exc
        except Exception as exc:  # code of the user may raise anything
            return exc
        return None

    def _on_greenlet_end(self, greenlet: Any) -> None:
        error = greenlet.value  # what _error_of returned; GreenletExit if it was killed
        self._greenlet = None
        self._on_run_end(error if isinstance(error, Exception) else None)

    def _on_run_end(self, error: Exception | None) -> None:
        self.error = error
        self._end()

    def _end(self) -> None:
        self._ended.set()
        self._on_end(self)


class ProcessorRunner(MicrothreadRunner):
    """Runs a processor, and starts it again after its end if its policy says so."""

    microthread: MessageProcessor

    def __init__(self, processor: MessageProcessor, *callbacks: Callable[..., object]) -> None:
        check_values(processor, PROCESSOR)  # its class may have changed since it was made
        self._restarts = Restarts(processor.restart_intensity, processor.restart_period)
        self._pausing: Any = None  # the greenlet that waits for the next restart
        super().__init__(processor, *callbacks)

    @property
    def next_action(self) -> NextAction:
        """What the scheduler does after the end of this processor."""
        return max(super().next_action, self.microthread.next_action)

    def start(self) -> None:
        """Start to run; returns at once and never switches."""
        if _has_own_loop(self.microthread):
            super().start()
        else:
            self._steps = None  # create() has run; no step is called
            MessageProcessor.start(self.microthread, self._on_run_end)

    def stop(self) -> None:
        """Ask the processor to stop, or cancel its next restart; never switches."""
        super().stop()
        self.microthread.stop_consuming()
        if self._pausing is not None:
            self._pausing.kill(block=False)
            self._pausing = None
            self._end()

    def kill_handlers(self) -> None:
        """Kill running handlers; never switches."""
        self.microthread.kill_handlers()

    def _on_run_end(self, error: Exception | None) -> None:
        """Restart the processor, give up restarting it, or end, as its policy says."""
        try:
            self._follow_policy(error)
        except Exception as exc:  # an attribute of the processor has a value that is no policy
            self.error = exc
            self._end()

    def _follow_policy(self, error: Exception | None) -> None:
        if not is_restarted(self.microthread.restart, self._classify_end(error)):
            if isinstance(error, ConnectionClosed):
                self.error = error  # closed by our side, so the loop must raise it
            elif error is not None:
                self._log_end(error, "it is not started again")
            self._end()
            return
        if _is_permanent(error):
            self._log_end(
                error, "it is not started again, because the broker would refuse it again"
            )
            self.refusal = error
            self._end()
            return
        pause = self._restarts.pause(time.monotonic())
        if pause is None:
            self._give_up(error)
            return
        self._log_end(error, f"it is started again in {pause:g} s")
        self._pausing = gevent.spawn_later(pause, self._restart)

    def _classify_end(self, error: Exception | None) -> End:
        was_stopped = self._stop_requested or self.next_action > NextAction.STOP
        if was_stopped or isinstance(error, ConnectionClosed):
            return End.STOPPED
        if error is not None:
            return End.CRASHED
        # Without a next action, the program has called its stop_consuming().
        return End.FINISHED if self.next_action is NextAction.STOP else End.STOPPED

    def _restart(self) -> None:
        self._pausing = None
        self.microthread.counts["restarts"] += 1
        error = self._error_of(self._create)
        if self._steps is None:  # create() has raised
            self._on_run_end(error)
        else:
            self.start()

    def _give_up(self, error: Exception | None) -> None:
        processor = self.microthread
        name = f"{type(processor).__name__} {processor.fingerprint['name']!r}"
        self._log_end(error, "it is not started again, and all others end")
        self.error = GaveUp(name, processor.restart_intensity, processor.restart_period)
        self.error.__cause__ = error
        self._end()

    def _log_end(self, error: Exception | None, consequence: str) -> None:
        if error is None:
            logger.info("%r has ended; %s.", self.microthread, consequence)
        else:
            logger.error("%r has crashed; %s.", self.microthread, consequence, exc_info=error)
            for line in flight_recorder.lines()[-REPORTED:]:
                logger.error("Before the crash: %s", line)


def _is_permanent(error: Exception | None) -> bool:
    """Return whether a broker that answered by *error* would answer a restart in the same way."""
    return isinstance(error, ChannelRefused) and error.is_final


def _has_own_loop(processor: MessageProcessor) -> bool:
    """Return whether its class or the instance overrides a method of the classic loop."""
    return any(
        getattr(getattr(processor, name), "__func__", None) is not getattr(MessageProcessor, name)
        for name in ("main", "step", "start_consuming")
    )
