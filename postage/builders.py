"""Which builder makes the message of a method of producers, such as ``message_X`` or ``rpc_X``."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any, NoReturn

from postage.callables import close_unrun, name_of
from postage.errors import SettingsError
from postage.message import Message, MessageCommand, RpcCommand, command_from

__all__ = ["PREFIXES", "Builder", "parsed", "refuse_built"]

PREFIXES = {
    "message_": "build_message_",
    "rpc_queue_": "build_rpc_",
    "rpc_": "build_rpc_",
}
"""The prefixes of methods, each with that of its builders; ``rpc_queue_`` must precede ``rpc_``."""

Builder = Callable[..., Message]
"""Makes a message from the arguments of ``message_X`` or ``rpc_X``."""


@lru_cache(maxsize=1024)
def parsed(name: str) -> tuple[str, str, Builder | None]:
    """Return the prefix of the attribute *name*, the name of its builder, and a default builder.

    The default builder is None for an attribute that no producer has.
    """
    for prefix, builder in PREFIXES.items():
        message = name.removeprefix(prefix)
        if message and message != name:
            command = MessageCommand if prefix == "message_" else RpcCommand
            return prefix, builder + message, partial(command_from, command, message)
    return "", "", None


def refuse_built(build: Builder, built: Any) -> NoReturn:
    """Raise the error about what a builder has returned instead of a message.

    Called where an AttributeError is handled, which is raised again if it has another cause.
    """
    if isinstance(built, Message):
        raise  # noqa: PLE0704 - see above
    close_unrun(built)
    raise SettingsError(f"{name_of(build)} must return a message, not {repr(built)[:100]}")
