"""The editor of the user, on a file that nobody else can read."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NoReturn

from postage.cli.exits import Code, CommandFailed
from postage.signals import stopping_signals

__all__ = ["EditedFile"]


class EditedFile:
    """A file with *text* in a folder of its own, which only this user can enter.

    The end of the ``with`` block removes file and folder, unless the file is `kept`.
    """

    def __init__(self, text: str, ending: str) -> None:
        self._folder = tempfile.mkdtemp(prefix="postage-")  # mode 0700
        self.path = Path(self._folder, f"message{ending}")
        self._before: Handlers = {}
        self.kept = False
        """Whether the file stays, because it holds work of the user that exists nowhere else."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        with os.fdopen(os.open(self.path, flags, 0o600), "w", encoding="utf-8", newline="\n") as f:
            f.write(text)

    def __enter__(self) -> EditedFile:  # noqa: PYI034 - Self needs Python 3.11
        # Else a signal would end this process, and leave the file.
        self._before = _handled(stopping_signals(), _end)
        return self

    def __exit__(self, *_: object) -> None:
        _restore(self._before)
        if self.kept:
            return
        for each in Path(self._folder).iterdir():  # editors leave copies
            each.unlink(missing_ok=True)
        Path(self._folder).rmdir()

    def edit(self) -> str:
        """Let the user edit the file, and return its text; blocks the thread.

        Raises `CommandFailed` if the editor cannot run or fails, or if its text is not UTF-8.
        """
        command = os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"
        try:
            words = [*shlex.split(command), str(self.path)]
        except ValueError as exc:
            raise CommandFailed(f"cannot run the editor {command!r}: {exc}") from None
        try:
            code = _run(words)
        except OSError as exc:
            text = f"cannot run the editor {command!r}: {exc.strerror}; set VISUAL or EDITOR"
            raise CommandFailed(text) from None
        if code:
            text = f"the editor ended with code {code}, so nothing is changed"
            raise CommandFailed(text, Code.ERROR_RESULT)
        try:
            with self.path.open(encoding="utf-8-sig", newline="") as file:
                return file.read()
        except (OSError, UnicodeDecodeError) as exc:
            text = f"cannot read what the editor has written, so nothing is changed: {exc}"
            raise CommandFailed(text, Code.ERROR_RESULT) from None


Handlers = dict[signal.Signals, Any]


def _run(words: list[str]) -> int:
    """Run the editor, to which Ctrl-C is left, and return its exit code."""
    before = _handled([signal.SIGINT], _stay)
    try:
        with subprocess.Popen(words) as process:  # noqa: S603 - the user's own command  # nosec B603
            try:
                return process.wait()
            except SystemExit:  # by `_end`; the block waits for the end of the editor, too
                process.terminate()
                raise
    finally:
        _restore(before)


def _handled(signals: Iterable[signal.Signals], handler: Callable[..., object]) -> Handlers:
    """Let *handler* handle those of *signals* that are not ignored; return what did so before."""
    taken = [each for each in signals if signal.getsignal(each) is not signal.SIG_IGN]
    return {each: signal.signal(each, handler) for each in taken}


def _restore(handlers: Handlers) -> None:
    for number, handler in handlers.items():
        signal.signal(number, handler)


def _end(number: int, _frame: object) -> NoReturn:
    raise SystemExit(128 + number)


def _stay(_number: int, _frame: object) -> None:
    """Do nothing; unlike SIG_IGN, a function is not inherited by the editor."""
