"""Exit codes, and the errors that lead to them."""

from __future__ import annotations

import enum
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from postage.errors import (
    ChannelRefused,
    ConnectionFailed,
    ConnectionLost,
    ConsumerCancelled,
    GaveUp,
    OperationTimeout,
    PostageError,
    PublishFailed,
    SettingsError,
)

__all__ = ["CODES", "MEANINGS", "Code", "CommandFailed", "complain", "exit_codes"]


class Code(enum.IntEnum):
    """What the exit code of a command says."""

    CLEAN = 0
    UNHANDLED = 1
    USAGE = 2
    UNREACHABLE = 3
    ERROR_RESULT = 4
    TOPOLOGY = 5
    GAVE_UP = 6


MEANINGS: dict[Code, str] = {
    Code.CLEAN: "done, or ended because it was told to",
    Code.UNHANDLED: "an error that nothing here foresees; its traceback stands before the end",
    Code.USAGE: "the command, a setting, or a module that cannot be imported",
    Code.UNREACHABLE: "the broker is not there, refuses us, is silent or lost; `health`: no answer",
    Code.ERROR_RESULT: "the answer is an error: a call's, `health` not ready, `check` found faults",
    Code.TOPOLOGY: "the broker refused an exchange or a queue, has it otherwise, or deleted it",
    Code.GAVE_UP: "supervision gave up: something ended again and again",
}

CODES: dict[type[PostageError], Code] = {
    SettingsError: Code.USAGE,
    ConnectionFailed: Code.UNREACHABLE,
    ConnectionLost: Code.UNREACHABLE,
    OperationTimeout: Code.UNREACHABLE,
    PublishFailed: Code.UNREACHABLE,
    ChannelRefused: Code.TOPOLOGY,
    ConsumerCancelled: Code.TOPOLOGY,
    GaveUp: Code.GAVE_UP,
}
"""Every other error is `Code.UNHANDLED`."""


class CommandFailed(PostageError):
    """A command ends with *code*, and the text says all that there is to say."""

    def __init__(self, text: str, code: Code = Code.USAGE) -> None:
        super().__init__(text)
        self.code = code


@contextmanager
def exit_codes() -> Iterator[None]:
    """End the program with one clear line and the right exit code at a `PostageError`."""
    try:
        yield
    except PostageError as exc:
        complain(_line(exc))
        sys.exit(_code(exc))


def _line(exc: PostageError) -> str:
    kind = "Error" if isinstance(exc, CommandFailed) else type(exc).__name__
    return f"{kind}: {exc}"


def _code(exc: PostageError) -> Code:
    if isinstance(exc, CommandFailed):
        return exc.code
    return next((code for kind, code in CODES.items() if isinstance(exc, kind)), Code.UNHANDLED)


_PASSWORD = re.compile(r"(://[^/\s:@]*:)[^\s]*@")


def complain(text: str) -> None:
    """Print *text* to stderr; a password in a URL, which may stand anywhere, is not shown.

    Where stderr is closed or full, the exit code has to say it all.
    """
    if sys.stderr is not None:
        with suppress(OSError):
            print(_PASSWORD.sub(r"\1***@", text), file=sys.stderr, flush=True)
