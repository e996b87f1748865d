"""A program whose processor works, for as long as each message says, until it is told to end."""

import os
import sys
import time

import gevent

from postage import green, messaging

QUEUE, TIMEOUT = sys.argv[1], float(sys.argv[2])


class SharedExchange(messaging.Exchange):
    name = QUEUE


def say(*words):
    """Write a line at once, in one piece."""
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


class Worker(messaging.MessageProcessor):
    shutdown_timeout = TIMEOUT
    concurrency = 10

    @messaging.MessageHandler("command", "work")
    def work(self, content):
        number, seconds = content["parameters"]
        say("began", number)
        gevent.sleep(seconds)
        say("finished", number)


processor = Worker({"name": "worker"}, [(SharedExchange, [(QUEUE, "rk")])])
gevent.spawn_later(0, say, "ready")
green.run(processor)
say("ended", time.time(), dict(processor.counts))
