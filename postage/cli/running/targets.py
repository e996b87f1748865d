"""Targets: what ``MODULE:NAME`` on a command line names, in the user's own code."""

from __future__ import annotations

import functools
import importlib
import os
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any

from postage.cli.exits import CommandFailed
from postage.errors import PostageError

__all__ = ["Target", "patch", "show_traceback"]


@dataclass(frozen=True)
class Target:
    """A module, and what is meant in it (empty: all that fits)."""

    module: str
    name: str = ""

    @classmethod
    def parse(cls, text: str) -> Target:
        """Return *text* taken apart; raises `CommandFailed`."""
        module, _, name = text.partition(":")
        if name.startswith("//"):  # it may hold a password, so it is not quoted
            raise CommandFailed(f"{module}://... is a URL: write --url before it")
        if "/" in module or module.endswith(".py"):
            raise CommandFailed(f"{text!r} is a file; give the module, as {_module_in(module)}")
        if not all(module.split(".")):
            raise CommandFailed(f"{text!r} is no MODULE or MODULE:NAME")
        return cls(module, name)

    def __str__(self) -> str:
        return f"{self.module}:{self.name}" if self.name else self.module

    def load(self) -> Any:
        """Import the module, patched; return it, or what the name names in it.

        Raises `CommandFailed`; where the module itself fails, after its traceback.
        """
        module = imported(self.module)
        try:
            return functools.reduce(getattr, self.name.split(".") if self.name else [], module)
        except AttributeError:
            raise CommandFailed(f"module {self.module!r} has no {self.name!r}") from None


def imported(name: str) -> ModuleType:
    """Import the module *name*, from the working directory or wherever Python finds it."""
    patch()
    try:
        return importlib.import_module(name)
    except PostageError:
        raise  # it connects: what that has to say stands in the error
    except SystemExit as exc:
        raise CommandFailed(
            f"module {name!r} ended the program when it was imported ({exc.code!r}); "
            f"what a program does belongs below `if __name__ == '__main__'`"
        ) from None
    except Exception as exc:
        if _is_missing(name, exc):
            raise CommandFailed(_missing(name, exc)) from None
        show_traceback(exc)
        what = f"{type(exc).__name__}: {exc}"
        raise CommandFailed(f"module {name!r} cannot be imported: {what}") from None


def _module_in(file: str) -> str:
    """Return what the module in *file* is called, below the working directory or in its folder."""
    path = Path(os.path.relpath(file)).with_suffix("")
    return f"{path.name}, in its folder" if ".." in path.parts else ".".join(path.parts)


def _missing(name: str, exc: Exception) -> str:
    parent, _, last = name.rpartition(".")
    if hasattr(sys.modules.get(parent), last):
        return f"{exc}; what is in a module is written {parent}:{last}"
    return f"{exc} here; it is sought in {Path.cwd()} and in sys.path"


def patch() -> None:
    """Make the standard library cooperative, and the working directory a place of modules.

    Before any code of the user's is imported; doing it twice is fine.
    """
    import gevent.monkey  # noqa: PLC0415 - `--help` does not wait for gevent

    from postage import green  # noqa: PLC0415 - nor for this

    if not gevent.monkey.is_module_patched("socket"):
        green.patch_all()
    here = str(Path.cwd())
    if here not in sys.path and "" not in sys.path:
        sys.path.insert(0, here)


def _is_missing(name: str, exc: Exception) -> bool:
    """Tell whether it is the module itself, or a package that it is in, which does not exist."""
    return isinstance(exc, ModuleNotFoundError) and f"{name}.".startswith(f"{exc.name}.")


_OURS = str(Path(__file__).parent) + os.sep


def show_traceback(exc: BaseException) -> None:
    """Print the traceback of *exc* from the first line on that is the user's."""
    traceback.print_exception(type(exc), exc, _theirs(exc.__traceback__))


def _theirs(frames: TracebackType | None) -> TracebackType | None:
    while frames is not None and _is_ours(frames.tb_frame.f_code.co_filename):
        frames = frames.tb_next
    return frames


def _is_ours(file: str) -> bool:
    return file.startswith(("<frozen importlib", _OURS)) or "/importlib/" in file
