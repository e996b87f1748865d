"""Producers: their methods are the network API, ``message_X`` and ``rpc_X`` for each message X."""

from __future__ import annotations

import contextvars
import logging
import os
import time
from collections import Counter
from collections.abc import Callable
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import gevent

from postage.addressing import Eks
from postage.encoding import Encoder, JsonEncoder, body_of
from postage.errors import SettingsError, TimeoutError  # noqa: A004 - the classic name
from postage.exchange import Exchange
from postage.fingerprint import FingerprintLike, complete
from postage.green import debug
from postage.green.amqp.frames import PropertiesTemplate
from postage.green.amqp.pair import Pair, pair_of
from postage.green.publishing import declare_exchange, publish, publish_confirmed
from postage.green.rpc.calls import Calls
from postage.green.rpc.pending import CallRequest
from postage.green.rpc.replies import collect
from postage.message import (
    Message,
    MessageCommand,
    MessageResult,
    MessageResultError,
    RpcCommand,
    result_from,
)
from postage.settings import Hup, Settings

if TYPE_CHECKING:
    from postage.statistics import ProducerStatistics

__all__ = ["GenericProducer", "RpcMethod"]

logger = logging.getLogger(__name__)

P = TypeVar("P")

PERSISTENT = 2
_TEMPLATE = PropertiesTemplate("message_id", "content_type", "delivery_mode", "timestamp")

# What __getattr__ serves: the prefix of the attribute, and that of its builder.  The order matters,
# rpc_queue_ before rpc_.
_PREFIXES = {
    "message_": "build_message_",
    "rpc_queue_": "build_rpc_",
    "rpc_": "build_rpc_",
}


class GenericProducer:
    """Sends messages and makes calls.

    Inherit it, set `eks`, and write a ``build_message_X`` or ``build_rpc_X`` method for each
    message that needs more than its parameters.  Then ``message_X(...)`` sends, and ``rpc_X(...)``
    calls and returns a result message; ``rpc_X.later(...)`` calls in the background and returns a
    greenlet.  Without a builder X is sent as a command with the arguments as its parameters: one
    positional as it is, several as a list, keywords as a dictionary.

    Making one connects, and declares every exchange in `eks`; it raises `ConnectionFailed` or
    `TopologyMismatch`.  A producer may be used by any greenlet, and by any native thread (each hub
    has connections of its own).  All sending methods switch greenlets, and take

    - ``_key``: send to the first exchange of `eks` with this key;
    - ``_eks``: send to exactly these ``[(Exchange, key), ...]``; then ``_key`` is ignored.
    """

    eks: Eks = [(Exchange, "nokey")]  # noqa: RUF012 - the classic form; never changed in place
    """Where messages go.  RPCs go to the first pair alone."""
    encoder_class: type[Encoder] = JsonEncoder
    vhost: str | None = None
    """The virtual host; None: ``messaging.global_vhost``."""
    hup: Hup | None = None
    """Host, user and password; None: ``messaging.global_hup``."""
    rpc_timeout: float = 30
    """Seconds that an RPC waits for its reply, at each try."""
    max_retry: int = 4
    """How often an RPC is sent again: when it timed out, or was lost with its connection.  It ends
    within ``rpc_timeout * (max_retry + 1)`` seconds, whatever happens."""
    confirm: bool = True
    """Sending returns when the broker has the message; what it could not take, or never answered as
    the connection was lost, is sent again.  False: it returns at once, and the message is lost when
    the connection breaks before the broker has read it, or when the broker fails or refuses it."""
    mandatory: bool = False
    """With `confirm`, a message that reaches no queue is an error, `NoRoute`.  Without it, nobody
    waits to get the error: the loss is logged, and counted in ``green.statistics()``."""
    publish_timeout: float = 30
    """Seconds within which the broker must have taken a message, reconnecting and all tries
    included; then `PublishFailed`.  Without `confirm`: how long to wait for a connection."""
    delivery_mode: int = PERSISTENT
    """2: messages survive a restart of the broker in a durable queue; 1: they do not."""

    def __init__(
        self,
        fingerprint: FingerprintLike | None = None,
        hup: Hup | None = None,
        vhost: str | None = None,
        *,
        settings: Settings | None = None,
    ) -> None:
        debug.enable_if_asked()
        self.settings = Settings.resolve(hup or self.hup, vhost or self.vhost, settings)
        self.vhost = self.settings.vhost
        self.fingerprint = complete(fingerprint)
        self.encoder = self.encoder_class()
        if not self.eks:
            raise SettingsError(f"{type(self).__name__}.eks is empty: give an (Exchange, key)")
        self.default_exchange = self.eks[0][0]
        self._counts: Counter[str] = Counter()
        for exchange, _ in self.eks:
            declare_exchange(self._pair, exchange)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.fingerprint['name']!r} to {list(self.eks)!r}>"

    def statistics(self) -> ProducerStatistics:
        """Return a picture of it; never switches."""
        from postage.statistics import ProducerStatistics  # noqa: PLC0415 - for who asks

        counts = self._counts
        return ProducerStatistics(
            name=str(self.fingerprint["name"]),
            sent=counts["sent"],
            failed=counts["failed"],
            calling=counts["calling"],
            succeeded=counts["success"],
            erred=counts["error"],
            excepted=counts["exception"],
        )

    def __getattr__(self, name: str) -> Any:
        prefix, builder, default = _parsed(name)
        if default is None:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        known = builder in self.__dict__ or hasattr(type(self), builder)  # not through __getattr__
        build = getattr(self, builder) if known else default
        if prefix == "message_":
            return partial(self._message_send, build)
        return RpcMethod(
            partial(self._prepared, build, _queue_only=prefix == "rpc_queue_"), self._make
        )

    @property
    def _pair(self) -> Pair:
        # Looked up each time: the calling greenlet may be one of another thread's hub.
        return pair_of(self.settings)

    # --- messages

    def message(self, /, *args: Any, **kwds: Any) -> None:
        """Send a generic message, type and name ``none``, with the arguments as they are."""
        self._message_send(Message, *args, **kwds)

    def forward(self, body: Any, *, _key: str | None = None, _eks: Eks | None = None) -> None:
        """Send *body* as it is; no fingerprint is added."""
        self._send(body, self._targets(_key, _eks))

    def serialize_text_file(self, filepath: str | os.PathLike[str]) -> dict[str, Any]:
        """Return ``{"name": ..., "content": [lines]}`` of a text file in UTF-8, to be sent."""
        with open(filepath, encoding="utf-8") as file:  # noqa: PTH123 - any path-like will do
            return {"name": os.path.basename(filepath), "content": file.readlines()}  # noqa: PTH119

    def _message_send(
        self,
        build: Callable[..., Message],
        /,  # every keyword without underscore is the user's
        *args: Any,
        _key: str | None = None,
        _eks: Eks | None = None,
        **kwds: Any,
    ) -> None:
        message = build(*args, **kwds)
        message.fingerprint(self.fingerprint)
        is_usual = _key is None and _eks is None
        self._send(message.body, self.eks if is_usual else self._targets(_key, _eks))

    def _send(self, body: Any, targets: Eks) -> None:
        encoded, pair = body_of(self.encoder, body), self._pair
        kind, now = self.encoder.content_type, int(time.time())
        properties = _TEMPLATE.render(pair.new_id(), kind, self.delivery_mode, now)
        how = publish_confirmed if self.confirm else publish
        deadline = time.monotonic() + self.publish_timeout
        if pair.declaring:
            pair.wait_declared(self.publish_timeout)
        for exchange, key in targets:
            logger.debug("--> %s: to (%s, %s): %s", type(self).__name__, exchange.name, key, body)
            publication = exchange, key, properties, encoded, self.mandatory
            try:
                how(pair, publication, limit=deadline - time.monotonic())
            except BaseException:
                self._counts["failed"] += 1
                raise
            self._counts["sent"] += 1

    def _targets(self, key: str | None, eks: Eks | None) -> Eks:
        if eks is not None:
            if not eks:
                raise SettingsError("_eks is empty: give at least one (Exchange, key)")
            return eks
        return self.eks if key is None else [(self.default_exchange, key)]

    # --- calls

    def _prepared(
        self,
        build: Callable[..., Message],
        /,  # every keyword without underscore is the user's
        *args: Any,
        _key: str | None = None,
        _eks: Eks | None = None,
        _timeout: float | None = None,
        _max_retry: int | None = None,
        _queue_only: bool = False,
        **kwds: Any,
    ) -> tuple[CallRequest, float, int | None]:
        """Return a call, built and encoded, its limit and its retries; None: the queue only."""
        message = build(*args, **kwds)
        message.fingerprint(self.fingerprint)
        exchange, key = self._targets(_key, _eks)[0]
        body = body_of(self.encoder, message.body)
        logger.debug(
            "--> %s: call to (%s, %s): %s", type(self).__name__, exchange.name, key, message
        )
        request = CallRequest(exchange, key, body, self.encoder.content_type)
        retries = self.max_retry if _max_retry is None else _max_retry
        return request, self._timeout(_timeout), None if _queue_only else retries

    def _make(self, call: tuple[CallRequest, float, int | None]) -> MessageResult | str:
        """Make a call, and return its result or the name of its queue; switches."""
        request, timeout, retries = call
        if retries is None:
            return self._calls.send_only(request, timeout=timeout)
        self._counts["calling"] += 1
        try:
            reply = self._calls.call(request, timeout=timeout, max_retry=retries)
        finally:
            self._counts["calling"] -= 1
        result = reply if isinstance(reply, MessageResult) else self._result(reply.body)[1]
        self._counts[result.body["content"]["type"]] += 1
        return result

    def consume_rpc(
        self,
        queue: str,
        result_len: int = 1,
        callback: Callable[[Any], object] | None = None,
        timeout: float | None = None,
    ) -> list[MessageResult]:
        """Wait for *result_len* replies on *queue*, which ``rpc_X(_queue_only=True)`` returned.

        Returns the result messages; *callback* gets each decoded reply.  A malformed reply is a
        `MessageResultError`.  After *timeout* seconds (default `rpc_timeout`) raises `TimeoutError`
        with the results so far.
        """
        timeout = self._timeout(timeout)
        replies, complete_ = collect(self._pair, queue, result_len, timeout=timeout)
        results = []
        for reply in replies:
            decoded, result = self._result(reply.body)
            results.append(result)
            if callback is not None:
                callback(decoded)
        if not complete_:
            text = f"{len(results)} of {result_len} replies came within {timeout:g} s"
            raise TimeoutError(text, tuple(results))
        return results

    @property
    def _calls(self) -> Calls:
        return self._pair.companion(Calls)

    def _timeout(self, given: float | None) -> float:
        return self.rpc_timeout if given is None or given < 0 else given

    def _result(self, body: bytes) -> tuple[Any, MessageResult]:
        """Return the decoded reply and the result message in it."""
        try:
            decoded = self.encoder.decode(body)
        except Exception as exc:  # an encoder of the user's may raise anything
            logger.warning("A reply could not be decoded: %s", exc)
            return None, MessageResultError(f"Malformed reply {body[:200]!r}")
        return decoded, result_from(decoded)


@lru_cache(maxsize=1024)
def _parsed(name: str) -> tuple[str, str, Callable[..., MessageCommand] | None]:
    """Return what ``producer.name`` is: its prefix, its builder's name, and what builds without."""
    for prefix, of_builder in _PREFIXES.items():
        what = name.removeprefix(prefix)
        if what and what != name:
            kind = MessageCommand if prefix == "message_" else RpcCommand
            return prefix, of_builder + what, partial(_command, kind, what)
    return "", "", None


def _command(kind: type[MessageCommand], name: str, /, *args: Any, **kwds: Any) -> MessageCommand:
    """Build the command *name*, with the arguments of a call as its parameters."""
    if not args and not kwds:
        return kind(name)
    if not args:
        return kind(name, kwds["parameters"] if kwds.keys() == {"parameters"} else kwds)
    if kwds:
        return kind(name, {"args": list(args), "kwds": kwds})
    return kind(name, args[0] if len(args) == 1 else list(args))


class RpcMethod(Generic[P]):
    """Makes the call X of a producer; with the arguments of its builder, and ``_timeout`` etc.

    *prepare* turns them into what *make* takes; only *make* switches.
    """

    __slots__ = ("_make", "_prepare")

    def __init__(self, prepare: Callable[..., P], make: Callable[[P], Any]) -> None:
        self._prepare, self._make = prepare, make

    def __call__(self, /, *args: Any, **kwds: Any) -> Any:
        """Call, and wait for the result; switches."""
        return self._make(self._prepare(*args, **kwds))

    def later(self, /, *args: Any, **kwds: Any) -> gevent.Greenlet[..., Any]:
        """Begin the call, and return a greenlet that ends with it; never switches.

        Its ``get()`` waits for the result message, ``ready()`` tells whether there is one, and
        ``gevent.wait`` waits for many.  The limits of the call hold from when the greenlet begins,
        which is at the next turn of the hub; to kill it gives the call up.  Raises what building
        and encoding the message raises.
        """
        call = self._prepare(*args, **kwds)
        # gevent gives a new greenlet an empty context: the deadline of a running handler goes along
        return gevent.spawn(contextvars.copy_context().run, self._make, call)
