"""A console whose state is large and changes all the time: ``python loud_console.py``.

Ten megabytes of events a second would fill the memory soon if they were kept for each browser.
"""

from __future__ import annotations

import sys

import gevent

from postage.cli.console.actions import Actions
from postage.cli.console.browser_events import StateStream
from postage.cli.console.guard import Access
from postage.cli.console.poller import Poller
from postage.cli.console.web_connections import WebServer
from postage.cli.console.web_pages import make_app

ENTRIES = 500
TEXT = "x" * 1000
PAUSE = 0.05


def main() -> None:
    """Serve until killed."""
    stream = StateStream(dict)
    server = WebServer(("127.0.0.1", 0), make_app(Access(), stream, Actions(Poller()), "x"))
    server.start()
    sys.stdout.write(f"http://127.0.0.1:{server.server_port}/\n")
    sys.stdout.flush()
    number = 0
    while True:
        number += 1
        entries = {f"c{each}": {"number": number, "text": TEXT} for each in range(ENTRIES)}
        stream.publish({"about": {"number": number}, "components": entries})
        gevent.sleep(PAUSE)


if __name__ == "__main__":
    main()
