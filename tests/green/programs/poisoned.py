"""A program that a message can kill."""

import os
import signal
import sys

from postage import green, messaging

QUEUE, TYPE, DEAD, CAP = sys.argv[1:5]

ARGUMENTS = {
    "x-queue-type": TYPE,
    "x-dead-letter-exchange": "",
    "x-dead-letter-routing-key": DEAD,
}


class SharedExchange(messaging.Exchange):
    name = QUEUE


class Victim(messaging.MessageProcessor):
    concurrency = 1
    max_deliveries = int(CAP)

    @messaging.MessageHandler("command", "die")
    def die(self, content):
        os.kill(os.getpid(), signal.SIGKILL)

    @messaging.MessageHandler("command", "live")
    def live(self, content):
        os.write(1, b"alive\n")


queue = {"name": QUEUE, "flags": {"arguments": ARGUMENTS}}
victim = Victim({"name": "victim"}, [(SharedExchange, [(queue, "rk")])])
os.write(1, b"ready\n")
green.run(victim)
