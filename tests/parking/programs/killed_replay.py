"""Replays a queue, and kills itself at the n-th time that it comes to a step."""

import os
import signal
import sys

import gevent

from postage import parking
from postage.green.amqp.channel import Channel
from postage.green.amqp.codec import Codec
from postage.green.amqp.getting import Gets
from postage.parking.walk import Walk

queue, step, times = sys.argv[1], sys.argv[2], int(sys.argv[3])
left = iter(range(times - 1))


def die():
    if next(left, None) is None:
        os.kill(os.getpid(), signal.SIGKILL)


def sent_and_die():
    gevent.sleep(0)  # the end of a turn of the hub: what was written is sent
    gevent.sleep(0)
    die()


def wrap(owner, name, before=None, after=None):
    original = getattr(owner, name)

    def wrapped(*args, **kwds):
        if before is not None:
            before()
        result = original(*args, **kwds)
        if after is not None:
            after()
        return result

    setattr(owner, name, wrapped)


STEPS = {
    "asking": (Gets, "ask", None, die),
    "taken": (Gets, "answer", None, die),
    "publishing": (Channel, "publish_confirmed", die, None),
    "published, unsent": (Codec, "publish", None, die),
    "published, sent": (Codec, "publish", None, sent_and_die),
    "confirmed": (Channel, "publish_confirmed", None, die),
    "acked, unsent": (Walk, "ack", None, die),
    "acked, sent": (Walk, "ack", None, sent_and_die),
    "closing": (Walk, "close", die, None),
    "closed": (Walk, "close", None, die),
}
if step in STEPS:
    wrap(*STEPS[step])
sys.stdout.write("begins\n")
sys.stdout.flush()
parking.replay(queue)
