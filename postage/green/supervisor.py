"""The runners of a scheduler: microthreads, each with the greenlet that runs it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from functools import cached_property

import gevent
import gevent.event

from postage.dispatch import NextAction
from postage.errors import ConnectionClosed, ExitScheduler, GaveUp
from postage.green.microthread import MicroThread
from postage.green.processor import MessageProcessor
from postage.supervision import End, Restarts, starts_again

__all__ = ["MicrothreadRunner", "SupervisedProcessor", "runner_for"]

logger = logging.getLogger(__name__)

OnEnd = Callable[["MicrothreadRunner"], object]


class MicrothreadRunner:
    """A microthread that is not supervised: its error ends the loop.

    Making one runs ``create()``.  *turned* is set whenever there is something to look at; before
    that *on_end* is called, in the hub, when it has ended for good.
    """

    def __init__(self, microthread: MicroThread, turned: gevent.event.Event, on_end: OnEnd) -> None:
        self.microthread = microthread
        self.error: Exception | None = None
        """What the loop shall raise."""
        self._exits = False
        self._stop_requested = gevent.event.Event()
        self._turned, self._on_end = turned, on_end
        self._life: Iterator[int] | None = self._create()

    @cached_property
    def greenlet(self) -> gevent.Greenlet[..., None]:
        """What it runs in, made when it is first needed."""
        greenlet: gevent.Greenlet[..., None] = gevent.Greenlet(self._run)
        greenlet.name = repr(type(self.microthread).__name__)
        greenlet.rawlink(self._ended)
        return greenlet

    def _ended(self, _greenlet: object) -> None:
        self._on_end(self)
        self._turned.set()

    @property
    def next_action(self) -> NextAction:
        """What becomes of the others, now that it has ended."""
        return NextAction.EXIT if self._exits else NextAction.CONTINUE

    @property
    def shutdown_timeout(self) -> float:
        """Seconds that what runs in it gets to finish."""
        return 0.0

    def start(self) -> None:
        """Have it run.  Never switches."""
        self.greenlet.start()

    def stop(self) -> None:
        """Have it end: at once where it can, else after its running step.  Never switches."""
        self._stop_requested.set()

    def kill(self) -> None:
        """Give what runs in it no more time.  Never switches."""

    def _run(self) -> None:
        self.error = self._run_once()

    def _create(self) -> Iterator[int]:
        life = self.microthread.main()
        next(life, None)
        return life

    def _run_once(self) -> Exception | None:
        """Run it from its birth to its end; return what it has crashed by."""
        try:
            life, self._life = self._life or self._create(), None
            for _ in life:
                self._turned.set()
                gevent.sleep(0)
                if self._stop_requested.is_set():
                    break
        except ExitScheduler:
            self._exits = True
        except RuntimeError as exc:
            # PEP 479: a generator of the user's own let StopIteration out.
            return None if isinstance(exc.__cause__, StopIteration) else exc
        except Exception as exc:  # it may raise anything
            return exc
        return None


class SupervisedProcessor(MicrothreadRunner):
    """A processor: when it has ended, its policy says whether it is started again."""

    microthread: MessageProcessor

    def __init__(
        self, processor: MessageProcessor, turned: gevent.event.Event, on_end: OnEnd
    ) -> None:
        starts_again(processor.restart, End.TOLD)  # a word that is no policy is told of at once
        self._restarts = Restarts(processor.restart_intensity, processor.restart_period)
        super().__init__(processor, turned, on_end)

    @property
    def next_action(self) -> NextAction:
        """What becomes of the others, now that it has ended."""
        return max(super().next_action, self.microthread.ending)

    @property
    def shutdown_timeout(self) -> float:
        """Seconds that its handlers get to finish."""
        return self.microthread.shutdown_timeout

    def start(self) -> None:
        """Have it consume; its greenlet starts when that is over.  Never switches."""
        if _is_plain(self.microthread):
            self.microthread.begin(super().start)
        else:
            super().start()

    def stop(self) -> None:
        """Have it end, after its running handlers.  Never switches."""
        super().stop()
        self.microthread.stop_consuming()

    def kill(self) -> None:
        """Give its handlers no more time.  Never switches."""
        self.microthread.abandon()

    def _run(self) -> None:
        error = self._run_once()
        while starts_again(self.microthread.restart, self._end(error)):
            pause = self._restarts.pause(time.monotonic())
            if pause is None:
                self._give_up(error)
                return
            self._log_end(error, f"it is started again in {pause:g} s")
            if self._stop_requested.wait(pause):
                return
            self.microthread.counts["restarts"] += 1
            error = self._run_once()
        self._finish(error)

    def _end(self, error: Exception | None) -> End:
        """Tell how it has ended."""
        if (
            self._stop_requested.is_set()
            or self.next_action > NextAction.STOP
            or isinstance(error, ConnectionClosed)
        ):
            return End.TOLD
        if error is not None:
            return End.CRASHED
        # Else somebody has called its stop_consuming().
        return End.FINISHED if self.next_action is NextAction.STOP else End.TOLD

    def _give_up(self, error: Exception | None) -> None:
        processor = self.microthread
        who = f"{type(processor).__name__} {processor.fingerprint['name']!r}"
        self._log_end(error, "it is not started again, and all others end")
        self.error = GaveUp(who, processor.restart_intensity, processor.restart_period)
        self.error.__cause__ = error

    def _finish(self, error: Exception | None) -> None:
        if isinstance(error, ConnectionClosed):
            self.error = error  # our own side did it: that is for whoever runs the loop
        elif error is not None:
            self._log_end(error, "it is not started again")

    def _log_end(self, error: Exception | None, what_follows: str) -> None:
        if error is None:
            logger.info("%r has ended; %s.", self.microthread, what_follows)
        else:
            logger.error("%r has crashed; %s.", self.microthread, what_follows, exc_info=error)


def _is_plain(processor: MessageProcessor) -> bool:
    """Tell whether nothing is overridden that must be called for it to consume."""
    names = ("main", "step", "start_consuming")
    kind = type(processor)
    inherited = all(getattr(kind, name) is getattr(MessageProcessor, name) for name in names)
    return inherited and not vars(processor).keys() & {*names}


def runner_for(
    microthread: MicroThread, turned: gevent.event.Event, on_end: OnEnd
) -> MicrothreadRunner:
    """Return the runner for *microthread*: processors are supervised."""
    if isinstance(microthread, MessageProcessor):
        return SupervisedProcessor(microthread, turned, on_end)
    return MicrothreadRunner(microthread, turned, on_end)
