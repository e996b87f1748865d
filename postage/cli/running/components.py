"""Components: the microthreads that a target stands for, processors above all."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator
from types import ModuleType
from typing import Any

from postage.cli.exits import Code, CommandFailed
from postage.cli.running.targets import Target, show_traceback
from postage.errors import PostageError
from postage.green import MicroThread

__all__ = ["components", "found_in", "made", "name_of", "things"]


def components(targets: Iterable[Target]) -> Iterator[MicroThread]:
    """Import what *targets* name, and make it; making processors connects.  Raises `CommandFailed`.

    All modules are imported before anything is made: a mistake in the last one costs nothing.
    """
    loaded = [(target, things(target)) for target in targets]
    for target, found in loaded:
        if not found:
            raise CommandFailed(f"module {target} defines no processor; name one: {target}:NAME")
        for each in found:
            yield from made(each, target)


def things(target: Target) -> list[Any]:
    """Import what *target* names; return it, or the processors in the module that it is."""
    loaded = target.load()
    return found_in(loaded) if isinstance(loaded, ModuleType) else [loaded]


def found_in(module: ModuleType) -> list[Any]:
    """Return the processors that *module* defines: instances, and classes that have none there.

    Classes that others there inherit from are left out, and private ones: they are parts.
    """
    instances = [value for value in vars(module).values() if isinstance(value, MicroThread)]
    classes = [value for name, value in vars(module).items() if _is_its_own(value, name, module)]
    parts = {base for each in [*classes, *map(type, instances)] for base in each.__mro__[1:]}
    made = set(map(type, instances))
    return [
        *dict.fromkeys(instances),
        *(c for c in dict.fromkeys(classes) if c not in parts | made),
    ]


def _is_its_own(value: object, name: str, module: ModuleType) -> bool:
    is_class = isinstance(value, type) and issubclass(value, MicroThread)
    return is_class and value.__module__ == module.__name__ and not name.startswith("_")


def made(thing: Any, target: Target) -> list[MicroThread]:
    """Return what *thing*, an instance, a class or a function, gives."""
    if isinstance(thing, MicroThread):
        return [thing]
    if not callable(thing) or (isinstance(thing, type) and not issubclass(thing, MicroThread)):
        raise CommandFailed(f"{target}: {name_of(thing)} is no processor, nor makes one")
    _check_arguments(thing)
    returned = _called(thing)
    several = returned if isinstance(returned, (list, tuple)) else [returned]
    if not several or not all(map(_is_component, several)):
        raise CommandFailed(f"{target}: {name_of(thing)} returned {returned!r}, and no processor")
    return [each for one in several for each in made(one, target)]


def _is_component(value: object) -> bool:
    is_class = isinstance(value, type) and issubclass(value, MicroThread)
    return is_class or isinstance(value, MicroThread)


def _check_arguments(thing: Callable[..., Any]) -> None:
    try:
        inspect.signature(thing).bind()
    except TypeError as exc:
        name = name_of(thing)
        raise CommandFailed(
            f"{name} cannot be made: {exc}; write a function that makes it, and name that"
        ) from None
    except ValueError:
        return  # it has no signature: the call will tell


def _called(thing: Callable[..., Any]) -> Any:
    """Call *thing*; what it raises is its own, but for what we raise on purpose."""
    try:
        returned = thing()
        return list(returned) if inspect.isgenerator(returned) else returned
    except PostageError:
        raise
    except Exception as exc:
        show_traceback(exc)
        what = f"{type(exc).__name__}: {exc}"
        raise CommandFailed(f"{name_of(thing)} cannot be made: {what}", Code.UNHANDLED) from None


def name_of(thing: object) -> str:
    """Return what *thing* is called where it was defined."""
    return getattr(thing, "__qualname__", None) or repr(thing)
