"""Services: processors whose handlers have signatures, and clients that call them by these."""

from postage.services.decorators import command, event, rpc
from postage.services.functions import Application
from postage.services.service import Service
from postage.services.typed_client import Events, Later, client, events, later, options

# fmt: off
__all__ = [
    "Application",
    "Events",
    "Later",
    "Service",
    "client",
    "command",
    "event",
    "events",
    "later",
    "options",
    "rpc",
]
# fmt: on
