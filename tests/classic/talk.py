"""What server.py and client.py share: where they meet, and how they report.

These three files are written in the Python that 2.7 and 3 share and use the classic API alone, so
the very same programs run on Postage 1.2.1 (through old.py) and on this package (as they are).
The first argument of a program is the name of its meeting place: exchange and queue.
"""

import json
import sys

from postage import messaging

NAME = "classic-" + sys.argv[1]
KEY = "rk"
# What 1.2.1 declares when nothing is said, and thus what must be said to Postage 2.
QUEUE = {"name": NAME, "flags": {"durable": False}}


class Meeting(messaging.Exchange):
    name = NAME


def say(event, **details):
    """Write one JSON line about *event* to the standard output, at once."""
    sys.stdout.write(json.dumps(dict(details, event=event), sort_keys=True) + "\n")
    sys.stdout.flush()
