"""Who may log in and when, and which connections must make room for others before they have."""

from __future__ import annotations

import hmac
import ipaddress
import secrets
from collections.abc import Mapping
from hashlib import sha256
from typing import Generic, TypeVar

from postage.broker.core.clock import Timers

__all__ = ["Logins", "Strangers", "source_of"]

FREE_TRIES = 20
"""Logins that may fail at once from one address before its next logins wait."""
SECONDS_EACH = 1.0
"""Seconds for each further login of an address that has failed so often."""
LONGEST_WAIT = 5.0
"""Seconds that a login waits at most; one that would wait longer is refused unchecked."""
MOST_SOURCES = 10_000
"""Addresses whose failures are remembered."""
IPV6_NETWORK = 64
"""The bits of an IPv6 address that count: a host can choose the others."""

C = TypeVar("C")


def source_of(address: str) -> str:
    """Return the part of *address* that a host cannot choose."""
    if ":" not in address:
        return address
    try:
        whole = ipaddress.IPv6Address(address.partition("%")[0])
    except ValueError:
        return address
    if whole.ipv4_mapped is not None:
        return str(whole.ipv4_mapped)
    return str(ipaddress.IPv6Network((whole, IPV6_NETWORK), strict=False))


class Logins:
    """The users of a broker, and the failed logins of each source; see `source_of`.

    Each failed login takes a source some seconds.  It may take `FREE_TRIES` of them in advance; its
    next logins wait.  Right passwords wait as well: if they did not, the first moment would tell an
    attacker that a password is wrong.  Programs on this machine never wait, because one of them
    could lock out all others.
    """

    def __init__(self, users: Mapping[str, str], timers: Timers) -> None:
        self._users, self._timers = dict(users), timers
        self._free_at: dict[str, float] = {}
        """When the failures of a source are forgotten."""

    def admits(self, user: str, password: str, *, loopback: bool) -> bool:
        """Tell whether *password* is right; guest may log in from this machine only.

        The time that this takes tells nothing about users and passwords.
        """
        right = self._users.get(user)
        expected = secrets.token_hex() if right is None else right
        known = hmac.compare_digest(_digest(password), _digest(expected))
        return known and right is not None and (loopback or user != "guest")

    def wait(self, source: str) -> float | None:
        """Return the seconds until a login from *source* may be checked; None: refuse it.

        A login that waits takes its second here, others take it when they have `failed`.
        """
        now = self._timers.now()
        wait = self._free_at.get(source, now) - now - (FREE_TRIES - 1) * SECONDS_EACH
        if wait <= 0:
            return 0.0
        if wait > LONGEST_WAIT:
            return None
        self.failed(source)
        return wait

    def failed(self, source: str) -> None:
        """Count a login from *source* that has failed."""
        now = self._timers.now()
        if source not in self._free_at and len(self._free_at) >= MOST_SOURCES:
            self._forget(now)
        self._free_at[source] = max(now, self._free_at.get(source, now)) + SECONDS_EACH

    def _forget(self, now: float) -> None:
        """Forget the sources whose time is over, and at least one."""
        self._free_at = {each: at for each, at in self._free_at.items() if at > now}
        if len(self._free_at) >= MOST_SOURCES:
            del self._free_at[next(iter(self._free_at))]


def _digest(text: str) -> bytes:
    """Return *text* in a form whose length tells nothing."""
    return sha256(text.encode("utf-8", "surrogatepass")).digest()


class Strangers(Generic[C]):
    """The connections that have not been opened yet, by their source.

    If there are more than *most*, the oldest one of the source with most of them must go.  So
    clients that log in as soon as they are connected get in, whatever others do.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self._count = 0
        self._by_source: dict[str, dict[C, None]] = {}

    def __len__(self) -> int:
        return self._count

    def add(self, connection: C, source: str) -> None:
        """Add *connection*."""
        self._by_source.setdefault(source, {})[connection] = None
        self._count += 1

    def discard(self, connection: C, source: str) -> None:
        """Remove *connection*, which has been opened, or has ended."""
        found = self._by_source.get(source, {})
        if connection in found:
            del found[connection]
            self._count -= 1
            if not found:
                del self._by_source[source]

    def surplus(self) -> C | None:
        """Return a connection that must go, or None."""
        if self._count <= self.most:
            return None
        crowd = max(self._by_source, key=lambda source: len(self._by_source[source]))
        return next(iter(self._by_source[crowd]))
