"""Looks up a host, connects a socket, with TLS if the settings say so; makes pika's parameters."""

from __future__ import annotations

import os
import socket
import ssl
import time
from collections.abc import Iterator
from typing import Any

import gevent
import gevent.monkey
import gevent.socket
import gevent.ssl
import pika
import pika.credentials

from postage._version import __version__
from postage.errors import OperationTimeout, SettingsError
from postage.settings import Settings

__all__ = ["connect_socket", "parameters", "targets"]


Target = tuple[Any, ...]
"""One address of a host, as ``getaddrinfo`` returns it."""


def targets(host: str, port: int, limit: float) -> Iterator[tuple[Target, float]]:
    """Yield each address of *host* and the seconds in which to connect to it; all: *limit*.

    Each gets an equal share of the time that is left, so an address that swallows all packets,
    such as one of IPv6 behind a router without IPv6, leaves time for the next one.  An address that
    refuses at once leaves its share to the others.  Switches while it looks up a name; raises
    `OSError` if that fails and `OperationTimeout` at the limit.
    """
    deadline = time.monotonic() + limit
    with gevent.Timeout(limit, OperationTimeout("looking up the host", limit)):
        found = _look_up(host, port)
    for index, target in enumerate(found):
        yield target, max(0.0, deadline - time.monotonic()) / (len(found) - index)


def connect_socket(settings: Settings, host: str, target: Target) -> gevent.socket.socket:
    """Return a socket that is connected to *target* and, with TLS, has done the handshake.

    Switches greenlets.  Has no time limit: set a ``gevent.Timeout`` around the call.  A timeout or
    a kill closes the socket.  Raises `OSError` from the network, `ssl.SSLError` for a
    broker that cannot be trusted, and `SettingsError` for a certificate file that cannot be used.
    """
    context = _context(settings) if settings.tls else None
    family, socket_type, protocol, _, address = target
    sock = gevent.socket.socket(family, socket_type, protocol)
    try:
        sock.connect(address)
        # The transport joins the frames of a turn, so Nagle's delay would only slow down calls.
        sock.setsockopt(gevent.socket.IPPROTO_TCP, gevent.socket.TCP_NODELAY, 1)
        if context is not None:
            name = settings.server_name_indication or host
            # The handshake is a separate step, so that a timeout has a socket to close.
            sock = context.wrap_socket(sock, server_hostname=name, do_handshake_on_connect=False)
            sock.do_handshake()
    except BaseException:
        sock.close()
        raise
    return sock


_getaddrinfo = gevent.monkey.get_original("socket", "getaddrinfo")


def _look_up(host: str, port: int) -> list[Target]:
    """Return the addresses of *host*; switches if *host* is a name.

    For an IP address we avoid gevent's resolver, which starts native threads and takes 0.7 MB.
    """
    stream = gevent.socket.SOCK_STREAM
    try:
        found: list[Target] = _getaddrinfo(host.encode(), port, 0, stream, 0, socket.AI_NUMERICHOST)
    except OSError:  # *host* is a name
        try:
            return gevent.socket.getaddrinfo(host, port, 0, stream)
        except RuntimeError:  # the program ends: no thread starts any more, and nothing else runs
            return list(_getaddrinfo(host, port, 0, stream))
    return found


def _context(settings: Settings) -> gevent.ssl.SSLContext:
    """Return the TLS context; reads its files each time, because certificates are renewed."""
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
            # Without a password, OpenSSL would ask at the terminal and block the whole process.
            context.load_cert_chain(settings.certfile, settings.keyfile or None, password="")
    except OSError as exc:  # ssl.SSLError is one
        with_key = name == "certfile" and settings.keyfile
        file = getattr(settings, name) + (f" with keyfile {settings.keyfile}" if with_key else "")
        raise SettingsError(f"{name} {file} cannot be used: {exc}") from exc
    return context


def parameters(settings: Settings, host: str, port: int, role: str) -> pika.ConnectionParameters:
    """Return pika's parameters for a connection to *host*:*port*, named after *role*.

    The ``ssl_options`` stay empty, because `connect_socket` has done the TLS handshake.
    """
    credentials: object = pika.credentials.ExternalCredentials()
    if settings.auth_mechanism != "EXTERNAL":
        credentials = pika.PlainCredentials(settings.user, settings.password, erase_on_connect=True)
    return pika.ConnectionParameters(
        host,
        port,
        settings.vhost,
        credentials,
        heartbeat=settings.heartbeat,
        client_properties={
            "product": "Postage",
            "version": __version__,
            "connection_name": f"postage {os.getpid()} {role}",
        },
    )
