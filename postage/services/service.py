"""`Service`: a processor whose decorated methods have signatures.

How it works
------------
When the class is made, each typed handler gets an *adapter*, which is a classic handler: a function
with the route of the messages.  It takes their content, checks the parameters, calls the method and
returns its result.  Adapters are attributes of the class with names such as ``reserve (rpc)``,
which no method can have.  So the runtime knows classic handlers only, and messages for classic
handlers cost what they cost in other processors.

An adapter looks the method up on the service for each message.  So a subclass that overrides the
method replaces the handler, as with classic handlers.  The override keeps the decorators of the
method, unless it has decorators of its own, and the signature is that of the override.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, ClassVar

from postage._version import __version__
from postage.addressing import QueueSpec, queue_name_and_flags
from postage.attributes import PROCESSOR
from postage.callables import name_of
from postage.errors import (
    BadParameters,
    ConnectionLost,
    HandlerError,
    NoRoute,
    RemoteError,
    SettingsError,
)
from postage.exchange import Exchange
from postage.green.processor import MessageProcessor
from postage.handlers import MARKS, MessageHandler, RpcHandler, check_name, is_handler
from postage.message import EXCEPTION, MessageResult, MessageResultException
from postage.services.conversion import as_builtins, check_hint, takes_object
from postage.services.decorators import Kind, Mark, PlainFunction, marks_of
from postage.services.signatures import Signature
from postage.services.streaming import asks_for_parts, refusal, sender_of
from postage.values import seconds

__all__ = ["SERVICE", "Service", "examined"]

Adapter = Callable[..., Any]
_check_stream_timeout = seconds(endless=True)
SERVICE = {**PROCESSOR, "stream_timeout": _check_stream_timeout}
"""The rules of the attributes of a `Service`."""


class Service(MessageProcessor):
    """A `MessageProcessor` with typed handlers: methods with ``@rpc``, ``@command``, ``@event``.

    The parameters of each message are checked and converted by the type hints of its handler.  If
    they do not fit, the handler does not run: a caller gets `BadParameters`, and any other message
    is parked.  Classic handlers may stand beside typed ones.  See docs/services.md.

    Making the class raises `HandlerError` for a method that can be no typed handler, and
    `SettingsError` if msgspec (the extra ``typed``) is not installed.
    """

    exchange: type[Exchange] = Exchange
    """The exchange that the requests and commands for the service are sent to."""
    queue: QueueSpec | None = None
    """The queue of the service.  It is bound to the `exchange` by its own name, by the name of each
    event, and by `keys`.  None: `eqk` says where the service listens."""
    keys: Sequence[str] = ()
    """Further keys of the queue."""
    publishes: Sequence[type] = ()
    """The classes of the events that the service publishes to its `exchange`.  The contract names
    them, see docs/contract.md; they have no other effect."""
    stream_timeout: float = 300.0
    """How many seconds a handler that yields waits for a caller that takes no parts.  Then the
    handler is stopped."""

    signatures: ClassVar[dict[str, Signature]] = {}
    """The signatures of the typed handlers, by the name of the method."""
    marks: ClassVar[dict[str, tuple[Mark, ...]]] = {}
    """The decorators of the typed handlers, by the name of the method."""
    _contract: dict[str, Any] | None = None
    """The contract, once somebody has asked for it."""
    _adapters: ClassVar[frozenset[str]] = frozenset()
    _typed: ClassVar[dict[str, Any]] = {}
    _rules = SERVICE

    def __init_subclass__(cls, **kwds: Any) -> None:
        super().__init_subclass__(**kwds)
        _check_stream_timeout(f"{cls.__qualname__}.stream_timeout", cls.stream_timeout)
        cls.marks, cls.signatures = marked, _ = examined(cls)
        cls._typed = {name: inspect.getattr_static(cls, name) for name in marked}
        made: set[str] = set()
        for name, marks in marked.items():
            for mark in marks:
                attribute = f"{name} ({mark.kind.value})"
                if attribute in made:  # several names for one method
                    attribute = f"{name} ({mark.kind.value} {mark.name})"
                setattr(cls, attribute, _adapter(cls, name, mark))
                made.add(attribute)
        for attribute in frozenset[str]().union(*_inherited_adapters(cls)) - made:
            setattr(cls, attribute, None)  # the method has been overridden by something else
        cls._adapters = frozenset(made)
        _refuse_twins(cls)
        _check_published(cls)
        _bind(cls, [mark for marks in marked.values() for mark in marks])

    def description(self, *, brief: bool = False) -> dict[str, Any]:
        """Return the reply to the call ``describe``: fingerprint, class, version, contract.

        *brief* leaves the contract out.  It is an AsyncAPI document, see docs/contract.md, and is
        made once, at first use.  Never switches.
        """
        inherited = getattr(super(), "description", None)
        if inherited is not None:  # of a generic application
            described: dict[str, Any] = inherited(brief=brief)
        else:
            name = f"{type(self).__module__}.{type(self).__qualname__}"
            described = {"fingerprint": self.fingerprint, "class": name, "version": __version__}
        if not brief:
            if self._contract is None:
                from postage.services.contract import document  # noqa: PLC0415 - rarely needed

                served = document.Served.of(self)
                self._contract = document.document_of([served], title=served.name)
            described["contract"] = self._contract
        return described

    @RpcHandler("command", "describe")
    def msg_describe(self, content: Any, reply_func: Any) -> None:
        """Reply with the `description`; the parameter ``brief`` leaves the contract out."""
        inherited = getattr(super(), "msg_describe", None)
        if inherited is not None:
            inherited(content, reply_func)
            return
        parameters = content.get("parameters")
        brief = isinstance(parameters, dict) and bool(parameters.get("brief"))
        reply_func(MessageResult(self.description(brief=brief)))


def examined(cls: type) -> tuple[dict[str, tuple[Mark, ...]], dict[str, Signature]]:
    """Return the marks and the signatures of the typed methods of *cls*, by their names.

    Raises `HandlerError` for a method that can be no typed handler.
    """
    marked = dict(_marked_methods(cls))
    return marked, {name: _signature(cls, name, marks) for name, marks in marked.items()}


def _inherited_adapters(cls: type[Service]) -> Iterator[frozenset[str]]:
    for base in cls.__mro__[1:]:
        yield vars(base).get("_adapters", frozenset())


def _marked_methods(cls: type) -> Iterator[tuple[str, tuple[Mark, ...]]]:
    """Yield the names of the typed handlers of *cls* and their marks, in their order."""
    found: dict[str, tuple[Mark, ...]] = {}
    for base in reversed(cls.__mro__):
        for name, value in vars(base).items():
            _refuse_hidden(cls, name, value)
            if marks := marks_of(value):
                found[name] = marks
            elif name in found and not callable(value):
                del found[name]
    yield from found.items()


def _refuse_hidden(cls: type, name: str, value: Any) -> None:
    inner = [getattr(value, each, None) for each in ("fget", "func", "__func__")]
    if any(map(marks_of, inner)):
        reason = f"is no plain method: take @{type(value).__name__} away"
        raise HandlerError(f"{cls.__qualname__}.{name}", reason)


def _signature(cls: type, name: str, marks: Sequence[Mark]) -> Signature:
    """Return the signature of a typed handler; raise `HandlerError` if it can be none."""
    check_name(cls, name)
    method = inspect.getattr_static(cls, name)
    where = f"{cls.__qualname__}.{name}"
    if is_handler(method):
        raise HandlerError(where, "has a classic and a typed decorator: use two methods")
    signature = Signature.of(cls, name, method)
    if signature.streams and any(mark.kind is not Kind.RPC for mark in marks):
        raise HandlerError(where, "yields parts, which only the reply to a call can be: use @rpc")
    for each in [mark.event for mark in marks if mark.kind is Kind.EVENT]:
        takes = [parameter.hint for parameter in signature.parameters]
        if takes != [each] or not takes_object(each):
            reason = (
                f"must take one argument, annotated with {each.__name__}, which must be a "
                f"dataclass, a msgspec.Struct, a TypedDict or a pydantic model"
            )
            raise HandlerError(where, reason)
    return signature


def _refuse_twins(cls: type[Service]) -> None:
    """Raise `HandlerError` if two handlers take the same call: only one of them would answer."""
    seen: dict[tuple[str, str | None], str] = {}
    for route, attribute in cls.route_table.entries:
        if route.category != "rpc":
            continue
        other = seen.setdefault((route.type, route.name), attribute)
        if other in {attribute, "msg_describe"}:  # a service may have a `describe` of its own
            continue
        if cls._adapters & {other, attribute}:
            reason = f"and {other} both take the call {route.name!r}: only one could answer it"
            raise HandlerError(f"{cls.__qualname__}.{attribute}", reason)


def _check_published(cls: type[Service]) -> None:
    """Raise `SettingsError` if `publishes` names what can be no event."""
    given: Any = cls.publishes
    if isinstance(given, type) or not isinstance(given, (tuple, list)):
        text = f"{cls.__qualname__}.publishes must be a tuple of classes, not {given!r:.80}"
        raise SettingsError(text)
    for each in given:
        name = f"{cls.__qualname__}.publishes names {name_of(each)}, which"
        try:
            check_hint(each)
        except SettingsError as exc:
            raise SettingsError(f"{name} {exc}") from exc
        if not isinstance(each, type) or not takes_object(each):
            raise SettingsError(
                f"{name} must be a dataclass, a msgspec.Struct, a TypedDict or a pydantic model"
            )


def _bind(cls: type[Service], marks: Sequence[Mark]) -> None:
    """Set the eqk of *cls* by its exchange and queue, unless the class has one of its own."""
    if cls.queue is None:
        return
    if "eqk" in vars(cls):
        if {"exchange", "queue", "keys"} & vars(cls).keys():
            text = "has both eqk and exchange, queue or keys: leave one of them out"
            raise SettingsError(f"{cls.__qualname__} {text}")
        return
    name, _ = queue_name_and_flags(cls.queue)
    events = [mark.name for mark in marks if mark.kind is Kind.EVENT and mark.name]
    keys = dict.fromkeys([*([name] if name else []), *cls.keys, *events])
    cls.eqk = [(cls.exchange, [(cls.queue, key) for key in keys])]


# --- adapters

_LIKE_OURS = (TimeoutError, NoRoute, ConnectionLost)
"""Exceptions of a handler that would tell its caller, by their names, that the call was lost.

They include the failures of calls that the handler has made."""


def _adapter(cls: type, name: str, mark: Mark) -> Adapter:
    """Return the classic handler for the messages that *mark* describes."""
    make, decorate, type_ = _MAKERS[mark.kind]
    signature = vars(cls)["signatures"][name]
    adapter = (_streaming if signature.streams else make)(name, signature, mark)
    method = inspect.getattr_static(cls, name)
    is_plain = isinstance(method, PlainFunction)  # then its policies are those of the function
    functools.update_wrapper(adapter, method.__func__ if is_plain else method)
    for each in ("__wrapped__", MARKS):  # the adapter has neither the signature nor the marks
        vars(adapter).pop(each, None)
    return decorate(type_, mark.name or name)(adapter)


def _serving(name: str, signature: Signature, mark: Mark) -> Adapter:
    raises = mark.raises

    def serve(self: Any, content: Any, reply: Any) -> Any:
        try:
            # Checking runs code of the user, such as __post_init__.  What that raises, other than
            # ValueError and TypeError, is treated as what the handler raises.
            args, kwds = signature.arguments(content.get("parameters", {}))
            value = getattr(self, name)(*args, **kwds)
        except BadParameters as exc:
            if exc.call:
                raise _of_call(exc) from exc
            raise
        except raises as exc:
            return _foreseen(exc, raises, reply)
        except _LIKE_OURS as exc:
            raise RemoteError(EXCEPTION, type(exc).__name__, str(exc)) from exc
        return signature.result(value)

    return serve


def _streaming(name: str, signature: Signature, mark: Mark) -> Adapter:
    raises = mark.raises

    def stream(self: Any, content: Any, reply: Any) -> Any:
        if not asks_for_parts(reply):
            return refusal(mark.name or name)
        with sender_of(self, reply) as sender:
            try:
                args, kwds = signature.arguments(content.get("parameters", {}))
                values = partial(getattr(self, name), *args, **kwds)
                sender.send_all(values, signature)
            except raises as exc:
                return _foreseen(exc, raises, sender.end)
            except BaseException as exc:
                error = _as_told(exc)
                if sender.fail(error):
                    return None
                if error is exc:
                    raise
                raise error from exc
            return None

    return stream


def _as_told(exc: BaseException) -> BaseException:
    """Return what *exc*, an exception of a handler, is to its caller."""
    if isinstance(exc, BadParameters) and exc.call:
        return _of_call(exc)
    if isinstance(exc, _LIKE_OURS):
        return RemoteError(EXCEPTION, type(exc).__name__, str(exc))
    return exc


def _obeying(name: str, signature: Signature, mark: Mark) -> Adapter:
    is_event = mark.kind is Kind.EVENT

    def obey(self: Any, content: Any) -> Any:
        if is_event:
            args, kwds = signature.only(content)
        else:
            args, kwds = signature.arguments(content.get("parameters", {}))
        try:
            return getattr(self, name)(*args, **kwds)
        except BadParameters as exc:
            if exc.call:
                raise _of_call(exc) from exc
            raise

    return obey


_MAKERS: dict[Kind, tuple[Callable[[str, Signature, Mark], Adapter], type[MessageHandler], str]] = {
    Kind.RPC: (_serving, RpcHandler, "command"),
    Kind.COMMAND: (_obeying, MessageHandler, "command"),
    Kind.EVENT: (_obeying, MessageHandler, "status"),
}


def _of_call(exc: BadParameters) -> RemoteError:
    """Return what *exc*, of a call that a handler has made, is to others: it was not their call."""
    return RemoteError(EXCEPTION, type(exc).__name__, f"in the call {exc.call!r}: {exc}")


def _foreseen(exc: Exception, raises: Sequence[type[Exception]], reply: Any) -> Any:
    """Reply with an exception that the interface of a call declares, or return it as the result."""
    kind = next(each for each in type(exc).__mro__ if each in raises)
    result = MessageResultException(kind.__name__, str(exc))
    try:
        # Classic callers do not read it; a typed client makes the exception of it again.
        result.body["_reserved"]["args"] = as_builtins(exc.args)
        reply(result)
    except (TypeError, ValueError, RecursionError):  # they have no form, or the encoder refuses it
        result.body["_reserved"].clear()
        return result
    return None
