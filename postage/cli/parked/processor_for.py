"""The processor that a user names for a message that failed."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from postage.cli.exits import CommandFailed
from postage.cli.running.targets import Target
from postage.foreign_text import one_line
from postage.green import MessageProcessor

__all__ = ["processor_for"]


def processor_for(target: Target, told: str) -> tuple[str, Any]:
    """Import *target*; return the name and the object of a processor, or of what makes one.

    If *target* is a module, the object is the processor class there that is called *told*, or the
    only one.  *told* comes from the dossier of a message, which any peer may have written, so it
    only chooses among these classes.  Raises `CommandFailed` if there is not exactly one.
    """
    loaded = target.load()
    if not isinstance(loaded, ModuleType):
        return target.name, loaded
    defined = [value for value in vars(loaded).values() if _is_class_of(value, target.module)]
    bases = {base for each in defined for base in each.__mro__[1:]}
    named = [each for each in defined if each.__qualname__ == told]
    found = named or [each for each in defined if each not in bases]
    if len(found) != 1:
        names = ", ".join(each.__qualname__ for each in found) or "none"
        text = f"module {target} defines several processors, or none ({names})"
        failed = f", and the message failed in {one_line(told)!r}" if told else ""
        raise CommandFailed(f"{text}{failed}; name one: {target}:NAME")
    return found[0].__qualname__, found[0]


def _is_class_of(value: object, module: str) -> bool:
    is_class = isinstance(value, type) and issubclass(value, MessageProcessor)
    return is_class and getattr(value, "__module__", "") == module
