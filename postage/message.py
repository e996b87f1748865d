"""Messages: plain dictionaries with seven keys, the classes that build them, and their check.

A body can be read and written without Postage, in any language: ``type``, ``name``, ``category``,
``version``, ``fingerprint``, ``content`` and ``_reserved``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final, Literal

from postage.errors import MalformedMessage, RemoteError
from postage.foreign_text import brief

# fmt: off
__all__ = [
    "CATEGORIES", "CONNECTION_LOST", "ERROR", "EXCEPTION", "NO_REPLY", "NO_ROUTE", "SERVER_ERROR",
    "SUCCESS", "TIMEOUT", "UNKNOWN_COMMAND", "VERSION", "Message", "MessageCommand",
    "MessageResult", "MessageResultError", "MessageResultException", "MessageStatus", "ResultKind",
    "RpcCommand", "check_body", "command_from", "message_types", "result_from",
]
# fmt: on

VERSION = "2"
"""The version of the message form, independent of the version of the library."""

CATEGORIES = ("message", "rpc")

ResultKind = Literal["success", "error", "exception"]
"""The kinds of results: see `MessageResult.kind`."""
SUCCESS: Final = "success"
ERROR: Final = "error"
EXCEPTION: Final = "exception"

# The names of the exception results that Postage itself makes; see `MessageResult.value`.
TIMEOUT: Final = "TimeoutError"
"""The caller waited long enough; the call may have been carried out."""
CONNECTION_LOST: Final = "ConnectionLost"
"""The connection was lost or closed; the call may have been carried out."""
NO_ROUTE: Final = "NoRoute"
"""No queue is bound to the key of the call; it was not carried out."""
UNKNOWN_COMMAND: Final = "UnknownCommand"
"""The server has no handler for the call."""
NO_REPLY: Final = "NoReply"
"""The handler of the call returned without a reply."""
SERVER_ERROR: Final = "ServerError"
"""The call failed, and the server tells only the id under which its log has the exception."""

_UNSET: Any = object()


class Message:
    """A generic message: type and name are ``none``, the content is the args and kwds, if given."""

    type: ClassVar[str] = "none"
    name: ClassVar[str] = "none"
    category: ClassVar[str] = "message"
    boolean_value: ClassVar[bool] = True
    _built: tuple[str, dict[str, Any]] | None = None
    """The name and the content, until something asks for the `body`, which has them from then on.

    Most messages are encoded (`postage.encoding.Envelopes`), or read as results, without it."""
    _body: dict[str, Any]

    def __init__(self, /, *args: Any, **kwds: Any) -> None:
        content: dict[str, Any] = {}
        if args:
            content["args"] = list(args)
        if kwds:
            content["kwds"] = kwds
        self._built = self.name, content

    @property
    def body(self) -> dict[str, Any]:
        """The dictionary with seven keys; it may be changed until it is sent."""
        built = self._built
        if built is not None:
            name, content = built
            self._body = {
                "type": self.type,
                "name": name,
                "category": self.category,
                "version": VERSION,
                "fingerprint": {},
                "content": content,
                "_reserved": {},
            }
            self._built = None
        return self._body

    @body.setter
    def body(self, body: dict[str, Any]) -> None:
        self._body, self._built = body, None

    def fingerprint(self, values: Mapping[str, Any] | None = None, /, **kwds: Any) -> None:
        """Merge a dictionary, keywords, or both into the fingerprint of the message."""
        if values:
            self.body["fingerprint"].update(values)
        if kwds:
            self.body["fingerprint"].update(kwds)

    def __bool__(self) -> bool:
        """False for error and exception results, true for everything else."""
        return self.boolean_value

    def __eq__(self, other: object) -> bool:
        """Messages are equal when their bodies are; nothing else equals a message."""
        return isinstance(other, Message) and self.body == other.body

    __hash__ = None  # type: ignore[assignment]  # the body can change

    def __str__(self) -> str:
        return str(self.body)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {brief(self.body)}>"


class MessageCommand(Message):
    """A command, which tells the receiver to carry out *command*, a name, with *parameters*."""

    type = "command"

    def __init__(self, command: object, parameters: Any = _UNSET) -> None:
        self._built = str(command), {"parameters": {} if parameters is _UNSET else parameters}


class RpcCommand(MessageCommand):
    """A command for which the sender waits for a result."""

    category = "rpc"


def command_from(
    command: type[MessageCommand], name: str, /, *args: Any, **kwds: Any
) -> MessageCommand:
    """Build the command *name*, with the arguments of a call as its parameters."""
    if not args and not kwds:
        return command(name)
    if not args:
        return command(name, kwds["parameters"] if kwds.keys() == {"parameters"} else kwds)
    if kwds:
        return command(name, {"args": list(args), "kwds": kwds})
    return command(name, args[0] if len(args) == 1 else list(args))


class MessageStatus(Message):
    """The status of a component: any value; its text is the name of the message."""

    type = "status"

    def __init__(self, status: object) -> None:
        self._built = str(status), {}


class MessageResult(Message):
    """The result of an RPC that succeeded: a *value*, and a *message* for people."""

    type = "result"
    result_type: ClassVar[ResultKind] = SUCCESS

    def __init__(self, value: Any, message: str = "") -> None:
        content = {"type": self.result_type, "value": value, "message": message}
        self._built = self.name, content

    @property
    def _content(self) -> dict[str, Any]:
        content: dict[str, Any] = self.body["content"] if self._built is None else self._built[1]
        return content

    @property
    def value(self) -> Any:
        """The value of a success, None for an error, and the name of an exception."""
        return self._content["value"]

    @property
    def message(self) -> str:
        """The text for people; empty unless the server gave one."""
        text: str = self._content["message"]
        return text

    @property
    def kind(self) -> ResultKind:
        """Whether the call succeeded: ``"success"``, ``"error"`` or ``"exception"``."""
        kind: ResultKind = self._content["type"]
        return kind

    def unwrap(self) -> Any:
        """Return the value of a success; raise `RemoteError` for an error or exception."""
        kind = self.kind
        if kind == SUCCESS:
            return self.value
        raise RemoteError(kind, str(self.value) if kind == EXCEPTION else "", str(self.message))


class MessageResultError(MessageResult):
    """An error that the server foresees and documents; the value is None.  False in a condition."""

    result_type = ERROR
    boolean_value = False

    def __init__(self, message: str) -> None:
        super().__init__(None, message)


class MessageResultException(MessageResult):
    """An exception: its *name* as the value, its text as the *message*.  False in a condition."""

    result_type = EXCEPTION
    boolean_value = False

    def __init__(self, name: str, message: str) -> None:
        super().__init__(name, message)


def message_types() -> set[str]:
    """Return the types of messages: those of `Message` and of all classes that inherit it."""
    classes: list[type[Message]] = [Message]
    for each in classes:
        classes += each.__subclasses__()
    return {each.type for each in classes}


def result_from(reply: Any) -> MessageResult:
    """Rebuild the result message in the decoded body *reply*.

    A *reply* without a result gives a `MessageResultError` that begins with ``Malformed reply``.
    """
    try:
        content = reply["content"]
        kind, value, text = content["type"], content["value"], content["message"]
    except (TypeError, KeyError, IndexError):
        kind = value = text = None
    if kind == SUCCESS:
        return MessageResult(value, text)
    if kind == ERROR:
        return MessageResultError(text)
    if kind == EXCEPTION:
        result = MessageResultException(value, text)
        if isinstance(reply, dict) and isinstance(reply.get("_reserved"), dict):
            result.body["_reserved"] = reply["_reserved"]  # for typed clients
        return result
    content = reply.get("content", reply) if isinstance(reply, Mapping) else reply
    return MessageResultError(f"Malformed reply {brief(content, 500)}")


# --- the check of a body from the wire


_KEYS: dict[str, type] = {
    "type": str,
    "name": str,
    "category": str,
    "version": str,
    "fingerprint": dict,
    "content": dict,
    "_reserved": dict,
}

_FILLED_IN = ("version", "fingerprint", "_reserved")
"""The keys that a message may lack, as 1.2.1 does not read them: other languages leave them out."""


def check_body(body: Any) -> dict[str, Any]:
    """Return *body* if it is a decoded message; raise `MalformedMessage` with the reason if not.

    A version, fingerprint or ``_reserved`` that is missing, or has a value of another type, is
    filled in.  Only a version that is text must be ours.  Keys beyond the seven are allowed, so
    that a later version of the form can add some.
    """
    try:  # one expression for nearly every message: a check key by key takes three times as long
        if (
            type(body) is dict
            and type(body["type"]) is type(body["name"]) is str
            and type(body["fingerprint"])
            is type(body["content"])
            is type(body["_reserved"])
            is dict
            and body["version"] == VERSION
            and body["category"] in CATEGORIES
        ):
            return body
    except KeyError:
        pass
    return _check_each(body)


def _check_each(body: Any) -> dict[str, Any]:
    """Check key by key, and fill in what is missing.

    A user's encoder may return subclasses of dict and str, which are taken, too.
    """
    if not isinstance(body, dict):
        raise MalformedMessage(f"the body is a {type(body).__name__}, not an object")
    for key, type_ in _KEYS.items():
        if key in _FILLED_IN:
            if not isinstance(body.get(key), type_):
                body[key] = VERSION if key == "version" else {}
            continue
        if key not in body:
            raise MalformedMessage(f"the key {key!r} is missing")
        if not isinstance(body[key], type_):
            raise MalformedMessage(
                f"{key!r} is a {type(body[key]).__name__}, not a {type_.__name__}"
            )
    if body["version"] != VERSION:
        raise MalformedMessage(f"version {body['version'][:20]!r} is not {VERSION!r}")
    if body["category"] not in CATEGORIES:
        raise MalformedMessage(f"category {body['category'][:20]!r} is none of {CATEGORIES}")
    return body
