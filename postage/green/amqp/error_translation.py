"""Translates errors of pika and of sockets into ours; the original error becomes the cause."""

from __future__ import annotations

import ast
import re
import ssl
from collections.abc import Iterator
from contextlib import contextmanager

import pika.exceptions

from postage.errors import (
    AuthenticationFailed,
    BrokerUnreachable,
    ChannelRefused,
    ConnectionClosed,
    ConnectionFailed,
    ConnectionLost,
    PostageError,
    TemporarilyRefused,
    TlsFailed,
    TopologyMismatch,
    VhostRefused,
)
from postage.foreign_text import one_line
from postage.settings import MECHANISMS, Settings, origins

__all__ = [
    "channel_limit_in",
    "connecting_failed",
    "declaring",
    "ended",
    "is_consumer_timeout",
    "refusal_in",
    "stream_in",
    "tls_advice",
]

_MISMATCH = re.compile(
    r"inequivalent arg '(?P<flag>[^']+)' for (?P<kind>queue|exchange) '(?P<name>[^']*)' in vhost "
    r"'[^']*': received (?P<ours>.+?) but current is (?P<theirs>.+)",
    re.DOTALL,
)
# While a connection opens, pika 1.4 keeps of the broker's connection.close only this `repr`; pika
# 1.5 appends host and port.
_CLOSED = re.compile(
    r"ConnectionClosedByBroker: \((?P<code>\d+)\) "
    r"""(?P<text>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")""",
)
# RabbitMQ 3.10 and 4.3, rabbit_reader.erl: limits of the vhost, the user and the node (530), and a
# vhost that is down (541).
_PASSES = re.compile(r"limit \(\d+\) is reached$|is down$")
_PASSING = (320, 506, 541)  # connection-forced (a broker that stops), resource- and internal-error
_ACK_TIMEOUT = re.compile(r"delivery acknowledgement on channel \d+ timed out")
_IN_TIME = (
    "A handler took longer than the consumer timeout; its message is acknowledged after it, and is "
    "not handled twice here.  Raise consumer_timeout of the broker (x-consumer-timeout of a queue "
    "since RabbitMQ 3.12), or take less time for a message"
)
_TYPED_VALUE = re.compile(r"the value '?(?P<value>[^']*)'? of type '[^']*'")
_NO_REJECT = re.compile(
    r"basic.(?:reject|nack) not supported by stream queues queue '(?P<queue>[^']*)'"
)
_CHANNEL_LIMIT = re.compile(r"number of channels opened for user .* limit of \(?(?P<limit>\d+)")
# The hard errors of AMQP 0-9-1, without 320 and 506: these are no answers to a request.
_REFUSALS = (501, 502, 503, 504, 505, 530, 540, 541)
# X509_V_ERR_... of OpenSSL's x509_vfy.h
_EXPIRED, _OTHER_HOST, _OTHER_ADDRESS = 10, 62, 64


def connecting_failed(
    settings: Settings, host: str, port: int, exc: BaseException
) -> ConnectionFailed:
    """Return the error for a connection to *host* that failed because of *exc*."""
    cause = _root(exc)
    code, text = _words_of_the_broker(cause)
    error: ConnectionFailed
    if code in _PASSING or _PASSES.search(text):
        error = _refused_for_now(settings, host, port, code, text)
    elif type(cause) is pika.exceptions.AuthenticationError:
        error = _mechanism_missing(settings, host, port)
    elif isinstance(cause, _LOGIN_REFUSED):
        error = _login_refused(settings, host, port)
    elif isinstance(cause, pika.exceptions.ProbableAccessDeniedError) and code:
        error = _vhost_refused(settings, host, port, text)
    elif why := tls_advice(cause, tls=settings.tls):
        text = f"no TLS connection to {host}:{port}: {why}"
        error = TlsFailed(text, host=host, port=port)
    else:
        error = BrokerUnreachable(
            f"no AMQP 0-9-1 broker answered at {host}:{port} ({_reason(cause)}); "
            f"{_start_or_correct(settings, host)}",
            host=host,
            port=port,
        )
    error.__cause__ = exc
    return error


def _start_or_correct(settings: Settings, host: str) -> str:
    origin = origins(settings, "host", "port")
    name_it = f"correct {origin}" if origin else "name another one with POSTAGE_URL"
    if host not in _THIS_MACHINE:
        return f"start one there, or {name_it}"
    return (
        f"start one there, as `postage broker` does, or {name_it}; "
        f"POSTAGE_URL=embedded:// runs one inside the program"
    )


_THIS_MACHINE = ("localhost", "127.0.0.1", "::1")


def _words_of_the_broker(exc: BaseException) -> tuple[int, str]:
    """Return code and text of the connection.close that ended the handshake; 0 if none did."""
    match = _CLOSED.search(str(exc))
    if match is None:
        return 0, ""
    return int(match["code"]), str(ast.literal_eval(match["text"]))


def _refused_for_now(
    settings: Settings, host: str, port: int, code: int, text: str
) -> TemporarilyRefused:
    return TemporarilyRefused(
        f"{host}:{port} accepts no connection of user {settings.user!r} to the virtual host "
        f"{settings.vhost!r} now ({code}): {text}",
        host=host,
        port=port,
        code=code,
    )


_LOGIN_REFUSED = (
    pika.exceptions.ProbableAuthenticationError,
    pika.exceptions.AuthenticationError,
)


def _login_refused(settings: Settings, host: str, port: int) -> AuthenticationFailed:
    login = (
        "the certificate as a login; the name in it must be a user there, and the plugin "
        "rabbitmq_auth_mechanism_ssl must be enabled"
        if settings.auth_mechanism == "EXTERNAL"
        else f"user {settings.user!r} and the password given; "
        + _check(origins(settings, "user", "password"))
    )
    text = f"{host}:{port} refused {login}"
    return AuthenticationFailed(text, host=host, port=port, user=settings.user)


def _mechanism_missing(settings: Settings, host: str, port: int) -> AuthenticationFailed:
    text = (
        f"{host}:{port} offers no login by {settings.auth_mechanism}; allow it there, or set "
        f"another one of {', '.join(MECHANISMS)} with auth_mechanism"
    )
    return AuthenticationFailed(text, host=host, port=port, user=settings.user)


def _check(origin: str) -> str:
    return f"check {origin}" if origin else "set another one with POSTAGE_URL"


def _vhost_refused(settings: Settings, host: str, port: int, text: str) -> VhostRefused:
    return VhostRefused(
        f"{host}:{port} refused user {settings.user!r} the virtual host {settings.vhost!r} "
        f"({text}): it does not exist, or the user has no permissions there; "
        f"{_check(origins(settings, 'vhost'))}",
        host=host,
        port=port,
        vhost=settings.vhost,
    )


def tls_advice(exc: BaseException, *, tls: bool) -> str | None:
    """Return the problem and its remedy, or None if *exc* has nothing to do with TLS.

    *tls* says whether we asked for TLS: a plain connection may be reset for many other reasons.
    """
    if isinstance(exc, ssl.SSLCertVerificationError):
        return _certificate_advice(exc)
    if isinstance(exc, ssl.SSLError) or (tls and isinstance(exc, ConnectionResetError)):
        return (
            f"the server there does not speak TLS, or refused our certificate ({exc}); brokers "
            f"usually speak TLS on port 5671"
        )
    if tls and "CERTIFICATE_REQUIRED" in str(exc):  # TLS 1.3 says so only after the handshake
        return "the broker asks for a certificate of ours: give certfile and keyfile"
    return None


def _certificate_advice(exc: ssl.SSLCertVerificationError) -> str:
    if exc.verify_code in (_OTHER_HOST, _OTHER_ADDRESS):
        return (
            "the certificate there is for another name; use that name in the URL, or give it as "
            "server_name_indication"
        )
    if exc.verify_code == _EXPIRED:
        return "the certificate there has expired, or the clock of this machine is wrong"
    return (
        f"the certificate there is signed by an authority that is unknown here "
        f"({exc.verify_message}); name the authority's certificate in cacertfile"
    )


def ended(exc: BaseException) -> PostageError:
    """Return the error for waiters on a connection or channel that ended because of *exc*."""
    error: PostageError
    if isinstance(exc, pika.exceptions.ChannelClosedByBroker):
        error = _refused(exc.reply_code, exc.reply_text)
    elif isinstance(
        exc, (pika.exceptions.ConnectionClosedByClient, pika.exceptions.ChannelClosedByClient)
    ):
        error = ConnectionClosed("our side closed the connection; make or use another one")
    else:
        error = ConnectionLost(f"the connection to the broker was lost: {_reason(exc)}")
    error.__cause__ = exc
    return error


def refusal_in(error: ConnectionLost) -> ChannelRefused | None:
    """Return the refusal by which the broker ended the connection; None for any other end."""
    cause = error.__cause__
    if not isinstance(cause, pika.exceptions.ConnectionClosedByBroker):
        return None
    is_refusal = cause.reply_code in _REFUSALS and channel_limit_in(error) is None
    return ChannelRefused(cause.reply_code, cause.reply_text) if is_refusal else None


def is_consumer_timeout(text: str) -> bool:
    """Tell whether the broker ends a channel because a delivery was not acknowledged in time."""
    return _ACK_TIMEOUT.search(text) is not None


def stream_in(error: PostageError) -> str | None:
    """Return the queue over whose rejected delivery the broker ended the connection, or None."""
    match = _NO_REJECT.search(str(error.__cause__))
    return match["queue"] if match else None


def channel_limit_in(error: PostageError) -> int | None:
    """Return the number of channels over which the broker ended the connection; None: it did not.

    RabbitMQ ends it when the user opens more than ``max-channels``.
    """
    match = _CHANNEL_LIMIT.search(str(error.__cause__))
    return int(match["limit"]) if match else None


@contextmanager
def declaring(kind: str, name: str) -> Iterator[None]:
    """Raise `TopologyMismatch` if a passive declare in the block finds *name* missing."""
    try:
        yield
    except ChannelRefused as exc:
        if not exc.misses(name, kind):
            raise
        raise TopologyMismatch(
            exc.code, exc.text, kind=kind, name=name, flag="passive", ours="true", theirs="missing"
        ) from exc.__cause__


def _refused(code: int, text: str) -> ChannelRefused:
    match = _MISMATCH.search(text)
    if match is None:
        return ChannelRefused(code, text, remedy=_IN_TIME if is_consumer_timeout(text) else "")
    return TopologyMismatch(
        code,
        text,
        kind=match["kind"],
        name=match["name"],
        flag=match["flag"],
        ours=_value(match["ours"]),
        theirs=_value(match["theirs"]),
    )


def _value(text: str) -> str:
    """Return the value in *text*: ``'true'``, ``none``, or ``the value '5' of type ...``."""
    match = _TYPED_VALUE.search(text)
    return match["value"] if match else text.strip("'")


def _root(exc: BaseException) -> BaseException:
    """Return the original error: pika passes it as the argument of another error."""
    inner = exc.args[0] if exc.args else None
    return inner if isinstance(inner, BaseException) else exc


def _reason(exc: BaseException) -> str:
    if isinstance(exc, pika.exceptions.IncompatibleProtocolError):
        why = one_line(exc, 200)
        return f"the server there speaks another protocol, or not as it should: {why}"
    text = one_line(exc)
    return f"{type(exc).__name__}: {text}" if text else type(exc).__name__
