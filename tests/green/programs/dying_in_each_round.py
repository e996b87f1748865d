"""``dying_in_each_round.py QUEUE TYPE``: dies at each message, and fails when it comes again."""

import os
import signal
import sys

from postage import Retry, green, messaging

QUEUE, TYPE = sys.argv[1:]


class Place(messaging.Exchange):
    name = QUEUE


class Dying(messaging.MessageProcessor):
    max_deliveries = 2
    retry = Retry(delays=(0.1, 0.1), jitter=0)

    @messaging.MessageHandler("command", "work")
    def work(self, content):
        view = green.message()
        os.write(1, b"%d\n" % view.attempt)
        if not view.redelivered:
            os.kill(os.getpid(), signal.SIGKILL)
        raise ConnectionError


queue = {"name": QUEUE, "flags": {"arguments": {"x-queue-type": TYPE}}}
dying = Dying({"name": "dying"}, [(Place, [(queue, "rk")])])
os.write(1, b"ready\n")
green.run(dying)
