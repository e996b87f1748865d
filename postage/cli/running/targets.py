"""Targets: ``MODULE:NAME`` on a command line, and the components that it stands for.

Importing this module imports no gevent: the parent of workers parses targets, and never loads them.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import os
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from postage.cli.exits import Code, CommandFailed
from postage.errors import PostageError

if TYPE_CHECKING:
    from postage.green import MicroThread


@dataclass(frozen=True)
class Target:
    """A module, and a name in it; without name, everything in the module that fits."""

    module: str
    name: str = ""

    @classmethod
    def parse(cls, text: str) -> Target:
        """Return the target that *text* names; raises `CommandFailed`."""
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
        """Import the module and return it, or the object in it that has the name.

        Raises `CommandFailed`; if the module itself fails, its traceback is printed first.
        """
        module = _import(self.module)
        try:
            return functools.reduce(getattr, self.name.split(".") if self.name else [], module)
        except AttributeError:
            raise CommandFailed(f"module {self.module!r} has no {self.name!r}") from None


# --- importing the user's code


def here() -> Path:
    """Return the working directory; raises `CommandFailed` if it does not exist any longer."""
    try:
        return Path.cwd()
    except FileNotFoundError:
        text = "the working directory was deleted: change to one that exists"
        raise CommandFailed(text) from None


def prepare_imports() -> None:
    """Make the standard library cooperative, and modules in the working directory importable.

    Call this before any code of the user's is imported; calling it twice is fine.
    """
    import gevent.monkey  # noqa: PLC0415 - `--help` does not wait for gevent

    from postage import green  # noqa: PLC0415 - as above

    if not gevent.monkey.is_module_patched("socket"):
        green.patch_all()
    folder = str(here())
    if folder not in sys.path and "" not in sys.path:
        sys.path.insert(0, folder)


def _import(name: str) -> ModuleType:
    """Import the module *name*, from the working directory or wherever Python finds it."""
    prepare_imports()
    try:
        return importlib.import_module(name)
    except PostageError:
        raise  # the module connects when it is imported; the error explains itself
    except SystemExit as exc:
        raise CommandFailed(
            f"module {name!r} ended the program when it was imported ({exc.code!r}); "
            f"what a program does belongs below `if __name__ == '__main__'`"
        ) from None
    except Exception as exc:
        # The module itself or a package around it is missing, not a module that it imports.
        if isinstance(exc, ModuleNotFoundError) and f"{name}.".startswith(f"{exc.name}."):
            raise CommandFailed(_explain_missing(name, exc)) from None
        _print_traceback(exc)
        reason = f"{type(exc).__name__}: {exc}"
        raise CommandFailed(f"module {name!r} cannot be imported: {reason}") from None


def _module_in(file: str) -> str:
    """Return the name of the module in *file*, seen from the working directory or its folder."""
    path = Path(os.path.relpath(file, here())).with_suffix("")
    return f"{path.name}, in its folder" if ".." in path.parts else ".".join(path.parts)


def _explain_missing(name: str, exc: Exception) -> str:
    parent, _, last = name.rpartition(".")
    if hasattr(sys.modules.get(parent), last):
        return f"{exc}; an object in a module is written {parent}:{last}"
    return f"{exc} here; Python looks in {here()} and in sys.path"


_OWN_FOLDER = str(Path(__file__).parent) + os.sep


def _print_traceback(exc: BaseException) -> None:
    """Print the traceback of *exc*, beginning with the first line of the user's code."""
    frames = exc.__traceback__
    while frames is not None:
        file = frames.tb_frame.f_code.co_filename
        if not file.startswith(("<frozen importlib", _OWN_FOLDER)) and "/importlib/" not in file:
            break
        frames = frames.tb_next
    traceback.print_exception(type(exc), exc, frames)


# --- components


def make_all(targets: Iterable[Target]) -> Iterator[MicroThread]:
    """Import what *targets* name, and make the components; making a processor connects.

    All modules are imported before anything is made, so a mistake in the last one is found before
    any component declares its queues.  Raises `CommandFailed`.
    """
    loaded = [(target, load_objects(target)) for target in targets]
    for target, objects in loaded:
        if not objects:
            raise CommandFailed(f"module {target} defines no processor; name one: {target}:NAME")
        for each in objects:
            yield from make_components(each, target)


def load_objects(target: Target) -> list[Any]:
    """Import what *target* names and return it; of a module, return the processors in it.

    These are its instances, and the classes and the services of functions that it defines.  Left
    out are classes that have an instance there, base classes of others, and classes whose names
    begin with ``_``.
    """
    from postage.services import Application  # noqa: PLC0415 - see the head of this module

    module = target.load()
    if not isinstance(module, ModuleType):
        return [module]
    names = vars(module)
    instances = [value for value in names.values() if _is_component(value)]
    functions = [
        value
        for value in names.values()
        if isinstance(value, Application) and value.__module__ == module.__name__
    ]
    classes = [
        value
        for name, value in names.items()
        if _is_component_class(value)
        and value.__module__ == module.__name__
        and not name.startswith("_")
    ]
    bases = {base for each in [*classes, *map(type, instances)] for base in each.__mro__[1:]}
    excluded = bases | set(map(type, instances))
    kept = [each for each in classes if each not in excluded]
    return list(dict.fromkeys([*instances, *kept, *functions]))


def make_components(source: Any, target: Target) -> list[MicroThread]:
    """Return the components that *source* gives: an instance, a class, or a function."""
    if _is_component(source):
        return [source]
    if not callable(source) or (isinstance(source, type) and not _is_component_class(source)):
        raise CommandFailed(f"{target}: {name_of(source)} is no processor, nor makes one")
    returned = _call_factory(source)
    several = returned if isinstance(returned, (list, tuple)) else [returned]
    if not several or not all(_is_component(one) or _is_component_class(one) for one in several):
        raise CommandFailed(f"{target}: {name_of(source)} returned {returned!r}, and no processor")
    return [each for one in several for each in make_components(one, target)]


def _is_component(value: object) -> bool:
    return not isinstance(value, type) and _is_component_class(type(value))


def _is_component_class(value: object) -> bool:
    from postage.green import MicroThread  # noqa: PLC0415 - see the head of this module

    return isinstance(value, type) and issubclass(value, MicroThread)


def _call_factory(function: Callable[..., Any]) -> Any:
    """Call *function* without arguments, and return what it returns; of a generator, the list.

    A `PostageError` passes; for every other failure, raises `CommandFailed`.
    """
    name = name_of(function)
    try:
        inspect.signature(function).bind()
    except TypeError as exc:
        raise CommandFailed(
            f"{name} cannot be made: {exc}; write a function that makes it, and name that"
        ) from None
    except ValueError:
        pass  # it has no signature: the call will tell
    try:
        returned = function()
        return list(returned) if inspect.isgenerator(returned) else returned
    except PostageError:
        raise
    except Exception as exc:
        _print_traceback(exc)
        text = f"{name} cannot be made: {type(exc).__name__}: {exc}"
        raise CommandFailed(text, Code.UNHANDLED) from None


def name_of(thing: object) -> str:
    """Return the name under which *thing* was defined."""
    return getattr(thing, "__qualname__", None) or repr(thing)
