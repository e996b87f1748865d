"""The border: here what pika and the socket raise becomes ours; the foreign error is the cause."""

from __future__ import annotations

import re
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
    TlsFailed,
    TopologyMismatch,
    VhostRefused,
)
from postage.green.amqp.tls_trouble import tls_trouble
from postage.settings import Settings

__all__ = ["connecting_failed", "declaring", "ended"]

_MISMATCH = re.compile(
    r"inequivalent arg '(?P<flag>[^']+)' for (?P<kind>queue|exchange) '(?P<name>[^']*)' in vhost "
    r"'[^']*': received (?P<ours>.+?) but current is (?P<theirs>.+)",
    re.DOTALL,
)
# How pika says "probable" when the broker did say it; else the connection was merely lost.
_CLOSED = "ConnectionClosedByBroker"
_NONE_SUCH = re.compile(r"the value '?(?P<value>[^']*)'? of type '[^']*'")


def connecting_failed(
    settings: Settings, host: str, port: int, exc: BaseException
) -> ConnectionFailed:
    """Return the error for a connection to *host* that did not come about because of *exc*."""
    cause = _root(exc)
    error: ConnectionFailed
    if isinstance(cause, _LOGIN_REFUSED):
        error = _login_refused(settings, host, port)
    elif isinstance(cause, pika.exceptions.ProbableAccessDeniedError) and _CLOSED in str(cause):
        error = _vhost_refused(settings, host, port)
    elif why := tls_trouble(cause, tls=settings.tls):
        text = f"no TLS connection to {host}:{port} came about: {why}"
        error = TlsFailed(text, host=host, port=port)
    else:
        error = BrokerUnreachable(
            f"no AMQP 0-9-1 broker answered at {host}:{port} ({_reason(cause)}); start one there, "
            f"or set POSTAGE_HOST and POSTAGE_PORT, or the hup argument",
            host=host,
            port=port,
        )
    error.__cause__ = exc
    return error


_LOGIN_REFUSED = (
    pika.exceptions.ProbableAuthenticationError,
    pika.exceptions.AuthenticationError,
)


def _login_refused(settings: Settings, host: str, port: int) -> AuthenticationFailed:
    what = (
        "the certificate as a login; the name in it must be a user there, and the plugin "
        "rabbitmq_auth_mechanism_ssl be enabled"
        if settings.auth_mechanism == "EXTERNAL"
        else f"user {settings.user!r} and the password given; check POSTAGE_USER and "
        f"POSTAGE_PASSWORD, or the hup argument"
    )
    text = f"{host}:{port} refused {what}"
    return AuthenticationFailed(text, host=host, port=port, user=settings.user)


def _vhost_refused(settings: Settings, host: str, port: int) -> VhostRefused:
    return VhostRefused(
        f"{host}:{port} refused user {settings.user!r} the virtual host {settings.vhost!r}: it "
        f"does not exist, or the user has no permissions there; check POSTAGE_VHOST, or the vhost "
        f"argument",
        host=host,
        port=port,
        vhost=settings.vhost,
    )


def ended(exc: BaseException) -> PostageError:
    """Return the error for those who waited on a connection or channel that *exc* has ended."""
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


@contextmanager
def declaring(kind: str, name: str) -> Iterator[None]:
    """Have the block, which declares *name*, say what to do where that is passive and missing."""
    try:
        yield
    except ChannelRefused as exc:
        if f"no {kind} '{name}'" not in exc.text:  # it may be there, on a node that is down
            raise
        raise TopologyMismatch(
            exc.code, exc.text, kind=kind, name=name, flag="passive", ours="true", theirs="missing"
        ) from exc.__cause__


def _refused(code: int, text: str) -> ChannelRefused:
    match = _MISMATCH.search(text)
    if match is None:
        return ChannelRefused(code, text)
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
    match = _NONE_SUCH.search(text)
    return match["value"] if match else text.strip("'")


def _root(exc: BaseException) -> BaseException:
    """Return what pika wraps: it hands the real error as an argument of another one."""
    inner = exc.args[0] if exc.args else None
    return inner if isinstance(inner, BaseException) else exc


def _reason(exc: BaseException) -> str:
    if isinstance(exc, pika.exceptions.IncompatibleProtocolError):
        return "what answers there speaks another protocol"
    return f"{type(exc).__name__}: {exc}" if str(exc) else type(exc).__name__
