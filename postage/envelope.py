"""What a body must look like to be a Postage message, and the check of it."""

from __future__ import annotations

from typing import Any

from postage.errors import MalformedMessage
from postage.message import VERSION

__all__ = ["CATEGORIES", "check"]

CATEGORIES = ("message", "rpc")

_KINDS: dict[str, type] = {
    "type": str,
    "name": str,
    "category": str,
    "version": str,
    "fingerprint": dict,
    "content": dict,
    "_reserved": dict,
}


def check(body: Any) -> dict[str, Any]:
    """Return *body*, a decoded message; raise `MalformedMessage` saying what is wrong with it.

    Keys beyond the seven are let through, so that a later version of the form can add some.
    """
    if not isinstance(body, dict):
        raise MalformedMessage(f"the body is a {type(body).__name__}, not an object")
    for key, kind in _KINDS.items():
        if key not in body:
            raise MalformedMessage(f"the key {key!r} is missing")
        if not isinstance(body[key], kind):
            raise MalformedMessage(
                f"{key!r} is a {type(body[key]).__name__}, not a {kind.__name__}"
            )
    if body["version"] != VERSION:
        raise MalformedMessage(f"version {body['version'][:20]!r} is not {VERSION!r}")
    if body["category"] not in CATEGORIES:
        raise MalformedMessage(f"category {body['category'][:20]!r} is none of {CATEGORIES}")
    return body
