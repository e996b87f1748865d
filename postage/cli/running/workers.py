"""Several processes of the same components, under a parent that restarts those that crash.

How it works
------------
The parent imports none of the user's code, and gevent only to run a broker for its workers.  It
starts one process for each worker, with its own command line and the hidden option ``--worker``.
Then it waits for one of three events:

* **A signal.**  SIGCHLD: a worker has ended.  SIGTERM, SIGINT or SIGHUP: the workers are told to
  finish; a second one kills them.  SIGUSR1: each worker prints its flight record.  All signals
  arrive as bytes in a pipe, so `select` waits for them.
* **A changed file**, with ``--reload``: a thread writes the byte `CHANGED` to the same pipe.
* **The clock**: a worker is due to be restarted, or the time to finish is over.

A worker that crashes is restarted after a growing pause.  If it crashes too often, or ends with an
exit code that a restart cannot cure (`FINAL`), all workers are stopped.
"""

from __future__ import annotations

import contextlib
import enum
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from postage.cli.exits import Code, ExtraMissing
from postage.cli.running.flight_print import signal_held_back
from postage.cli.running.inside import url_for_workers
from postage.cli.running.parent_pipe import SIGNALLED, WORKER_CONFIG, WORKER_URL, ParentPipe
from postage.cli.running.targets import here
from postage.environment import Source
from postage.log_records import logger_of
from postage.settings import live
from postage.signals import STOPPING_SIGNALS, stopping_signals
from postage.supervision import Restarts

logger = logger_of(__name__)

FINAL = (Code.USAGE, Code.UNREACHABLE, Code.TOPOLOGY)
"""Exit codes that a restart does not cure."""
RETRY = 5.0
"""Seconds after which ``--reload`` tries again what no restart has cured."""
GRACE = 15.0
"""Seconds beyond its shutdown timeout after which a worker is killed."""
SHORTEST_PAUSE = 0.5
"""Seconds after which a process that could not be started is tried again."""
CHANGED = 0
"""The byte for a changed file; the other bytes are the numbers of signals, which begin at 1."""

Wait = Callable[[float | None], set[int]]
"""Waits for at most that many seconds (None: no limit), and returns the bytes that came."""


def supervise(
    count: int, shutdown_timeout: float | None, *, reload: bool = False, config: str = ""
) -> int:
    """Run *count* workers with the command line of this process; return the exit code.

    *config* is the configuration file of this process, as `ConfigFile.as_json` writes it.

    SIGTERM, SIGINT and SIGHUP let all of them finish; a second one kills them.  With *reload*,
    workers are restarted when a source file changes, and the parent goes on after every exit code
    of a worker.
    """
    with contextlib.ExitStack() as stack:
        wait, descriptor = stack.enter_context(_signal_pipe())
        if reload:
            stack.enter_context(_report_changes(descriptor))
        if url := url_for_workers():
            logger.info("Others reach them with --url %s", url)
        elif (found := live.layers.url().found) and found.source is Source.COMMAND_LINE:
            url = found.text
        variables = {WORKER_CONFIG: config, **({WORKER_URL: url} if url else {})}
        pool = stack.enter_context(WorkerPool(count, shutdown_timeout, variables, reload=reload))
        while pool.busy:
            pool.handle(wait(pool.next_timeout()))
    return pool.code


@contextlib.contextmanager
def _signal_pipe() -> Iterator[tuple[Wait, int]]:
    """Give a function that waits for signals, and the descriptor that wakes it when written to."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    numbers = (signal.SIGCHLD, signal.SIGUSR1, *stopping_signals())
    before = [signal.signal(number, lambda *_: None) for number in numbers]
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)

    def wait(seconds: float | None) -> set[int]:
        readable, _, _ = select.select([reading], [], [], seconds)
        return set(os.read(reading, 1024)) if readable else set()

    try:
        yield wait, writing
    finally:
        signal.set_wakeup_fd(-1)
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
        os.close(reading)
        os.close(writing)


@contextlib.contextmanager
def _report_changes(descriptor: int) -> Iterator[None]:
    """Write `CHANGED` to *descriptor* when a Python file below the working directory changes."""
    try:
        import watchfiles  # noqa: PLC0415 - an extra
    except ImportError:
        raise ExtraMissing("--reload", "watchfiles", "reload") from None

    stop, folder = threading.Event(), here()  # raises if the folder was deleted: not in the thread
    only = watchfiles.PythonFilter()

    def report(**how: bool) -> None:
        for _ in watchfiles.watch(
            folder, watch_filter=only, stop_event=stop, rust_timeout=500, **how
        ):
            os.write(descriptor, bytes([CHANGED]))

    def report_until_stopped() -> None:
        try:
            report()
        except (OSError, RuntimeError) as exc:  # the user has used up the watches of the kernel
            text = "The system does not report changed files (%s); Postage looks for them itself."
            logger.warning(text, exc)
            report(force_polling=True)

    thread = threading.Thread(target=report_until_stopped, name="watching files", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()  # once the pipe is closed, its descriptor may become another file's


class WorkerState(enum.Enum):
    """Where a worker is in its life."""

    DUE = enum.auto()  # its process is started at a certain time
    RUNNING = enum.auto()
    OUTDATED = enum.auto()  # it was told to finish, because its source has changed
    STOPPING = enum.auto()  # it was told to finish for good, or killed
    ENDED = enum.auto()


class WorkerEvent(enum.Enum):
    """What can happen to a worker."""

    START = enum.auto()
    CHANGE = enum.auto()
    STOP = enum.auto()
    RESTART = enum.auto()  # its process has ended, and is to be started again
    END = enum.auto()  # its process has ended for good


State: TypeAlias = WorkerState
Event: TypeAlias = WorkerEvent

_WHILE_IT_RUNS = {
    Event.CHANGE: State.OUTDATED,
    Event.STOP: State.STOPPING,
    Event.RESTART: State.DUE,
    Event.END: State.ENDED,
}
TRANSITIONS = {
    State.DUE: {Event.START: State.RUNNING, Event.CHANGE: State.DUE, Event.STOP: State.ENDED},
    State.RUNNING: _WHILE_IT_RUNS,
    State.OUTDATED: _WHILE_IT_RUNS,
    State.STOPPING: {Event.STOP: State.STOPPING, Event.END: State.ENDED},
    State.ENDED: {Event.CHANGE: State.DUE, Event.STOP: State.ENDED},
}
"""The state after each event that can happen in a state."""


@dataclass
class WorkerProcess:
    """One place for a worker process."""

    number: int
    state: WorkerState = State.DUE
    due: float = 0.0
    """When the process is to be started, in seconds of `time.monotonic`."""
    restarts: Restarts = field(default_factory=Restarts)
    process: subprocess.Popen[bytes] = field(init=False)

    def record(self, event: WorkerEvent) -> None:
        """Take the state that follows *event*; raises KeyError if it cannot happen now."""
        self.state = TRANSITIONS[self.state][event]

    @property
    def runs(self) -> bool:
        """Whether there is a process, as far as has been recorded."""
        return self.state in (State.RUNNING, State.OUTDATED, State.STOPPING)

    def start(self, descriptor: int, variables: Mapping[str, str]) -> None:
        """Start the process, in a session of its own: only the parent gets the Ctrl-C.

        *variables* of its environment hold what may be secret: other users can read arguments.
        """
        pipe = ParentPipe(self.number, descriptor)
        command = worker_command(sys.orig_argv, sys.argv, pipe)
        with signal_held_back():
            self.process = subprocess.Popen(  # noqa: S603 - our own command line
                command,
                stdin=subprocess.DEVNULL,
                pass_fds=(descriptor,),
                start_new_session=True,
                env={**os.environ, **variables},
            )
        self.record(Event.START)
        logger.info("Worker %d is process %d.", self.number, self.process.pid)

    def replace(self) -> None:
        """Start a new process: now, or once the running one has finished."""
        self.restarts, self.due = Restarts(), time.monotonic()
        if self.state is State.RUNNING:  # a second signal would not let it finish
            self.process.terminate()
        self.record(Event.CHANGE)

    def print_record(self) -> None:
        """Let the process print its flight record, if there is one."""
        if self.runs:
            self.process.send_signal(signal.SIGUSR1)

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the process if there is one, and do not start it again."""
        if self.runs:
            self.process.send_signal(number)
        self.record(Event.STOP)


def worker_command(command: list[str], arguments: list[str], pipe: ParentPipe) -> list[str]:
    """Return the command of a worker: *command*, which ends with *arguments*, plus ``--worker``.

    It lacks ``--url``, because other users can read the arguments of a process.
    """
    _, run, *rest = arguments
    interpreter = command[1 : len(command) - len(rest) - 1]
    return [sys.executable, *interpreter, run, "--worker", str(pipe), *_without_url(rest)]


def _without_url(arguments: Iterable[str]) -> Iterator[str]:
    remaining = iter(arguments)
    for each in remaining:
        if each == "--url":
            next(remaining, None)
        elif each == "--":
            yield from (each, *remaining)
        elif not each.startswith("--url="):
            yield each


def _signal_name(number: int) -> str:
    """Return the name of a signal; most of those for real time have none."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


class WorkerPool:
    """All workers; decides when each is started, restarted, told to finish, and killed."""

    def __init__(
        self,
        count: int,
        shutdown_timeout: float | None,
        variables: Mapping[str, str],
        *,
        reload: bool,
    ) -> None:
        self._code, self._was_quit = Code.CLEAN, False
        self._variables, self._reload = variables, reload
        self._workers = [WorkerProcess(number) for number in range(count)]
        self._time_to_finish = None if shutdown_timeout is None else shutdown_timeout + GRACE
        self._kill_at: float | None = None
        self._ending = False
        self._pipe, self._own_end = os.pipe()

    def __enter__(self) -> WorkerPool:  # noqa: PYI034 - Self needs Python 3.11
        self._start_due()
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._own_end)  # a worker that still runs ends now
        os.close(self._pipe)

    @property
    def code(self) -> Code:
        """The exit code of the parent: not 0 if remote commands have ended the workers.

        So a supervisor that restarts after failures, such as systemd, starts the parent again.
        """
        if self._was_quit and not self._ending:
            return Code.QUIT
        return self._code

    @property
    def busy(self) -> bool:
        """Whether a worker runs or is due, or a changed file may make one due."""
        waits = self._reload and not self._ending
        return waits or any(each.state is not State.ENDED for each in self._workers)

    def next_timeout(self) -> float | None:
        """Return the seconds until the clock requires something; None: nothing is due."""
        times = [each.due for each in self._workers if each.state is State.DUE]
        if self._kill_at is not None:
            times.append(self._kill_at)
        return max(0.0, min(times) - time.monotonic()) if times else None

    def handle(self, signals: set[int]) -> None:
        """React to *signals*, to the clock, and to the workers that have ended."""
        if signals.intersection(STOPPING_SIGNALS):
            self._end_all(signal.SIGKILL if self._ending else signal.SIGTERM)
        elif CHANGED in signals and not self._ending:
            logger.info("A file has changed: all workers are restarted.")
            for worker in self._workers:
                worker.replace()
        if signal.SIGUSR1 in signals:
            for worker in self._workers:
                worker.print_record()
        for worker in self._workers:
            code = worker.process.poll() if worker.runs else None
            if code is not None:
                self._handle_end(worker, code)
        if self._kill_at is not None and time.monotonic() >= self._kill_at:
            self._end_all(signal.SIGKILL)
        self._start_due()

    def _start_due(self) -> None:
        for worker in self._workers:
            if worker.state is State.DUE and worker.due <= time.monotonic():
                try:
                    worker.start(self._pipe, self._variables)
                except OSError as exc:  # too many processes, or Python is just being replaced
                    self._handle_failed_start(worker, exc)

    def _handle_failed_start(self, worker: WorkerProcess, error: OSError) -> None:
        """Try again later, as after a crash; if it fails too often, stop all workers."""
        pause = worker.restarts.pause(now := time.monotonic())
        if pause is None and self._reload:
            pause = RETRY
        if pause is not None:
            text = "Worker %d cannot be started (%s); trying again."
            logger.warning(text, worker.number, error.strerror)
            worker.due = now + max(pause, SHORTEST_PAUSE)
            return
        text = "Worker %d cannot be started (%s): all workers are stopped."
        logger.error(text, worker.number, error.strerror)
        self._code = Code.GAVE_UP
        self._end_all(signal.SIGTERM)

    def _handle_end(self, worker: WorkerProcess, code: int) -> None:
        """Decide what follows the end of a worker with exit code *code* (< 0: by a signal)."""
        # The signal itself ends a worker that has not yet installed its handler.
        code = -SIGNALLED.get(code, -code)
        ending = f"by {_signal_name(-code)}" if code < 0 else f"with exit code {code}"
        if code == Code.QUIT:
            worker.record(Event.END)
            logger.warning("Worker %d was told to quit, and is not started again.", worker.number)
            self._was_quit = True
        elif code == Code.CLEAN or (self._ending and code == -signal.SIGTERM):
            worker.record(Event.END)
            logger.info("Worker %d has ended, as it was told to.", worker.number)
        elif self._ending:
            worker.record(Event.END)
            logger.warning("Worker %d has ended %s.", worker.number, ending)
            self._code = self._code or Code.UNHANDLED
        elif worker.state is State.OUTDATED:
            worker.record(Event.RESTART)
        elif code in FINAL:
            self._give_up(worker, ending, Code(code))
        elif (pause := worker.restarts.pause(now := time.monotonic())) is None:
            self._give_up(worker, ending, Code.GAVE_UP)
        else:
            logger.warning("Worker %d has ended %s and is started again.", worker.number, ending)
            worker.due = now + pause
            worker.record(Event.RESTART)

    def _give_up(self, worker: WorkerProcess, ending: str, code: Code) -> None:
        if self._reload and code is not Code.USAGE:  # the cause may be the broker, not a file
            text = "Worker %d has ended %s; it is started again in %g s, or when a file changes."
            logger.error(text, worker.number, ending, RETRY)
            worker.due = time.monotonic() + RETRY
            worker.record(Event.RESTART)
            return
        worker.record(Event.END)
        if self._reload:
            logger.error("Worker %d has ended %s and waits for a change.", worker.number, ending)
            return
        logger.error("Worker %d has ended %s: all workers are stopped.", worker.number, ending)
        self._code = code
        self._end_all(signal.SIGTERM)

    def _end_all(self, number: signal.Signals) -> None:
        if not self._ending and self._time_to_finish is not None:
            self._kill_at = time.monotonic() + self._time_to_finish
        elif number is signal.SIGKILL:
            self._kill_at = None
        self._ending = True
        for worker in self._workers:
            worker.send(number)
