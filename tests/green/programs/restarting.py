"""A program with many processors that restarts on command; arguments: endpoint, count, file."""

import json
import os
import sys
import time

import gevent

from postage import green, messaging

ENDPOINT, COUNT, FILE = sys.argv[1], int(sys.argv[2]), sys.argv[3]
STARTED = time.time()


class SharedExchange(messaging.Exchange):
    name = ENDPOINT


class Component(messaging.MessageProcessor):
    @messaging.RpcHandler("command", "double")
    def double(self, content, reply_func):
        gevent.sleep(0.002)
        reply_func(2 * content["parameters"])

    @messaging.MessageHandler("command", "note")
    def note(self, content):
        gevent.sleep(0.002)
        with open(FILE, "a") as file:  # noqa: PTH123 - one write: lines of two runs do not mix
            file.write(f"{content['parameters']}\n")


def about() -> str:
    """Return what a new run shall have in common with the old one, and its start."""
    inherited = [os.getpid(), sys.orig_argv, os.getcwd(), os.environ["RESTARTING"]]  # noqa: PTH109
    return json.dumps({"inherited": inherited, "started": STARTED})


if __name__ == "__main__":
    queues = [(f"{ENDPOINT}-{number}", str(number)) for number in range(COUNT)]
    processors = [
        Component({"name": queue}, [(SharedExchange, [(queue, key)])]) for queue, key in queues
    ]
    sys.stdout.write(f"runs {about()}\n")
    sys.stdout.flush()
    green.run(*processors)
