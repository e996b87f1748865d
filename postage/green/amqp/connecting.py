"""Dialling: a connected socket, secured where the settings say so, and the login for it."""

from __future__ import annotations

import os
import socket
import ssl
from typing import Any

import gevent.monkey
import gevent.socket
import gevent.ssl
import pika
import pika.credentials

from postage._version import __version__
from postage.errors import PostageError, SettingsError
from postage.settings import Settings

__all__ = ["connect_socket", "parameters"]


def connect_socket(settings: Settings, host: str, port: int) -> gevent.socket.socket:
    """Return a socket that is connected to *host*:*port*, after the TLS handshake if there is one.

    Switches greenlets.  It has no limit of its own: set a ``gevent.Timeout`` around it, which like
    a kill leaves no socket behind.  Raises what the network raises, `ssl.SSLError` for a broker
    that cannot be trusted, and `SettingsError` for a certificate file that cannot be used.
    """
    context = _context(settings) if settings.tls else None
    sock = _connected(host, port)
    try:
        # Frames are small and are sent whole: to hold them back only adds to the time of a call.
        sock.setsockopt(gevent.socket.IPPROTO_TCP, gevent.socket.TCP_NODELAY, 1)
        if context is not None:
            name = settings.server_name_indication or host
            # The handshake comes apart, so that whoever ends it has a socket to close.
            sock = context.wrap_socket(sock, server_hostname=name, do_handshake_on_connect=False)
            sock.do_handshake()
    except BaseException:
        sock.close()
        raise
    return sock


def _connected(host: str, port: int) -> gevent.socket.socket:
    """Return a socket connected to the first address of *host* that takes it.

    ``create_connection`` would take the end of our own limit (`OperationTimeout` is an `OSError`)
    for the failure of one address, and try the next one without any limit.
    """
    error = OSError(f"{host} has no address")
    for family, kind, protocol, _, address in _look_up(host, port):
        sock = gevent.socket.socket(family, kind, protocol)
        try:
            sock.connect(address)
        except BaseException as exc:
            sock.close()
            if not isinstance(exc, OSError) or isinstance(exc, PostageError):
                raise
            error = exc
        else:
            return sock
    raise error


_getaddrinfo = gevent.monkey.get_original("socket", "getaddrinfo")


def _look_up(host: str, port: int) -> list[Any]:
    """Return the addresses of *host*; switches unless it is one.

    An address is no matter for gevent's resolver, which is a native thread and takes 0.7 MB.
    """
    kind = gevent.socket.SOCK_STREAM
    try:
        found: list[Any] = _getaddrinfo(host.encode(), port, 0, kind, 0, socket.AI_NUMERICHOST)
    except OSError:  # a name
        return gevent.socket.getaddrinfo(host, port, 0, kind)
    return found


def _context(settings: Settings) -> gevent.ssl.SSLContext:
    """Return the TLS context; its files are read each time, for certificates are renewed."""
    context = gevent.ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if not settings.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    name = "cacertfile"
    try:
        if settings.cacertfile:
            context.load_verify_locations(settings.cacertfile)
        else:
            context.load_default_certs()
        name = "certfile"
        if settings.certfile:
            # No password: OpenSSL would ask for one at the terminal, and stop the whole process.
            context.load_cert_chain(settings.certfile, settings.keyfile or None, password="")
    except OSError as exc:  # ssl.SSLError is one
        raise _unusable(settings, name, exc) from exc
    return context


def _unusable(settings: Settings, name: str, exc: OSError) -> SettingsError:
    files = [getattr(settings, name)]
    if name == "certfile" and settings.keyfile:
        files.append(settings.keyfile)
    return SettingsError(f"{name} {' with keyfile '.join(files)} cannot be used: {exc}")


def parameters(settings: Settings, host: str, port: int, role: str) -> pika.ConnectionParameters:
    """Return pika's parameters for a connection to *host*:*port*; *role* is for people.

    The ``ssl_options`` stay empty: `connect_socket` does TLS, and pika need not know of it.
    """
    return pika.ConnectionParameters(
        host,
        port,
        settings.vhost,
        _credentials(settings),
        heartbeat=settings.heartbeat,
        client_properties={
            "product": "Postage",
            "version": __version__,
            "connection_name": f"postage {os.getpid()} {role}",
        },
    )


def _credentials(settings: Settings) -> object:
    if settings.auth_mechanism == "EXTERNAL":
        return pika.credentials.ExternalCredentials()
    return pika.PlainCredentials(settings.user, settings.password, erase_on_connect=True)
