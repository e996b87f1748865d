"""A program that sends at its end, in the way that its first argument names, to its second one."""

import atexit
import logging
import logging.handlers
import multiprocessing
import sys
import threading
import time
import weakref
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

from postage import messaging

WAY, QUEUE, CONFIRM = sys.argv[1], sys.argv[2], sys.argv[3] == "1"


class SharedExchange(messaging.Exchange):
    name = QUEUE


class Producer(messaging.GenericProducer):
    eks = ((SharedExchange, "rk"),)
    confirm = CONFIRM


def send(what, producer=None):
    """Send *what*, and say how that went and how many seconds it took."""
    began = time.monotonic()
    outcome = "sent"
    try:
        (producer or Producer()).message_note(what)
    except Exception as exc:
        outcome = type(exc).__name__
    sys.stdout.write(f"{what} {outcome} {time.monotonic() - began:.1f}\n")
    sys.stdout.flush()


class Sending(logging.Handler):
    def emit(self, record):
        send(record.getMessage().split()[0])


class Deleted:
    def __init__(self, producer):
        self.producer = producer

    def __del__(self):
        send("deleted", self.producer)


def in_child(what):
    """Send *what*; the child does nothing else, so the hub does not run again."""
    Producer().message_note(what)


def children(method):
    """Send from three children, one after the other."""
    for number in range(3):
        child = multiprocessing.get_context(method).Process(target=in_child, args=(f"{number}",))
        child.start()
        child.join()


def log():
    """Log a record that is kept until `logging.shutdown`."""
    buffer = logging.handlers.MemoryHandler(10, logging.CRITICAL, Sending())
    logging.getLogger("app").addHandler(buffer)
    logging.getLogger("app").warning("flushed at the end")


def fail():
    """Let a thread fail, and its hook send."""
    threading.excepthook = lambda _: send("hooked")
    thread = threading.Thread(target=lambda: 1 // 0)
    thread.start()
    thread.join()


def fork():
    """Send from children; with confirms, they inherit an open connection."""
    if CONFIRM:
        producer.message_note("parent")
    children("fork")


def use_pool():
    """Send from the children of a pool."""
    with ProcessPoolExecutor(2) as pool:
        list(pool.map(in_child, "abc"))


WAYS = {
    "atexit": lambda: atexit.register(lambda: [send(f"exit{n}") for n in range(3)]),
    "first use in atexit": lambda: atexit.register(lambda: [send(f"exit{n}") for n in range(3)]),
    "logging.shutdown": log,
    "weakref.finalize": lambda: weakref.finalize(log, send, "finalized"),
    "executor": lambda: ThreadPoolExecutor(1).submit(lambda: (time.sleep(0.2), send("executed"))),
    "threading.excepthook": fail,
    "__del__": lambda: globals().update(deleted=Deleted(producer)),
    "fork": fork,
    "spawn": lambda: children("spawn"),
    "forkserver": lambda: children("forkserver"),
    "process pool": use_pool,
}

if __name__ == "__main__":
    if WAY == "first use in atexit":
        WAYS[WAY]()
    else:
        producer = Producer()
        WAYS[WAY]()
        producer.message_note("last")
