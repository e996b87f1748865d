"""Addresses as text: broker URLs (https://www.rabbitmq.com/docs/uri-spec) and lists of hosts.

``urllib.parse.urlsplit`` is not used: it knows only one host, and its errors may quote a password.
No error of this module quotes any part of an address, except its scheme and the names of options.
"""

from __future__ import annotations

import re
import urllib.parse
from dataclasses import dataclass, field
from typing import Any

from postage.errors import SettingsError
from postage.values import host_name, number, secret

__all__ = [
    "EMBEDDED",
    "Address",
    "Url",
    "addresses",
    "check_addresses",
    "masked",
    "port_number",
]

Address = tuple[str, int]
"""A host, without brackets, and a port."""

EMBEDDED = "embedded://"
"""The prefix of a host that is the name of a broker inside this process."""

EMBEDDED_OPTIONS = ("like", "transient_queues")
"""Options of a URL that describe the broker inside this process; they stay with its name."""

_port = number(1, 65535)

SCHEMES = ("amqp", "amqps", "embedded")
# RFC 3986, appendix B; it matches any text.
_URL = re.compile(r"(?:([^:/?#]+):)?(?://([^/?#]*))?([^?#]*)(?:\?([^#]*))?(?:#(.*))?", re.DOTALL)


@dataclass(frozen=True)
class Url:
    """The parts of a broker URL."""

    scheme: str = ""
    parts: dict[str, str] = field(default_factory=dict, repr=False)
    """The host, port, user, password and vhost, if the URL has them.  Several hosts are one text in
    *host*, as in the URL, each with its port; there is no *port* then.  The host of an embedded
    broker includes the options that describe it."""
    options: dict[str, str] = field(default_factory=dict)
    """The options after the question mark."""

    @classmethod
    def parse(cls, text: str, source: str = "POSTAGE_URL", *, is_quotable: bool = True) -> Url:
        """Return the parts of *text*, none if it is empty.

        Raises `SettingsError`, which names the *source* of the URL: a variable or an option.  It
        quotes the scheme or the name of an option, unless *is_quotable* is false: a file of secrets
        may contain anything.
        """
        if not text:
            return cls()
        match = _URL.fullmatch(text)
        assert match is not None
        scheme, authority, path, query, fragment = (part or "" for part in match.groups())
        scheme = scheme.lower()  # RFC 3986, 3.1
        if scheme not in SCHEMES:
            wrong = f", not {scheme or '?'}://" if is_quotable else ""
            raise SettingsError(f"{source} must begin with amqp://, amqps:// or embedded://{wrong}")
        if "@" not in authority and "@" in path + query + fragment:
            raise SettingsError(f"{source}: a / ? or # in a password is written %2F %3F or %23")
        try:
            parts = _embedded_parts(authority) if scheme == "embedded" else _broker_parts(authority)
        except SettingsError as exc:
            raise SettingsError(f"{source}: {exc}") from None
        if path[1:]:
            parts["vhost"] = urllib.parse.unquote(path[1:])
        options = dict(urllib.parse.parse_qsl(query, keep_blank_values=True))
        for name, value in options.items():
            if not value:
                which = f"option {name!r}" if is_quotable else "an option"
                raise SettingsError(f"{source}: {which} has no value: write NAME=VALUE")
        if scheme == "embedded":
            own = {name: options.pop(name) for name in EMBEDDED_OPTIONS if name in options}
            parts["host"] += f"?{urllib.parse.urlencode(own)}" if own else ""
        return cls(scheme, parts, options)


def masked(text: str) -> str:
    """Return the URL *text* with ``***`` in place of its password, if it has one."""
    match = _URL.fullmatch(text)
    assert match is not None
    login, at, _ = (match[2] or "").rpartition("@")
    user, colon, _ = login.partition(":")
    if not (at and colon):
        return text
    begin = match.start(2)
    return f"{text[:begin]}{user}:***{text[begin + len(login) :]}"


def _embedded_parts(authority: str) -> dict[str, str]:
    """Return the parts of ``embedded://name``; the host is the name with its prefix."""
    if "@" in authority or ":" in authority:
        raise SettingsError("embedded:// takes a name and a vhost, no user or port")
    return {"host": EMBEDDED + urllib.parse.unquote(authority)}


def _broker_parts(authority: str) -> dict[str, str]:
    """Return the parts of ``user:password@host:port``; several hosts keep their ports."""
    login, at, hosts = authority.rpartition("@")
    user, colon, password = login.partition(":")
    parts = {"host": hosts} if hosts else {}
    if hosts and "," not in hosts:
        parts["host"], port = _split(hosts)
        if port:
            parts["port"] = str(port_number(port))
    if at:
        parts["user"] = user
    if colon:
        parts["password"] = password
    return {name: urllib.parse.unquote(part) for name, part in parts.items()}


def addresses(hosts: str, port: int) -> tuple[Address, ...]:
    """Return the addresses in ``h1,h2:5673,[::1]:5674``; hosts without a port have *port*.

    Raises `SettingsError`.
    """
    secret("host", hosts)
    if hosts.startswith(EMBEDDED):
        return ((hosts, port),)
    split = [_split(host.strip()) for host in hosts.split(",")]
    return tuple((host, port_number(own) if own else port) for host, own in split)


def check_addresses(hosts: tuple[tuple[Any, Any], ...]) -> None:
    """Raise `SettingsError` if *hosts* are no pairs of a host and a port."""
    for host, port in hosts:
        if not (isinstance(host, str) and host.startswith(EMBEDDED)):
            host_name("host", host)
        _port("port", port)


def _split(text: str) -> tuple[str, str]:
    """Return a host and its port, which may be empty; an IPv6 host with a port has brackets."""
    is_wrong = False
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        is_wrong = not bracket or not (rest == "" or rest.startswith(":"))
        port = rest[1:]
    elif text.count(":") > 1:
        host, port = text, ""
    else:
        host, _, port = text.partition(":")
    if is_wrong or not host:
        raise SettingsError("a host is missing; several are written as h1,h2:5673,[::1]:5674")
    return host, port


def port_number(text: object, *, quote: bool = False) -> int:
    """Return *text* as a TCP port, or raise `SettingsError`, which quotes *text* if *quote*."""
    try:
        port = int(str(text))
    except ValueError:
        wrong = f", not {text!r}" if quote else ""
        raise SettingsError(f"port must be a number from 1 to 65535{wrong}") from None
    if not 0 < port < 65536:  # noqa: PLR2004 - the ports that TCP has
        raise SettingsError(f"port must be from 1 to 65535, not {port!r}")
    return port
