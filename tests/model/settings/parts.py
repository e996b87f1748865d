"""The five parts of an address, as components resolve them."""

from __future__ import annotations

from postage.settings import Settings

PARTS = ("host", "port", "user", "password", "vhost")
DEFAULTS = ("localhost", 5672, "guest", "guest", "/")


def parts(hup=None, vhost=None):
    """Return host, port, user, password, vhost of a component with these arguments."""
    settings = Settings.resolve(hup, vhost)
    return tuple(getattr(settings, name) for name in PARTS)
