"""Every error that Postage raises on purpose, as one tree under `PostageError`.

A leaf carries its data as attributes, and its message says what to do.  *Lost* and *Closed* differ:
the first is what the broker or the network did to us, the second what our own side did.
"""

from __future__ import annotations

import builtins
from typing import Any

__all__ = [
    "AckAndRestart",
    "AuthenticationFailed",
    "BrokerUnreachable",
    "ChannelRefused",
    "ConnectionClosed",
    "ConnectionFailed",
    "ConnectionLost",
    "ConsumerCancelled",
    "DecodingError",
    "EncodingError",
    "ExitScheduler",
    "FilterError",
    "GaveUp",
    "IdentityTaken",
    "MalformedMessage",
    "NoRoute",
    "NotAcknowledged",
    "OperationTimeout",
    "PostageError",
    "PublishFailed",
    "RejectMessage",
    "RemoteError",
    "SettingsError",
    "TimeoutError",
    "TlsFailed",
    "TopologyMismatch",
    "VhostRefused",
]


class PostageError(Exception):
    """Base of every error that Postage raises on purpose."""


class SettingsError(PostageError, ValueError):
    """A setting, an address or an argument cannot be used as it is."""


# --- connections and channels


class ConnectionFailed(PostageError):
    """No connection came about.  *host* and *port* say where; the cause is the foreign error."""

    def __init__(self, text: str, *, host: str, port: int) -> None:
        super().__init__(text)
        self.host, self.port = host, port


class BrokerUnreachable(ConnectionFailed):
    """Nothing that speaks AMQP 0-9-1 answered at *host*:*port* within the connect timeout."""


class AuthenticationFailed(ConnectionFailed):
    """The broker refused *user* and its password."""

    def __init__(self, text: str, *, host: str, port: int, user: str) -> None:
        super().__init__(text, host=host, port=port)
        self.user = user


class TlsFailed(ConnectionFailed):
    """No TLS connection came about: one side does not trust the other, or does not speak TLS."""


class VhostRefused(ConnectionFailed):
    """The virtual host *vhost* does not exist, or the user may not enter it."""

    def __init__(self, text: str, *, host: str, port: int, vhost: str) -> None:
        super().__init__(text, host=host, port=port)
        self.vhost = vhost


class ConnectionLost(PostageError):
    """The broker or the network ended the connection; we did not.  Trying again may help."""


class ConnectionClosed(PostageError):
    """Our own side closed the connection or channel.  Using it again is a bug in the caller."""


class ChannelRefused(PostageError):
    """The broker closed the channel over what we asked; *code* is the AMQP reply code, as 404."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"the broker refused it ({code}): {text}")
        self.code, self.text = code, text

    def concerns(self, name: str) -> bool:
        """Tell whether the broker names *name*, a queue or exchange, as the reason."""
        return f"'{name}'" in self.text

    def misses(self, name: str) -> bool:
        """Tell whether the reason is that *name* does not exist (404)."""
        return self.code == 404 and self.concerns(name)  # noqa: PLR2004 - AMQP's not-found


class TopologyMismatch(ChannelRefused):
    """An exchange or queue exists otherwise than it was declared (406), or not at all (404).

    *kind* is ``"queue"`` or ``"exchange"``, *name* its name, *flag* the flag that differs, *ours*
    what we asked for and *theirs* what the broker has; both are the broker's words.  Where it does
    not exist, *flag* is ``"passive"`` and *theirs* is ``"missing"``.
    """

    def __init__(  # noqa: PLR0913 - the data of the error, one argument each
        self, code: int, text: str, *, kind: str, name: str, flag: str, ours: str, theirs: str
    ) -> None:
        super().__init__(code, text)
        self.kind, self.name, self.flag = kind, name, flag
        self.ours, self.theirs = ours, theirs

    def __str__(self) -> str:
        """Say what differs, and what to write in order to use it as it is, or to have it made."""
        return self._it_is_missing() if self.theirs == "missing" else self._it_differs()

    def _it_is_missing(self) -> str:
        where = "the flags of the queue" if self.kind == "queue" else "the exchange class"
        return (
            f"{self.kind} {self.name!r} does not exist (404), and passive = True says here that "
            f"others make it.  Start them first, or have it made: leave passive out of {where}, "
            f"and declare it as they do."
        )

    def _it_differs(self) -> str:
        as_it_is = (
            f'the queue {{"name": {self.name!r}, "flags": {{"passive": True}}}} in the eqk'
            if self.kind == "queue"
            else "passive = True in the exchange class"
        )
        return (
            f"{self.kind} {self.name!r} exists with {self.flag} = {self.theirs}, "
            f"but was declared here with {self.flag} = {self.ours}.  To use it as it is, write "
            f"{as_it_is}; else declare it with the same {self.flag}, or delete it on the broker."
        )


class IdentityTaken(ChannelRefused):
    """Another process has the queue *queue*, which a generic application has for itself (405)."""

    def __init__(self, code: int, text: str, *, queue: str) -> None:
        super().__init__(code, text)
        self.queue = queue

    def __str__(self) -> str:
        """Say who that may be, and what to change."""
        return (
            f"another process is {self.queue!r} already (405).  Where two containers share their "
            f"host name and process number, give each a host name of its own, or the application "
            f'a host in its fingerprint: Fingerprint(name, host="other").  Where it is a former '
            f"run on a machine that has died, the broker lets go of it after two heartbeats."
        )


class ConsumerCancelled(PostageError):
    """The broker ended a consumer: *queue* was deleted, or its leader moved."""

    def __init__(self, queue: str) -> None:
        super().__init__(
            f"the broker ended the consumer of queue {queue!r}: was the queue deleted?"
        )
        self.queue = queue


class OperationTimeout(PostageError, builtins.TimeoutError):
    """The broker did not answer *operation* within *seconds*; it may still carry it out."""

    def __init__(self, operation: str, seconds: float) -> None:
        super().__init__(f"no answer to {operation} within {seconds:g} s")
        self.operation, self.seconds = operation, seconds


class PublishFailed(PostageError):
    """The broker did not take the message within its ``publish_timeout``.  The cause says why.

    *exchange* and *key* are where it was to go.  Where the broker has only not answered, it may
    have the message, or get it later.
    """

    def __init__(self, text: str, *, exchange: str = "", key: str = "") -> None:
        super().__init__(text)
        self.exchange, self.key = exchange, key


class NotAcknowledged(PublishFailed):
    """The broker answered the publish with a nack: it could not take the message."""


class NoRoute(PublishFailed):
    """A mandatory message reached no queue, and the broker has dropped it."""

    def __init__(self, exchange: str, key: str) -> None:
        super().__init__(
            f"no queue is bound to exchange {exchange!r} for key {key!r}, and the message was "
            f"mandatory: start its receiver once before, so that the queue is there, or correct "
            f"the key; mandatory = False sends it all the same",
            exchange=exchange,
            key=key,
        )


# --- what is in a message


class EncodingError(PostageError, ValueError):
    """A value cannot be sent.  *key* is where it stands, as ``content.parameters.when``."""

    def __init__(self, text: str, *, key: str = "") -> None:
        super().__init__(text)
        self.key = key


class DecodingError(PostageError, ValueError):
    """The bytes of a body cannot be decoded."""


class MalformedMessage(PostageError, ValueError):
    """A decoded body is not a Postage message."""


# --- what handlers, filters and microthreads raise


class FilterError(PostageError):
    """A filter could not make sense of the message: its handler does not get it."""


class RejectMessage(PostageError, ValueError):
    """Raised by a handler: the message is rejected, not requeued, and no traceback is logged."""


class AckAndRestart(PostageError, ValueError):
    """Raised by a handler: the message is acknowledged, then the program is run anew."""


class GaveUp(PostageError):
    """A processor has ended once more after all its restarts.  The cause is its last error.

    *processor* is its class and name, *restarts* how many there were within *period* seconds.
    """

    def __init__(self, processor: str, restarts: int, period: float) -> None:
        super().__init__(
            f"{processor} was started again {restarts} times within {period:g} s, and has ended "
            f"once more; the log says each time why"
        )
        self.processor, self.restarts, self.period = processor, restarts, period


class ExitScheduler(PostageError, ValueError):
    """Raised by a microthread or a handler: the whole scheduler ends."""


class RemoteError(PostageError):
    """A call has no value: the server reported an error, or no result arrived.

    *kind* is ``"error"`` for an error that the server foresees, and ``"exception"`` otherwise.
    *name* is the name of the exception, empty for an error; *text* is what the server said.
    ``NoRoute``, ``TimeoutError`` and ``ConnectionLost`` come from the calling side.
    """

    def __init__(self, kind: str, name: str, text: str) -> None:
        super().__init__(kind, name, text)
        self.kind, self.name, self.text = kind, name, text

    def __str__(self) -> str:
        """Return what the server, or the calling side, said."""
        if not self.name:
            return f"the server answered with an error: {self.text}"
        return f"the call ended with {self.name}: {self.text}"


class TimeoutError(PostageError, builtins.TimeoutError):  # noqa: A001 - the classic name
    """Not all replies came in time.  *results* are those that did."""

    def __init__(self, text: str = "", results: tuple[Any, ...] = ()) -> None:
        super().__init__(text)
        self.results = results
