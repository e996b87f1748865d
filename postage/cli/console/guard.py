"""Who may ask the console for what: one decision for each request.  Pure.

A browser sends requests to this server for any page that is open in it.  So a request must name a
host that we are (else a foreign name may have been pointed at this address: DNS rebinding), must
not come from a page of another origin, and changes something only with a header that no form and no
foreign page can send.
"""

from __future__ import annotations

import hmac
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from ipaddress import ip_address

__all__ = ["HEADERS", "Access", "Refusal", "Request", "host_in", "is_loopback"]

CHANGING = "X-Postage"
"""The header that each request which changes something must have."""
LOOPBACK = ("localhost", "127.0.0.1", "::1")
NAME_AND_PORT = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^][:@/?#,\s]+)(?::[0-9]*)?")
"""The form of a Host header."""

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
"""The headers of every answer: nothing from elsewhere runs in the page, and nobody embeds it."""


@dataclass(frozen=True)
class Request:
    """What the decision depends on."""

    method: str
    path: str
    headers: Mapping[str, str]
    """By names, whose case does not matter."""
    session: str = ""
    """The cookie of the session."""


@dataclass(frozen=True)
class Refusal:
    """Why a request is refused."""

    status: HTTPStatus
    text: str


@dataclass(frozen=True)
class Access:
    """What this server allows."""

    hosts: frozenset[str] = frozenset(LOOPBACK)
    """The names by which browsers may know it, in lower case."""
    token: str | None = field(default=None, repr=False)
    """What a person must know who may write, or may read from elsewhere; None: there is none."""
    guards_reading: bool = False
    """Whether reading needs the token, too."""
    may_write: bool = False
    session: str = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)
    """The cookie of those who knew the token."""

    def knows(self, token: object) -> bool:
        """Tell whether *token* is the right one; how long that takes tells nothing of the token."""
        if self.token is None or not isinstance(token, str):
            return False
        return hmac.compare_digest(self.token.encode(), token.encode("utf-8", "replace"))

    def has_session(self, request: Request) -> bool:
        """Tell whether *request* comes from somebody who knew the token."""
        return hmac.compare_digest(
            self.session.encode(), request.session.encode("utf-8", "replace")
        )

    def refusal(self, request: Request) -> Refusal | None:
        """Return why *request* is refused; None if it is not."""
        if host_in(request.headers.get("Host", "")) not in self.hosts:
            text = "this is no name of the console: start it with --allow-host NAME"
            return Refusal(HTTPStatus.MISDIRECTED_REQUEST, text)
        if not request.path.startswith("/api/"):
            return None  # the page itself, which tells nothing
        if _is_foreign(request):
            return Refusal(HTTPStatus.FORBIDDEN, "only the page of the console may ask this")
        if request.method in ("GET", "HEAD"):
            return self._of_reading(request)
        return self._of_changing(request)

    def _of_reading(self, request: Request) -> Refusal | None:
        if self.guards_reading and not self.has_session(request):
            return Refusal(HTTPStatus.UNAUTHORIZED, "give the token that `postage web` has printed")
        return None

    def _of_changing(self, request: Request) -> Refusal | None:
        sort = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if request.headers.get(CHANGING) != "1" or sort != "application/json":
            text = f"send JSON, with the header {CHANGING}: 1"
            return Refusal(HTTPStatus.FORBIDDEN, text)
        if request.path == "/api/session":
            return None  # it brings the token
        if not self.may_write:
            return Refusal(HTTPStatus.FORBIDDEN, "the console only reads: start it with --write")
        if not self.has_session(request):
            return Refusal(HTTPStatus.UNAUTHORIZED, "give the token that `postage web` has printed")
        return None


def host_in(text: str) -> str:
    """Return the name in a Host header, without its port; empty if it has no right form."""
    found = NAME_AND_PORT.fullmatch(text)
    return found[1].strip("[]").rstrip(".").lower() if found else ""


def _is_foreign(request: Request) -> bool:
    """Tell whether a browser says that another page, or none of ours, has sent the request."""
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None and site not in ("same-origin", "none"):
        return True
    origin = request.headers.get("Origin")
    if origin is None:
        return False
    scheme, slashes, place = origin.partition("://")
    is_web = scheme in ("http", "https") and bool(slashes)
    return not is_web or place.lower() != request.headers.get("Host", "").lower()


def is_loopback(host: str) -> bool:
    """Tell whether only this machine reaches the address *host*."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
