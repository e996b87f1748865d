"""The checks of ``postage doctor`` in their order.

A check that fails does not end those that do not depend on it.  At a signal that ends programs,
what was made on the broker is removed first.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import platform
import resource
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import gevent
import gevent.hub
import greenlet

from postage.cli.checking.doctor import installation
from postage.cli.checking.doctor.broker_look import look_at_broker
from postage.cli.checking.doctor.diagnoses import NO_BROKER, Diagnosis, Part, Rating
from postage.cli.checking.doctor.early_imports import early_imports
from postage.cli.checking.doctor.patch_order import PatchWatch
from postage.cli.checking.doctor.reaching import Reaching
from postage.cli.checking.report import report_on
from postage.cli.exits import CommandFailed
from postage.cli.running.targets import Target
from postage.errors import PostageError, SettingsError
from postage.settings import Settings
from postage.signals import stopping_signals


class Interrupted(BaseException):
    """A signal, *number*, has told the examination to end."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def examine(
    target: Target | None, watch: PatchWatch, prefix: str, limit: float
) -> Generator[Diagnosis, None, None]:
    """Yield the diagnoses of all checks; each step on the network takes at most *limit* seconds.

    *watch* has seen the patch of this process.  Raises `Interrupted`, once nothing is left on the
    broker.
    """
    yield from _process(target, watch)
    with _interruptible():
        yield from _broker(prefix, limit)
    if target is not None:
        yield from _module(target)


@contextmanager
def _interruptible() -> Iterator[None]:
    """Raise `Interrupted` in the block at the first signal; the second ends the process."""
    here = greenlet.getcurrent()
    watchers: list[Any] = []

    def interrupt(number: int) -> None:
        cancel()
        # As a timeout does it: the signal is handled in a greenlet, while the block waits.
        gevent.hub.get_hub().loop.run_callback(here.throw, Interrupted(number))

    def cancel() -> None:
        for each in watchers:
            each.cancel()

    watchers += [gevent.signal_handler(each, interrupt, each) for each in stopping_signals()]
    try:
        yield
    finally:
        cancel()


# --- the process


def _process(target: Target | None, watch: PatchWatch) -> Iterator[Diagnosis]:
    yield installation.judge_version("Python", platform.python_version())
    for name in ("gevent", "pika", "greenlet"):
        yield installation.judge_version(name, importlib.metadata.version(name))
    yield installation.judge_patch(watch.kept(), watch.threads)
    if target is not None:
        found = early_imports(target.module)
        yield installation.judge_patch_of_module(
            target.module, found.kept, found.threads, patches=found.patches, error=found.error
        )
    needed = {name for names, _ in installation.EXTRAS.values() for name in names}
    yield installation.judge_extras(name for name in needed if importlib.util.find_spec(name))
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield installation.judge_open_files(limit, _open_files())


def _open_files() -> int:
    """Return how many files are open; 0 where the system does not tell."""
    try:
        return sum(1 for _ in Path("/dev/fd").iterdir())
    except OSError:
        return 0


# --- the broker


def _broker(prefix: str, limit: float) -> Iterator[Diagnosis]:
    try:
        settings = Settings.resolve()
    except SettingsError as exc:
        text, remedy = str(exc), "correct the variable; docs/cli.md says how a URL is written"
        yield Diagnosis(Part.ADDRESS, "settings", Rating.FAILED, text, remedy)
        return
    if settings.embedded is not None:
        text = f"{settings.host} is a broker inside each program: there is nothing to connect"
        yield Diagnosis(Part.ADDRESS, "settings", Rating.OK, text)
        return
    settings = replace(
        settings, connect_timeout=limit, operation_timeout=limit, wait_for_broker=False
    )
    reaching = Reaching(settings, limit)
    yield from reaching.diagnoses()
    if not reaching.speaking:
        text = "not examined: at no address does a broker answer"
        yield Diagnosis(Part.BROKER, NO_BROKER, Rating.SKIPPED, text)
        return
    with closing(look_at_broker(settings, reaching.speaking[0], prefix, limit)) as diagnoses:
        yield from diagnoses


# --- the module


def _module(target: Target) -> Iterator[Diagnosis]:
    """Yield what ``postage check`` finds."""
    name = f"check {target}"
    try:
        report = report_on([target])
    except CommandFailed as exc:
        yield Diagnosis(Part.MODULE, name, Rating.FAILED, str(exc), "correct the module")
        return
    except PostageError as exc:
        text = f"{type(exc).__name__}: {exc}"
        yield Diagnosis(Part.MODULE, name, Rating.FAILED, text, "correct the module")
        return
    for each in report.findings:
        rating = Rating.FAILED if each.fault else Rating.WARNING
        remedy = "correct it" if each.fault else "correct it, unless it is intended"
        yield Diagnosis(Part.MODULE, f"check {each.where}", rating, each.text, remedy)
    if not report.faults:
        yield Diagnosis(Part.MODULE, name, Rating.OK, "no fault was found")
