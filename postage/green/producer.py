"""Producers send messages and make calls, each by its name or by a method of that name."""

from __future__ import annotations

import contextvars
import logging
import os
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, cast, overload

import gevent

from postage.addressing import Eks, chosen
from postage.around import Around
from postage.attributes import PRODUCER
from postage.builders import Builder, check_built, methods_of, parsed
from postage.encoding import Encoder, Envelopes, Forwarded, JsonEncoder, too_large
from postage.errors import EncodingError, SettingsError
from postage.exchange import Exchange
from postage.fingerprint import NAMELESS, FingerprintLike, complete, renew_after_forks
from postage.green.amqp.hub_logging import HubLogger
from postage.green.amqp.pair import Pair
from postage.green.handling.current import propagation, sender_in_hand
from postage.green.handling.watching import outgoing_message, watched_call, watched_sending
from postage.green.publishing import (
    declare_exchange,
    properties_of,
    properties_with,
    publish,
    publish_confirmed,
)
from postage.green.rpc.pending import CallRequest, PreparedCall
from postage.green.rpc.replies import ReplyCollector, result_of
from postage.green.runtime import runtime_of
from postage.message import (
    ERROR,
    EXCEPTION,
    SUCCESS,
    Message,
    MessageCommand,
    MessageResult,
    MessageResultException,
    RpcCommand,
    command_from,
)
from postage.send_options import (
    CALL_OPTIONS,
    MESSAGE_OPTIONS,
    MessageHeaders,
    SendOptions,
    given,
    options_from,
    split,
)
from postage.settings import Hup, Settings, enable_debug_log
from postage.values import MAX_BODY, check_values

if TYPE_CHECKING:
    from postage.statistics_types import ProducerStatistics

__all__ = ["GenericProducer", "RpcMethod"]

logger = HubLogger(__name__)


class RpcMethod:
    """The attribute ``rpc_X`` of a producer: makes the call X at once, or in the background.

    It takes the arguments of the builder of X and the options of `GenericProducer.call`.  With
    ``_queue_only=True`` it only sends the request, and returns the name of the queue for the reply
    (see `GenericProducer.consume_rpc`).
    """

    __slots__ = ("_build", "_producer")

    def __init__(self, build: Builder, producer: GenericProducer) -> None:
        self._build, self._producer = build, producer

    @overload
    def __call__(self, /, *args: Any, _queue_only: Literal[True], **kwds: Any) -> str: ...

    @overload
    def __call__(
        self,
        /,
        *args: Any,
        _key: str | None = None,
        _eks: Eks | None = None,
        _timeout: float | None = None,
        _max_retry: int | None = None,
        _headers: MessageHeaders | None = None,
        _priority: int | None = None,
        _expiration: float | None = None,  # for message_X: see `GenericProducer.__getattr__`
        _message_id: str | None = None,
        _delivery_mode: int | None = None,
        _app_id: str | None = None,
        **kwds: Any,
    ) -> MessageResult: ...

    def __call__(self, /, *args: Any, **kwds: Any) -> MessageResult | str:
        """Call and return the result; switches."""
        producer = self._producer
        return producer._make_call(producer._prepare_call(self._build, *args, **kwds))  # noqa: SLF001

    def later(self, /, *args: Any, **kwds: Any) -> gevent.Greenlet[..., MessageResult]:
        """Start the call in the background; return its greenlet.  Never switches.

        ``greenlet.get()`` waits for the result message, ``ready()`` returns whether there is one,
        and ``gevent.wait`` waits for many.  The timeout of the call begins when the greenlet runs,
        in the next turn of the hub.  ``kill()`` gives the call up.  Raises what building and
        encoding the message raises.
        """
        call = self._producer._prepare_call(self._build, *args, **kwds)  # noqa: SLF001
        # gevent gives a new greenlet an empty context.  This copy keeps the deadline of the request
        # that the caller handles.
        make = self._producer._make_call  # noqa: SLF001
        return gevent.spawn(contextvars.copy_context().run, make, call)


class _QueueMethod(RpcMethod):
    """The attribute ``rpc_queue_X``: ``rpc_X`` with ``_queue_only=True``."""

    __slots__ = ()

    def __call__(self, /, *args: Any, **kwds: Any) -> Any:
        return super().__call__(*args, _queue_only=True, **kwds)

    def later(self, /, *args: Any, **kwds: Any) -> Any:
        return super().later(*args, _queue_only=True, **kwds)


class _SendingMethod:
    """The attribute *name* of the producers of the class *kind*, from its first use on.

    If only ``__getattr__`` made it, Python would first search all classes in vain and build an
    error, at each use.
    """

    def __init__(self, kind: type[GenericProducer], name: str) -> None:
        self._kind, self._name = kind, name
        self._prefix, self._builder, default = parsed(name)
        if default is None:
            raise AttributeError(f"{kind.__name__!r} object has no attribute {name!r}")
        self._default = default

    def __get__(self, producer: Any, kind: Any = None) -> Any:
        if type(producer) is not self._kind:
            # Another base of a derived class may have a method of this name.  Otherwise this raises
            # AttributeError, and Python calls `__getattr__`.
            return getattr(super(self._kind, kind if producer is None else producer), self._name)
        build, builder = self._default, self._builder
        if builder in producer.__dict__ or hasattr(self._kind, builder):
            build = getattr(producer, builder)
        return _METHODS[self._prefix](build, producer)


_METHODS: dict[str, Callable[[Builder, Any], Any]] = {
    "message_": lambda build, producer: partial(producer._send_message, build),  # noqa: SLF001
    "rpc_": RpcMethod,
    "rpc_queue_": _QueueMethod,
}
MOST_ATTRIBUTES = 1000
"""Attributes that a class of producers gets at most: names may be made from data without end."""


class GenericProducer(ReplyCollector):
    """Sends messages and makes calls.

    Inherit it and set `eks`.  Write a ``build_message_X`` or ``build_rpc_X`` method for each
    message X that needs more than its parameters.  Then:

    - ``send("X", ...)`` or ``message_X(...)`` sends X;
    - ``call("X", ...)`` or ``rpc_X(...)`` calls X and returns a result message;
    - ``rpc_X.later(...)`` calls in the background and returns a greenlet.

    Without a builder, X is sent as a command with the arguments as its parameters: a single
    positional argument as it is, several as a list, keywords as a dictionary.

    Making a producer connects and declares every exchange in `eks`; it raises `ConnectionFailed` or
    `TopologyMismatch`.  A producer may be used by any greenlet, and by any native thread (each hub
    has connections of its own).  All sending methods switch greenlets, and take these options:

    - ``_key``: send to the first exchange of `eks` with this key;
    - ``_eks``: send to exactly these ``[(Exchange, key), ...]``; then ``_key`` is ignored.

    Calls also take ``_timeout`` (see `rpc_timeout`) and ``_max_retry`` (see `max_retry`).  Further
    options are ``_headers``, ``_priority``, ``_expiration`` (seconds; not of calls),
    ``_message_id``, ``_delivery_mode`` and ``_app_id``: see docs/producers.md.

    *settings* say where the broker is, instead of *hup*, *vhost*, attributes and environment.
    """

    eks: Eks = [(Exchange, "nokey")]  # noqa: RUF012 - the classic form; never changed in place
    """Where messages go: exchanges and keys.  Calls go to the first pair only."""
    encoder_class: type[Encoder] = JsonEncoder
    vhost: str | None = None
    """The virtual host; None: ``messaging.global_vhost``."""
    hup: Hup | None = None
    """Host, user and password; None: ``messaging.global_hup``."""
    rpc_timeout: float = 30
    """Seconds that each try of a call waits for its reply."""
    max_retry: int = 4
    """How often a call is sent again when it has timed out or was lost with its connection.  It
    ends within ``rpc_timeout * (max_retry + 1)`` seconds in any case."""
    confirm: bool = True
    """True: sending returns when the broker has confirmed the message.  A message that the broker
    could not accept, or did not confirm before the connection was lost, is sent again.

    False: sending returns at once.  The message is lost if the connection breaks before the broker
    has read it, or if the broker fails or refuses it."""
    mandatory: bool = False
    """Whether a message that reaches no queue is an error.  With `confirm`, sending raises
    `NoRoute`.  Without, the loss is logged, and counted in ``green.statistics()``."""
    publish_timeout: float = 30
    """Seconds within which the broker must confirm a message, including reconnecting and all tries;
    then sending raises `PublishFailed`.  Without `confirm`: how long to wait for a connection."""
    delivery_mode: int = 2
    """2: messages in a durable queue survive a restart of the broker; 1: they do not."""
    send_user_id: bool = False
    """Name our user in each message, which the broker verifies: for rules of `remote_control`."""
    max_body: int | None = MAX_BODY
    """Bytes of the largest message or request; None: no limit.  Processors and brokers refuse
    larger ones.  Sending one raises `EncodingError`; a call ends with an exception result of that
    name."""

    around: Sequence[Around] = ()
    """Hooks around the sending of each message and call, the outermost first: see `Around`.  Set it
    on the class before a producer is made, or on a producer."""

    def __init__(
        self,
        fingerprint: FingerprintLike | None = None,
        hup: Hup | None = None,
        vhost: str | None = None,
        *,
        settings: Settings | None = None,
    ) -> None:
        enable_debug_log()
        check_values(self, PRODUCER)
        propagation.used |= bool(self.around)
        if not self.eks:
            raise SettingsError(f"{type(self).__name__}.eks is empty: give an (Exchange, key)")
        hup = self.hup if hup in (None, {}) else hup
        self.settings = Settings.resolve(hup, vhost or self.vhost, settings)
        self.vhost = self.settings.vhost
        self.fingerprint = complete(fingerprint)
        renew_after_forks(self)
        self.encoder, self._envelopes = self.encoder_class(), Envelopes()
        self.default_exchange = self.eks[0][0]
        self._counts = dict.fromkeys(("sent", "failed", "calling", SUCCESS, ERROR, EXCEPTION), 0)
        for exchange, _ in self.eks:
            declare_exchange(self._pair, exchange)

    def _renew(self) -> None:
        self.fingerprint = complete(self.fingerprint)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.fingerprint['name']!r} to {list(self.eks)!r}>"

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute; raise `SettingsError` for a value that cannot be used."""
        if name in PRODUCER:
            PRODUCER[name](f"{type(self).__name__}.{name}", value)
            propagation.used |= name == "around"
        super().__setattr__(name, value)

    def statistics(self) -> ProducerStatistics:
        """Return a snapshot of what this producer has sent and called; never switches."""
        from postage.statistics_types import ProducerStatistics  # noqa: PLC0415 - rarely needed

        return ProducerStatistics.of(str(self.fingerprint["name"]), self._counts)

    # Declared as RpcMethod for type checkers and editors: a union with the type of message_X would
    # make the result of every rpc_X unusable without a cast.
    def __getattr__(self, name: str) -> RpcMethod:
        kind = type(self)
        method = _SendingMethod(kind, name)
        is_ours = kind.__getattr__ is GenericProducer.__getattr__
        if is_ours and len(vars(kind)) < MOST_ATTRIBUTES:
            setattr(kind, name, method)
        return cast("RpcMethod", method.__get__(self))

    def __dir__(self) -> set[str]:
        """Return the names of all attributes, including those that builders add."""
        names = set(super().__dir__())
        return names.union(methods_of(names))

    def _builder(self, name: str, default: Builder) -> Builder:
        # hasattr(self, ...) would call __getattr__, which is slow.
        is_own = name in self.__dict__ or hasattr(type(self), name)
        return cast("Builder", getattr(self, name)) if is_own else default

    @property
    def _pair(self) -> Pair:
        # Not cached, because the calling greenlet may belong to the hub of another thread.
        return runtime_of(self.settings).pair

    # --- messages

    def send(
        self,
        name: str,
        /,
        *args: Any,
        _key: str | None = None,
        _eks: Eks | None = None,
        _headers: MessageHeaders | None = None,
        _priority: int | None = None,
        _expiration: float | None = None,
        _message_id: str | None = None,
        _delivery_mode: int | None = None,
        _app_id: str | None = None,
        **kwds: Any,
    ) -> None:
        """Send the message *name*, as ``message_X`` does; see the class for all arguments."""
        build = self._builder(f"build_message_{name}", partial(command_from, MessageCommand, name))
        kwds |= given(_headers, _priority, _expiration, _message_id, _delivery_mode, _app_id)
        self._send_message(build, *args, _key=_key, _eks=_eks, **kwds)

    def message(self, /, *args: Any, **kwds: Any) -> None:
        """Send a generic message, type and name ``none``, with the arguments as they are."""
        self._send_message(Message, *args, **kwds)

    def forward(
        self,
        body: Any,
        *,
        _key: str | None = None,
        _eks: Eks | None = None,
        _headers: MessageHeaders | None = None,
        _priority: int | None = None,
        _expiration: float | None = None,
        _message_id: str | None = None,
        _delivery_mode: int | None = None,
        _app_id: str | None = None,
    ) -> None:
        """Send *body* as it is; no fingerprint is added."""
        named = given(_headers, _priority, _expiration, _message_id, _delivery_mode, _app_id)
        self._publish(Forwarded(body), self._targets(_key, _eks), options_from(named))

    def serialize_text_file(self, filepath: str | os.PathLike[str]) -> dict[str, Any]:
        """Return ``{"name": ..., "content": [lines]}`` of a UTF-8 text file, to be sent."""
        with open(filepath, encoding="utf-8") as file:  # noqa: PTH123 - any path-like will do
            return {"name": os.path.basename(filepath), "content": file.readlines()}  # noqa: PTH119

    def _send_message(
        self,
        build: Builder,
        /,  # a keyword without a leading underscore is a parameter of the message
        *args: Any,
        _key: str | None = None,
        _eks: Eks | None = None,
        **kwds: Any,
    ) -> None:
        options = None
        if kwds and min(kwds) < "`":  # as all names that begin with "_" are
            kwds, options = split(build, kwds, MESSAGE_OPTIONS)
        message: Any = build(*args, **kwds)
        if not isinstance(message, Message):
            check_built(build, message)
        is_usual = _key is None and _eks is None
        self._publish(message, self.eks if is_usual else self._targets(_key, _eks), options)

    def _publish(
        self,
        message: Message | Forwarded,
        targets: Eks,
        options: SendOptions | None,
        encoded: bytes | None = None,  # already: hooks watch it
    ) -> None:
        sender = own if (own := self.fingerprint)["name"] != NAMELESS else sender_in_hand(own)
        if encoded is None:
            encoded = self._envelopes.encode(self.encoder, message, sender)
            if propagation.used:
                options = propagation.extended(options)
                if self.around:
                    outgoing = outgoing_message(self, message, encoded, targets)
                    send = partial(self._publish, message, targets, encoded=encoded)
                    watched_sending(self, outgoing, options, send)
                    return
        pair = self._pair
        if (limit := self.max_body) is not None and len(encoded) > limit:
            self._counts["failed"] += 1
            raise too_large(encoded, type(self).__name__, limit)
        content_type, now = self.encoder.content_type, int(time.time())
        render = properties_of(self.settings, named=self.send_user_id)  # it cannot be pickled
        properties = render(pair.new_id(), content_type, self.delivery_mode, now)
        if options is not None:
            properties = properties_with(options, properties)
        publish_ = publish_confirmed if self.confirm else publish
        deadline = time.monotonic() + self.publish_timeout
        if pair.declaring:
            pair.wait_declared(self.publish_timeout)
        for exchange, key in targets:
            if logger.isEnabledFor(logging.DEBUG):
                name = type(self).__name__
                message.fingerprint(sender)
                logger.debug("--> %s: to (%s, %s): %s", name, exchange.name, key, message.body)
            publication = exchange, key, properties, encoded, self.mandatory
            try:
                publish_(pair, publication, limit=deadline - time.monotonic())
            except BaseException:
                self._counts["failed"] += 1
                raise
            self._counts["sent"] += 1

    def _targets(self, key: str | None, eks: Eks | None) -> Eks:
        """Return the exchanges and keys that the options ``_key`` and ``_eks`` choose."""
        return chosen(eks, key, self.default_exchange) or self.eks

    # --- calls

    def call(
        self,
        name: str,
        /,
        *args: Any,
        _key: str | None = None,
        _eks: Eks | None = None,
        _timeout: float | None = None,
        _max_retry: int | None = None,
        _headers: MessageHeaders | None = None,
        _priority: int | None = None,
        _message_id: str | None = None,
        _delivery_mode: int | None = None,
        _app_id: str | None = None,
        **kwds: Any,
    ) -> MessageResult:
        """Call *name*, as ``rpc_X`` does, and return the result; switches.

        Waits at most *_timeout* seconds for each of ``_max_retry + 1`` tries.  Without a reply, the
        result is an exception result that says why; `MessageResult.unwrap` raises it.  See the
        class for all arguments.
        """
        build = self._builder(f"build_rpc_{name}", partial(command_from, RpcCommand, name))
        kwds |= {"_key": _key, "_eks": _eks, "_timeout": _timeout, "_max_retry": _max_retry}
        kwds |= given(_headers, _priority, None, _message_id, _delivery_mode, _app_id)
        return cast("MessageResult", self._make_call(self._prepare_call(build, *args, **kwds)))

    def _prepare_call(
        self,
        build: Builder,
        /,  # a keyword without a leading underscore is a parameter of the call
        *args: Any,
        _key: str | None = None,
        _eks: Eks | None = None,
        _timeout: float | None = None,
        _max_retry: int | None = None,
        _queue_only: bool = False,
        **kwds: Any,
    ) -> PreparedCall:
        """Build and encode a call; never switches."""
        options = None
        if kwds and min(kwds) < "`":  # as above
            kwds, options = split(build, kwds, CALL_OPTIONS)
        message: Any = build(*args, **kwds)
        if not isinstance(message, Message) or message.category != "rpc":
            check_built(build, message, "rpc")
        sender = own if (own := self.fingerprint)["name"] != NAMELESS else sender_in_hand(own)
        body = self._envelopes.encode(self.encoder, message, sender)
        is_usual = _key is None and _eks is None
        exchange, key = (self.eks if is_usual else self._targets(_key, _eks))[0]
        if logger.isEnabledFor(logging.DEBUG):
            name = type(self).__name__
            message.fingerprint(sender)
            logger.debug("--> %s: call to (%s, %s): %s", name, exchange.name, key, message)
        request = CallRequest(exchange, key, body, self.encoder.content_type, options)
        if propagation.used:
            request.options, request.message = propagation.extended(options), message
        retries = self.max_retry
        if _max_retry is not None:
            PRODUCER["max_retry"]("_max_retry", _max_retry)
            retries = _max_retry
        timeout = self.rpc_timeout if _timeout is None else self._timeout(_timeout)
        return request, timeout, retries, _queue_only

    def _make_call(self, call: PreparedCall) -> MessageResult | str:
        """Make a call; return its result, or the name of its reply queue; switches."""
        (request, timeout, retries, queue_only), counts = call, self._counts
        if propagation.used and self.around and not request.is_watched:
            return watched_call(self, request, partial(self._make_call, call))
        calls = runtime_of(self.settings).calls
        if (limit := self.max_body) is not None and len(request.body) > limit:
            error = too_large(request.body, type(self).__name__, limit)
            if queue_only:
                raise error
            counts[EXCEPTION] += 1
            return MessageResultException(EncodingError.__name__, str(error))
        if queue_only:
            return calls.send_only(request, timeout=timeout)
        counts["calling"] += 1
        try:
            got = calls.call(request, timeout=timeout, max_retry=retries)
        finally:
            counts["calling"] -= 1
        result = got if isinstance(got, MessageResult) else result_of(self.encoder, got.body)[1]
        counts[result.result_type] += 1
        return result
