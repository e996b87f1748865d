"""Which builder makes the message of a method of producers, such as ``message_X`` or ``rpc_X``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache, partial
from typing import Any

from postage.callables import close_unrun, name_of
from postage.errors import SettingsError
from postage.message import Message, MessageCommand, RpcCommand, command_from

__all__ = ["PREFIXES", "Builder", "check_built", "methods_of", "parsed"]

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


def methods_of(builders: Iterable[str]) -> Iterator[str]:
    """Yield the names of the methods for those of the attributes *builders* that are builders."""
    for attribute, builder in PREFIXES.items():
        for name in builders:
            if name.startswith(builder) and name != builder:
                yield attribute + name.removeprefix(builder)


def check_built(build: Builder, built: Any, category: str | None = None) -> None:
    """Raise `SettingsError` if what *build* has returned cannot be sent as a message.

    With a *category*, the message must be of this one: nobody answers a call of another.
    """
    if isinstance(built, type) or not (hasattr(built, "fingerprint") and hasattr(built, "body")):
        close_unrun(built)
        raise SettingsError(f"{name_of(build)} must return a message, not {repr(built)[:100]}")
    body = built.body if isinstance(built.body, dict) else {}
    if category is not None and body.get("category", category) != category:
        raise SettingsError(
            f"{name_of(build)} must return a message of the category {category!r}, such as "
            f"RpcCommand: nobody answers one of the category {body['category']!r:.40}"
        )
