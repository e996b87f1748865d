"""All errors that Postage raises on purpose; their base is `PostageError`.

Errors have their data as attributes, and their messages name a remedy.  An error is called *Lost*
if the broker or the network has ended a connection, and *Closed* if our own side has.
"""

from __future__ import annotations

import builtins
import re
from typing import Any, ClassVar

from postage.foreign_text import one_line

# fmt: off
__all__ = [
    "AckAndRestart", "AuthenticationFailed", "BadParameters", "BrokerUnreachable", "ChannelRefused",
    "ConnectionClosed", "ConnectionFailed", "ConnectionLost", "ConsumerCancelled", "DecodingError",
    "EncodingError", "ExitScheduler", "FilterError", "GaveUp", "GiveUp", "HandlerError",
    "IdentityTaken", "LookRefused", "MalformedMessage", "NoFreeChannel", "NoRoute", "NoSuchMessage",
    "NotAcknowledged", "NotHandling", "OperationTimeout", "PostageError", "PublishFailed",
    "RejectMessage", "RemoteError", "ReplayStopped", "RetryLater", "SettingsError",
    "TemporarilyRefused", "TimeoutError", "TlsFailed", "TopologyMismatch", "VhostRefused",
]
# fmt: on


class PostageError(Exception):
    """Base of every error that Postage raises on purpose; errors can be pickled and copied."""

    def __reduce__(self) -> tuple[Any, ...]:
        # By default, an exception is made again from its `args`, which lack the keyword arguments
        # that many classes need: the error would be lost on its way out of a process pool.
        return _remade, (type(self), self.args), vars(self)


def _remade(cls: type[PostageError], args: tuple[Any, ...]) -> PostageError:
    """Return an error of *cls* with *args*, without its constructor."""
    error = cls.__new__(cls)
    error.args = args  # a class that is also an OSError ignores those that are given to __new__
    return error


class SettingsError(PostageError, ValueError):
    """A setting, an address or an argument has a value that cannot be used."""


# --- connections and channels


class ConnectionFailed(PostageError):
    """No connection to *host*:*port* was possible; the cause is the error of the system or pika."""

    def __init__(self, text: str, *, host: str, port: int) -> None:
        super().__init__(one_line(text))
        self.host, self.port = host, port


class BrokerUnreachable(ConnectionFailed):
    """Nothing that speaks AMQP 0-9-1 answered at *host*:*port* within the connect timeout."""


class AuthenticationFailed(ConnectionFailed):
    """The broker refused *user* and its password."""

    def __init__(self, text: str, *, host: str, port: int, user: str) -> None:
        super().__init__(text, host=host, port=port)
        self.user = user


class TlsFailed(ConnectionFailed):
    """TLS failed: one side does not trust the certificate of the other, or does not speak TLS."""


class VhostRefused(ConnectionFailed):
    """The virtual host *vhost* does not exist, or the user may not enter it."""

    def __init__(self, text: str, *, host: str, port: int, vhost: str) -> None:
        super().__init__(text, host=host, port=port)
        self.vhost = vhost


class TemporarilyRefused(ConnectionFailed):
    """The broker accepts no connection now: a limit is reached, or the virtual host is down.

    *code* is AMQP's, such as 530, and the message quotes the broker.  The refusal may pass: with
    ``wait_for_broker``, the first connection waits for that.
    """

    def __init__(self, text: str, *, host: str, port: int, code: int) -> None:
        super().__init__(text, host=host, port=port)
        self.code = code


class ConnectionLost(PostageError):
    """The broker or the network ended the connection.  Trying again may help."""


class ConnectionClosed(PostageError):
    """Our own side closed the connection or channel.  Using it again is a bug in the caller."""


_TOO_LARGE = re.compile(r"message size \d+ is larger than (?:configured )?max size (\d+)")


class ChannelRefused(PostageError):
    """The broker refused a request, and closed the channel or even the connection for it.

    *code* is AMQP's, such as 404, and *text* the reason.  *what* is the exchange or queue that was
    declared, with its flags, or empty; *remedy* is what to do.
    """

    def __init__(self, code: int, text: str, *, what: str = "", remedy: str = "") -> None:
        reason = one_line(" ".join(text.split()))  # RabbitMQ's may have several lines
        remedy = _remedy(code, text) or remedy
        reason, advice = (reason.removesuffix("."), f".  {remedy}.") if remedy else (reason, "")
        super().__init__(f"the broker refused {what or 'it'} ({code}): {reason}{advice}")
        self.code, self.text, self.what, self.remedy = code, text, what, remedy

    @property
    def is_final(self) -> bool:
        """Whether asking again is useless: a permission is missing, or the broker cannot do it."""
        # RabbitMQ denies features by 541, which otherwise is an error of its own.
        denied = "is deprecated" in self.text or "feature flag is disabled" in self.text
        return denied or self.code in _FINAL

    def concerns(self, name: str, kind: str = "") -> bool:
        """Tell whether the broker names *name* as the reason.

        *kind* is ``"queue"`` or ``"exchange"``, both of which may have the same name; empty: any.
        """
        return (f"{kind} '{name}'" if kind else f"'{name}'") in self.text

    def was_caused_by(self, exchange: str, key: str, size: int) -> bool:
        """Tell whether a message of *size* bytes for *exchange* and *key* is what was refused.

        Publishers share a channel, and only the text tells whose message the broker refused.
        """
        if "topic '" in self.text:
            return f"topic '{key}' in exchange '{exchange}'" in self.text
        largest = self.largest_body
        if largest is not None:
            return size > largest
        # RabbitMQ names the default exchange so in its refusals.
        return f"exchange '{exchange or 'amq.default'}' in vhost" in self.text

    @property
    def largest_body(self) -> int | None:
        """Bytes of the largest body that the broker accepts, if it has refused a larger one."""
        match = _TOO_LARGE.search(self.text)
        return int(match[1]) if match else None

    def misses(self, name: str, kind: str = "") -> bool:
        """Tell whether the reason is that *name* does not exist (404); *kind* as in `concerns`.

        With a *kind*, False for a queue that exists on a node that is down.
        """
        is_it = self.concerns(name, f"no {kind}" if kind else "")
        return is_it and self.code == 404  # noqa: PLR2004 - AMQP's not-found


class NoFreeChannel(ChannelRefused):
    """A connection has as many channels as the broker allows, and none of them becomes free.

    The broker allows *limit*, by its setting *name*, and *used* are in use on this connection.  The
    broker was not asked for another one.
    """

    def __init__(self, limit: int, used: int, *, name: str) -> None:
        super().__init__(530, f"{name} = {limit}, {used} in use")
        self.limit, self.used, self.name = limit, used, name

    @property
    def is_final(self) -> bool:
        """False: a channel may become free."""
        return False

    def __str__(self) -> str:
        """Return both numbers, and what to do."""
        return (
            f"no channel is free: the broker allows {self.limit} ({self.name}), {self.used} are in "
            f"use on this connection, and it needs one more.  Raise {self.name} on the broker, or "
            f"share the work among several processes."
        )


_REMEDIES = (
    (403, "reserved prefix", "Choose a name that does not begin with amq"),
    (
        403,
        "refused for user",
        "Grant this permission (rabbitmqctl set_permissions), or use another name",
    ),
    (405, "", "Another connection has it for itself: wait until that ends, or use another name"),
    (406, "queue limit", "Delete unused queues, or raise max-queues of the virtual host"),
    (406, "of queue type", "Leave it out, or name a queue type that has it (x-queue-type)"),
    (406, "invalid arg", "Correct the argument"),
    (541, "feature flag is disabled", "Enable it: rabbitmqctl enable_feature_flag all"),
)
"""What to do, by code and by words of RabbitMQ's text."""


def _remedy(code: int, text: str) -> str:
    found = (remedy for known, words, remedy in _REMEDIES if known == code and words in text)
    return next(found, "")


_FINAL = frozenset({403, 406, 501, 502, 503, 504, 505, 530, 540})


class TopologyMismatch(ChannelRefused):
    """An exchange or queue exists with other flags than declared (406), or does not exist (404).

    *kind* is ``"queue"`` or ``"exchange"``, *name* its name and *flag* the flag that differs.
    *ours* is the declared value and *theirs* that of the broker, both as the broker writes them.
    If the exchange or queue does not exist, *flag* is ``"passive"`` and *theirs* ``"missing"``.
    """

    def __init__(  # noqa: PLR0913 - the data of the error, one argument each
        self, code: int, text: str, *, kind: str, name: str, flag: str, ours: str, theirs: str
    ) -> None:
        super().__init__(code, text)
        self.kind, self.name, self.flag = kind, name, flag
        self.ours, self.theirs = ours, theirs

    def __str__(self) -> str:
        """Return the difference, and how to use it as it is, or how to declare it."""
        is_queue = self.kind == "queue"
        if self.theirs == "missing":
            where = "the flags of the queue" if is_queue else "the exchange class"
            return (
                f"{self.kind} {self.name!r} does not exist (404), and passive = True says that "
                f"another program declares it.  Start that program first; or leave passive out of "
                f"{where}, and declare it here with the same flags."
            )
        as_it_is = (
            f'the queue {{"name": {self.name!r}, "flags": {{"passive": True}}}} in the eqk'
            if is_queue
            else "passive = True in the exchange class"
        )
        return (
            f"{self.kind} {self.name!r} exists with {self.flag} = {one_line(self.theirs)}, but was "
            f"declared here with {self.flag} = {one_line(self.ours)}.  To use it as it is, write "
            f"{as_it_is}; else declare it with the same {self.flag}, or delete it on the broker."
        )


class IdentityTaken(ChannelRefused):
    """Another process uses *queue*, the exclusive queue of a generic application (405)."""

    def __init__(self, code: int, text: str, *, queue: str) -> None:
        super().__init__(code, text)
        self.queue = queue

    def __str__(self) -> str:
        """Return the likely cause and its remedy."""
        return (
            f"another process has the queue {self.queue!r}, which this application needs for "
            f"itself (405).  If two containers share their host name and process number, give each "
            f"a host name of its own, or the application a host in its fingerprint: "
            f'Fingerprint(name, host="other").  If processes that were started by the same program '
            f"have its pid in their fingerprints, leave the pid out.  If it is an earlier run on a "
            f"machine that has died, the broker drops its connection after two heartbeats."
        )


class ConsumerCancelled(PostageError):
    """The broker ended a consumer: *queue* was deleted, or its leader moved."""

    def __init__(self, queue: str) -> None:
        super().__init__(
            f"the broker ended the consumer of queue {queue!r}: was the queue deleted?"
        )
        self.queue = queue


class OperationTimeout(PostageError, builtins.TimeoutError):
    """The broker did not answer *operation* within *seconds*, but may still carry it out."""

    def __init__(self, operation: str, seconds: float) -> None:
        super().__init__(f"no answer to {operation} within {seconds:g} s")
        self.operation, self.seconds = operation, seconds


class PublishFailed(PostageError):
    """The broker did not accept the message within ``publish_timeout``; the cause says why.

    *exchange* and *key* are the destination.  If the broker did not answer in time, it may still
    have the message, or receive it later.
    """

    def __init__(self, text: str, *, exchange: str = "", key: str = "") -> None:
        super().__init__(text)
        self.exchange, self.key = exchange, key


class NotAcknowledged(PublishFailed):
    """The broker answered the publish with a nack: it could not store the message."""


class NoRoute(PublishFailed):
    """A mandatory message reached no queue, and the broker has dropped it."""

    def __init__(self, exchange: str, key: str) -> None:
        super().__init__(
            f"no queue is bound to exchange {exchange!r} for key {key!r}, and the message was "
            f"mandatory (as all are for 5 s after the exchange was deleted): start its receiver "
            f"first, which declares the queue, or correct the key; mandatory = False drops such "
            f"messages without an error",
            exchange=exchange,
            key=key,
        )


# --- bodies of messages


class EncodingError(PostageError, ValueError):
    """A value cannot be sent.  *key* is its place, such as ``content.parameters.when``."""

    def __init__(self, text: str, *, key: str = "") -> None:
        super().__init__(text)
        self.key = key


class DecodingError(PostageError, ValueError):
    """The bytes of a body cannot be decoded."""


class MalformedMessage(PostageError, ValueError):
    """A decoded body is not a Postage message."""


class BadParameters(MalformedMessage):
    """What a typed handler was sent does not fit at *path*, for the *reason*; it has not run.

    *call* is the name of the call, if a typed client has raised the error.
    """

    def __init__(self, path: str, reason: str, *, call: str = "") -> None:
        super().__init__(f"{path}: {reason}")
        self.path, self.reason, self.call = path, reason, call


# --- handlers, filters and microthreads


class HandlerError(SettingsError, TypeError):
    """A method cannot be a handler, filter or job, or has returned code instead of running it.

    *where* is its qualified name, and *reason* the rest of the text.
    """

    def __init__(self, where: str, reason: str) -> None:
        super().__init__(f"{where} {reason}")
        self.where, self.reason = where, reason


class NotHandling(PostageError, LookupError):
    """The message in hand was asked for where no handler runs."""

    def __str__(self) -> str:
        """Say where there is a message."""
        return (
            "no message is being handled here: green.message() works in handlers, and in greenlets "
            "that they spawn; green.message(None) returns None elsewhere"
        )


class FilterError(PostageError):
    """Raised by a filter: the message is discarded for its handler."""


# The next two and `ExitScheduler` are signals of handlers.  They are ValueErrors as in 1.2.1, as
# programs may rely on that.  So a handler that catches ValueError must raise these again.
class RejectMessage(PostageError, ValueError):
    """Raised by a handler: the message is rejected, not requeued; no traceback is logged."""


class GiveUp(PostageError):
    """Raised by a handler: no further try can help, so the message is parked with *why*."""

    def __init__(self, why: str = "the handler gave it up") -> None:
        super().__init__(why)
        self.why = why


class RetryLater(PostageError):
    """Raised by a handler: the message is handled again after *seconds*, however often that is.

    Raises `SettingsError` for seconds that are negative, not finite, or more than 49 days.
    """

    MAX: ClassVar[float] = 2**32 / 1000
    """Seconds of the longest delay: brokers count a time to live in 32 bits of milliseconds."""

    def __init__(self, seconds: float) -> None:
        if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
            raise SettingsError(f"RetryLater takes seconds, not {seconds!r:.80}")
        if not 0 <= seconds <= self.MAX:  # never true of NaN
            raise SettingsError(f"RetryLater takes 0 to {self.MAX:.0f} seconds, not {seconds!r}")
        super().__init__(f"again in {seconds:g} s")
        self.seconds = float(seconds)


class AckAndRestart(PostageError, ValueError):
    """Raised by a handler: the message is acknowledged, then the program is started again."""


class GaveUp(PostageError):
    """A processor has crashed too often to be restarted again.  The cause is its last error.

    *processor* is its class and name; it was restarted *restarts* times within *period* seconds.
    """

    def __init__(self, processor: str, restarts: int, period: float) -> None:
        times = "once" if restarts == 1 else f"{restarts} times"
        began = f"{processor} was started again {times} within {period:g} s, and has ended again"
        super().__init__(f"{began}; the log says each time why")
        self.processor, self.restarts, self.period = processor, restarts, period


class ExitScheduler(PostageError, ValueError):
    """Raised by a microthread or a handler: the whole scheduler ends."""


class RemoteError(PostageError):
    """A call has no value: the server reported an error, or no result arrived.

    *kind* is ``"error"`` for an error that the server foresees, and ``"exception"`` otherwise.
    *name* is the name of the exception, empty for an error; *text* is the message of the server.
    The calling side makes ``NoRoute``, ``TimeoutError`` and ``ConnectionLost``.
    """

    def __init__(self, kind: str, name: str, text: str) -> None:
        super().__init__(kind, name, text)
        self.kind, self.name, self.text = kind, name, text

    def __str__(self) -> str:
        """Return the message of the server, or of the calling side; *text* has all of it."""
        if not self.name:
            return f"the server answered with an error: {one_line(self.text)}"
        return f"the call ended with {one_line(self.name)}: {one_line(self.text)}"


class TimeoutError(PostageError, builtins.TimeoutError):  # noqa: A001 - the classic name
    """Some replies did not arrive in time.  *results* are the others."""

    def __init__(self, text: str = "", results: tuple[Any, ...] = ()) -> None:
        super().__init__(text)
        self.results = results


# --- messages that failed: looking and replaying


class LookRefused(PostageError):
    """To look at *queue* would count as a delivery, of which it allows each message *limit*."""

    def __init__(self, queue: str, limit: int) -> None:
        super().__init__(queue, limit)
        self.queue, self.limit = queue, limit

    def __str__(self) -> str:
        """Say what a look would do, and how to look without it."""
        return (
            f"the queue {self.queue!r} allows each message {self.limit} returns, and on this "
            f"broker, older than RabbitMQ 4.3, each look is one: then the message is dropped or "
            f"dead-lettered.  Set the policy delivery-limit of the queue to -1 (RabbitMQ 4.0 or "
            f"later; before, to a large number), and say that looking is fine: anyway=True, "
            f"or --anyway"
        )


class NoSuchMessage(PostageError, LookupError):
    """No message of *queue*, or more than one, has the id *id*."""

    def __init__(self, queue: str, id: str, why: str = "no message has it") -> None:  # noqa: A002 - what it is
        super().__init__(f"{one_line(id, 100)!r} in the queue {queue!r}: {why}")
        self.queue, self.id, self.why = queue, id, why


class ReplayStopped(PostageError):
    """A replay from *queue* ended early, after *count* messages; the cause says why.

    Those that were not replayed are still there.  One message more than *count* may have reached
    its queue: it is in both then.
    """

    def __init__(self, queue: str, count: int, why: str) -> None:
        super().__init__(queue, count, why)
        self.queue, self.count, self.why = queue, count, why

    def __str__(self) -> str:
        """Say how far it came, and why it went no further."""
        how_many = "1 message" if self.count == 1 else f"{self.count} messages"
        return (
            f"the replay ended after {how_many} of {self.queue!r}; the others are still there, and "
            f"one of these may have been replayed, too: {self.why}"
        )
