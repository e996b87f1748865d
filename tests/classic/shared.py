"""What server.py and client.py share: an exchange, a queue, and a form of report.

These three files run on Python 2.7 and 3 and use only the classic API, so the same programs run on
Postage 1.2.1 (through old.py) and on this package.  The first argument of a program is part of the
name of the exchange and the queue.
"""

import json
import sys

from postage import messaging

NAME = "classic-" + sys.argv[1]
KEY = "rk"
# The default of 1.2.1, which Postage 2 must be told.
QUEUE = {"name": NAME, "flags": {"durable": False}}


class Shared(messaging.Exchange):
    name = NAME


def report(event, **details):
    """Write one JSON line about *event* to the standard output, at once."""
    sys.stdout.write(json.dumps(dict(details, event=event), sort_keys=True) + "\n")
    sys.stdout.flush()
