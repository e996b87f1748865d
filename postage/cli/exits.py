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
    LookRefused,
    NoSuchMessage,
    OperationTimeout,
    PostageError,
    PublishFailed,
    SettingsError,
)


class Code(enum.IntEnum):
    """The exit codes of a command."""

    CLEAN = 0
    UNHANDLED = 1
    USAGE = 2
    UNREACHABLE = 3
    ERROR_RESULT = 4  # a bad answer, such as `call`: an error; `health`: not ready; `check`: faults
    TOPOLOGY = 5
    GAVE_UP = 6
    QUIT = 7  # `run`: the remote command `quit` has ended a component


CODES: dict[type[PostageError], Code] = {
    SettingsError: Code.USAGE,
    LookRefused: Code.USAGE,
    NoSuchMessage: Code.USAGE,
    ConnectionFailed: Code.UNREACHABLE,
    ConnectionLost: Code.UNREACHABLE,
    OperationTimeout: Code.UNREACHABLE,
    PublishFailed: Code.UNREACHABLE,
    ChannelRefused: Code.TOPOLOGY,
    ConsumerCancelled: Code.TOPOLOGY,
    GaveUp: Code.GAVE_UP,
}
"""The exit codes of errors, subclasses included; all other errors are `Code.UNHANDLED`."""


class CommandFailed(PostageError):
    """A command ends with exit code *code*; the text is all that the user needs to read."""

    def __init__(self, text: str, code: Code = Code.USAGE) -> None:
        super().__init__(text)
        self.code = code


class ExtraMissing(CommandFailed):
    """*what* needs a library that only the extra *extra* of Postage installs."""

    def __init__(self, what: str, library: str, extra: str) -> None:
        super().__init__(f"{what} needs {library}: {install_line(extra)}")


def install_line(extra: str) -> str:
    """Return how to install Postage with *extra*; no other text of the program says it.

    It does not name the package: ``postage`` on the registry is 1.2.1, by other authors.
    """
    return f"in a checkout of Postage, pip install '.[{extra}]'"


@contextmanager
def exit_codes() -> Iterator[None]:
    """End the program at a `PostageError`: print one line to stderr, exit with the right code."""
    try:
        yield
    except CommandFailed as exc:
        print_error(f"Error: {exc}")
        sys.exit(exc.code)
    except PostageError as exc:
        print_error(f"{type(exc).__name__}: {exc}")
        sys.exit(code_of(exc))


def code_of(error: BaseException | None) -> Code:
    """Return the exit code of *error*: the first that fits in `CODES`."""
    return next((code for kind, code in CODES.items() if isinstance(error, kind)), Code.UNHANDLED)


_PASSWORD = re.compile(r"(://[^/\s:@]*:)[^\s]*@")


def print_error(text: str) -> None:
    """Print *text* to stderr, with ``***`` in place of each password of a URL.

    A stderr that is closed or full is ignored: the exit code still reports the error.
    """
    if sys.stderr is not None:
        with suppress(OSError):
            print(_PASSWORD.sub(r"\1***@", text), file=sys.stderr, flush=True)
