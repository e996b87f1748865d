"""Typed clients: calls of a service look like calls of its methods, also for type checkers.

How it works
------------
A client has a producer for the exchange and the queue of the service, and the signatures of its
class, which was examined when it was made.  A call sends its arguments as keywords, so a classic
processor understands it.  It returns the value of the result as the hint says, or raises: nothing
is returned that the caller has to look into first.
"""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Generic, NamedTuple, ParamSpec, TypeVar, cast

import gevent

from postage.addressing import QueueSpec, queue_name_and_flags
from postage.around import Around
from postage.encoding import too_large
from postage.errors import (
    BadParameters,
    ConnectionLost,
    NoRoute,
    RemoteError,
    SettingsError,
    TimeoutError,  # noqa: A004 - the classic name
)
from postage.exchange import Exchange
from postage.fingerprint import FingerprintLike
from postage.green.handling.current import propagation
from postage.green.handling.watching import watched_call
from postage.green.producer import GenericProducer, RpcMethod
from postage.green.rpc.pending import PreparedCall
from postage.green.rpc.replies import result_of
from postage.green.runtime import runtime_of
from postage.message import (
    CONNECTION_LOST,
    EXCEPTION,
    NO_ROUTE,
    SUCCESS,
    TIMEOUT,
    MessageResult,
    MessageStatus,
    RpcCommand,
    command_from,
)
from postage.send_options import MessageHeaders
from postage.services.conversion import as_builtins
from postage.services.decorators import Kind, Mark
from postage.services.service import Service, examined
from postage.services.signatures import Signature
from postage.services.streamed_calls import Parts, PartStream
from postage.settings import Settings

__all__ = ["Events", "Later", "client", "events", "later", "options"]

Interface = TypeVar("Interface")
P = ParamSpec("P")
R = TypeVar("R")

_given: contextvars.ContextVar[Mapping[Any, Mapping[str, Any]] | None] = contextvars.ContextVar(
    "given", default=None
)
"""The options in this context, by client, or by one call or command of a client."""
_NONE: Mapping[str, Any] = {}
_FOR_COMMANDS = frozenset({"_headers", "_priority"})
"""The options that commands have, too."""


class _ClientProducer(GenericProducer):
    def call_of(self, name: str) -> RpcMethod:
        """Return the function that makes the call *name*, whatever ``rpc_X`` means for the name."""
        build = partial(command_from, RpcCommand, name)
        return RpcMethod(build, self)

    def stream_of(self, name: str) -> Callable[..., Parts[Any]]:
        """Return the function that opens the stream *name*: see `_RemoteStream`."""
        build = partial(command_from, RpcCommand, name)

        def open_stream(value: Callable[[MessageResult], Any], /, **kwds: Any) -> Parts[Any]:
            return self._open_stream(self._prepare_call(build, **kwds), value)

        return open_stream

    def _open_stream(self, call: PreparedCall, value: Callable[[MessageResult], Any]) -> Parts[Any]:
        request, timeout, retries, _ = call
        if propagation.used and self.around and not request.is_watched:
            return watched_call(self, request, partial(self._open_stream, call, value))
        if (limit := self.max_body) is not None and len(request.body) > limit:
            raise too_large(request.body, type(self).__name__, limit)
        runtime = runtime_of(self.settings)

        def result(body: bytes) -> MessageResult:
            return result_of(self.encoder, body)[1]

        parts = Parts(runtime.calls, PartStream(runtime.pair, request), timeout, result, value)
        parts.open(retries)
        return parts


class _Callee(NamedTuple):
    """What a client knows of the service that it calls."""

    name: str
    """The qualified name of the interface."""
    exchange: type[Exchange]
    key: str
    marks: Mapping[str, tuple[Mark, ...]]
    signatures: Mapping[str, Signature]

    @classmethod
    def of(
        cls, interface: Any, exchange: type[Exchange] | None, queue: QueueSpec | None
    ) -> _Callee:
        """Return what *interface* says; *exchange* and *queue*, if given, replace its own."""
        if not isinstance(interface, type):
            raise SettingsError(f"client() takes a class with signatures, not {interface!r:.80}")
        name = interface.__qualname__
        if issubclass(interface, Service):
            marks, signatures = interface.marks, interface.signatures
        else:
            marks, signatures = examined(interface)
        if all(mark.kind is Kind.EVENT for each in marks.values() for mark in each):
            text = "has no method with @rpc or @command, so a client has nothing to call"
            raise SettingsError(f"{name} {text}")
        # A method may have the name of one of these, in a class that is no Service.
        known = {each: getattr(interface, each, None) for each in _ADDRESS if each not in marks}
        exchange, queue = exchange or known.get("exchange"), queue or known.get("queue")
        if queue is None:
            text = (
                "has no exchange and queue, so a client does not know where to send: set both, or "
                "write client(..., exchange=..., queue=...)"
            )
            raise SettingsError(f"{name} {text}")
        queue_name, _ = queue_name_and_flags(queue)
        key = queue_name or next(iter(known.get("keys") or ()), "")
        return cls(name, exchange or Exchange, key, marks, signatures)


_ADDRESS = ("exchange", "queue", "keys")


class _Client:
    """What `client` returns: the typed handlers of a service, as functions that call them."""

    def __init__(
        self,
        callee: _Callee,
        settings: Settings | None,
        fingerprint: FingerprintLike | None,
        around: Sequence[Around],
    ) -> None:
        self._callee = callee
        attributes = {"eks": [(callee.exchange, callee.key)], "around": around}
        kind = type(f"{callee.name}Client", (_ClientProducer,), attributes)
        self._producer: _ClientProducer = kind(fingerprint, settings=settings)

    def __repr__(self) -> str:
        return f"<client of {self._callee.name} by {self._producer!r}>"

    def __getattr__(self, name: str) -> Any:
        if "_callee" not in self.__dict__:  # a copy that is being made
            raise AttributeError(name)
        for mark in self._callee.marks.get(name, ()):
            if mark.kind is not Kind.EVENT:
                signature = self._callee.signatures[name]
                kind = _RemoteStream if signature.streams else _KINDS[mark.kind]
                method = kind(self, name, mark, signature)
                self.__dict__[name] = method  # found at once from now on
                return method
        raise AttributeError(f"{self._callee.name} has no call or command {name!r}")

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *self._callee.signatures})


class _Remote:
    """One method of a client."""

    def __init__(self, owner: _Client, name: str, mark: Mark, signature: Signature) -> None:
        self._owner, self._signature, self._mark = owner, signature, mark
        self._producer = owner._producer  # noqa: SLF001 - a part of the client
        self.__name__ = name  # as functions have it; frameworks name what they call by it
        self._name = mark.name or name
        self._call = self._producer.call_of(self._name)

    def _options(self) -> Mapping[str, Any]:
        given = _given.get()
        if given is None:
            return _NONE
        return {**given.get(self._owner, _NONE), **given.get(self, _NONE)}

    def _parameters(self, args: tuple[Any, ...], kwds: dict[str, Any]) -> Any:
        try:
            return self._signature.sent(args, kwds)
        except BadParameters as exc:
            raise BadParameters(exc.path, exc.reason, call=self._name) from None


class _RemoteCommand(_Remote):
    def __call__(self, /, *args: Any, **kwds: Any) -> None:
        chosen = {k: value for k, value in self._options().items() if k in _FOR_COMMANDS}
        parameters = self._parameters(args, kwds)
        self._producer.send(self._name, parameters=parameters, **chosen)


class _RemoteCall(_Remote):
    def __call__(self, /, *args: Any, **kwds: Any) -> Any:
        parameters = self._parameters(args, kwds)
        return self.value(self._call(parameters=parameters, **self._options()))

    def later(self, /, *args: Any, **kwds: Any) -> Later[Any]:
        parameters = self._parameters(args, kwds)
        return Later(self._call.later(parameters=parameters, **self._options()), self.value)

    def value(self, result: MessageResult) -> Any:
        """Return the value of *result*, or raise what it stands for."""
        content = result._content  # noqa: SLF001 - it is ours
        if content["type"] != EXCEPTION:
            value = content["value"] if content["type"] == SUCCESS else result.unwrap()
            try:
                return self._signature.received(value)
            except Exception as exc:  # the classes in the hint are the user's
                reason = exc if isinstance(exc, BadParameters) else f"{type(exc).__name__}: {exc}"
                text = f"the reply does not fit the hint of {self._signature.where}: {reason}"
                raise RemoteError(EXCEPTION, "BadReply", text) from exc
        name, text = str(result.value), result.message
        exchange, key = self._producer.eks[0]
        if name == TIMEOUT:
            raise TimeoutError(text)
        if name == CONNECTION_LOST:
            raise ConnectionLost(text)
        if name == NO_ROUTE:
            raise NoRoute(exchange.name, key)
        if name == BadParameters.__name__:
            path, _, reason = str(text).partition(": ")
            raise BadParameters(path, reason, call=self._name)
        for kind in self._mark.raises:
            if kind.__name__ == name:
                raise self._made(kind, result)
        raise RemoteError(EXCEPTION, name, text)

    @staticmethod
    def _made(kind: type[Exception], result: MessageResult) -> Exception:
        """Return the exception of the server; a `RemoteError` if it cannot be made again."""
        args = result.body["_reserved"].get("args")
        error = RemoteError(EXCEPTION, kind.__name__, result.message)
        if not isinstance(args, list):
            return error
        try:
            return kind(*args)
        except Exception as exc:  # the class is the user's
            error.__cause__ = exc
            return error


class _RemoteStream(_RemoteCall):
    def __init__(self, owner: _Client, name: str, mark: Mark, signature: Signature) -> None:
        super().__init__(owner, name, mark, signature)
        self._open = self._producer.stream_of(self._name)

    def __call__(self, /, *args: Any, **kwds: Any) -> Parts[Any]:
        parameters = self._parameters(args, kwds)
        return self._open(self.value, parameters=parameters, **self._options())


_KINDS = {Kind.RPC: _RemoteCall, Kind.COMMAND: _RemoteCommand}


def client(  # noqa: PLR0913 - its options
    interface: Callable[..., Interface],
    *,
    exchange: type[Exchange] | None = None,
    queue: QueueSpec | None = None,
    settings: Settings | None = None,
    fingerprint: FingerprintLike | None = None,
    around: Sequence[Around] = (),
) -> Interface:
    """Return a client of the service *interface*: an object with its calls and its commands.

    For type checkers the client is an *interface*.  Its methods switch greenlets:

    * A call, such as ``stock.reserve("bolt", count=3)``, returns the value of the reply, or raises
      `BadParameters`; an exception class that the handler declares by ``raises``; `RemoteError` for
      any other failure of the handler; `NoRoute`; `TimeoutError` after all tries (see
      ``GenericProducer.rpc_timeout`` and ``max_retry``); or `ConnectionLost`, also if our own side
      has closed the connection.  Without a reply, and if the greenlet is killed, the service may
      have carried out the call.  A call with a stream returns `Parts`.
    * A command returns when the broker has confirmed it, and raises what ``GenericProducer.send``
      does.

    *interface* is the class of the service, or any other class whose methods have the same
    decorators and signatures, such as a ``typing.Protocol``.  No instance of it is made, and none
    of its code runs.  (Its hint is a callable because type checkers refuse a Protocol where a class
    is expected.)  *exchange* and *queue*: where the service listens, by default as the class says.
    *around*: hooks, as `GenericProducer.around`.  Making a client connects, as making a producer
    does.

    Raises `SettingsError` for what is no such class, `HandlerError` for its signatures, and what
    connecting raises.
    """
    callee = _Callee.of(interface, exchange, queue)
    return cast("Interface", _Client(callee, settings, fingerprint, around))


@contextmanager
def options(
    of: object,
    *,
    timeout: float | None = None,
    max_retry: int | None = None,
    headers: MessageHeaders | None = None,
    priority: int | None = None,
) -> Iterator[None]:
    """Give options to what a client sends in a ``with`` block, in this greenlet.

    *of*: the client, or one of its calls or commands, whose options replace those of the client.
    *timeout*: the seconds that each try of a call waits.  *max_retry*: how often a call is sent
    again.  *headers* and *priority*: those of calls and commands; see docs/producers.md.  Blocks
    may be nested: an inner one replaces the options that it names.

    Raises `SettingsError` if *of* is neither.  Never switches.
    """
    if not isinstance(of, (_Client, _Remote)):
        raise SettingsError(f"options() takes a client or a call of one, not {of!r:.80}")
    named = {
        "_timeout": timeout,
        "_max_retry": max_retry,
        "_headers": headers,
        "_priority": priority,
    }
    chosen = {name: value for name, value in named.items() if value is not None}
    before = _given.get() or {}
    token = _given.set({**before, of: {**before.get(of, {}), **chosen}})
    try:
        yield
    finally:
        _given.reset(token)


class Later(Generic[R]):
    """A call of a client in the background: see `later`."""

    __slots__ = ("_value", "greenlet")

    def __init__(
        self,
        greenlet: gevent.Greenlet[..., MessageResult],
        value: Callable[[MessageResult], R],
    ) -> None:
        self._value = value
        self.greenlet = greenlet
        """The greenlet that calls, for ``gevent.wait``; ``kill()`` gives the call up."""

    def ready(self) -> bool:
        """Return whether the call has ended; never switches."""
        return self.greenlet.ready()

    def get(self) -> R:
        """Wait until the call has ended; return or raise what the call would.  Switches.

        The timeout of the call limits the wait.  If the greenlet that waits is killed, the call
        goes on.
        """
        return self._value(self.greenlet.get())


def later(method: Callable[P, R]) -> Callable[P, Later[R]]:
    """Return a function that makes the call *method* of a client in the background.

    ``later(stock.reserve)("bolt")`` returns a `Later` at once and never switches; its ``get()``
    waits for the value.  Arguments that do not fit raise `BadParameters` at once.

    Raises `SettingsError` for what is no call of a client, and for a call with a stream.
    """
    if not isinstance(method, _RemoteCall) or isinstance(method, _RemoteStream):
        raise SettingsError(
            f"later() takes a call of a client that returns one value, not {method!r:.80}"
        )
    return method.later


class _EventProducer(GenericProducer):
    def build_message_event(self, name: str, content: dict[str, Any]) -> MessageStatus:
        message = MessageStatus(name)
        message.body["content"] = content
        return message


class Events:
    """Publishes events to an exchange: see `events`."""

    def __init__(self, producer: GenericProducer) -> None:
        self._producer = producer

    def publish(
        self,
        event: Any,
        *,
        name: str | None = None,
        key: str | None = None,
        headers: MessageHeaders | None = None,
    ) -> None:
        """Publish *event*, an object of any class that ``@event`` takes.  Switches.

        Returns when the broker has confirmed the message; if no queue is bound to its key, the
        broker drops the message without an error.  *name*: the name of the message, by default that
        of the class.  *key*: the routing key, by default the name.

        Raises `SettingsError` for a dictionary without a *name* and for an event that is no object
        with fields, TypeError for values that cannot be sent, and what ``GenericProducer.send``
        does, such as `PublishFailed` after its ``publish_timeout``.  If the greenlet is killed, the
        event may have been published.
        """
        if name is None and type(event) is dict:
            raise SettingsError("an event that is a dictionary needs its name: publish(..., name=)")
        name = name or type(event).__name__
        content = as_builtins(event)
        if not isinstance(content, dict):
            raise SettingsError(f"an event is an object with fields, not {event!r:.80}")
        self._producer.send("event", name, content, _key=key or name, _headers=headers)


def events(
    exchange: type[Exchange],
    *,
    settings: Settings | None = None,
    fingerprint: FingerprintLike | None = None,
    around: Sequence[Around] = (),
) -> Events:
    """Return a publisher of events to *exchange*.

    *around*: hooks, as `GenericProducer.around`.  Connects and declares the exchange, which
    switches, and raises what making a producer does.
    """
    attributes = {"eks": [(exchange, "")], "around": around}
    kind = type(f"{exchange.__name__}Events", (_EventProducer,), attributes)
    return Events(kind(fingerprint, settings=settings))
