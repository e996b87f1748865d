"""Run 200 processors in one process, and print each second what they did, until Ctrl-C."""

from postage import green

green.patch_all()  # before other imports

import argparse
import signal

import gevent
import kinds
import tally
from gevent.event import AsyncResult

from postage.cli import exit_codes

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--seconds", type=float, help="how long to run; default: until Ctrl-C")
seconds = parser.parse_args().seconds

with exit_codes():
    over = AsyncResult()  # set at the end, or to the error of a component
    callers_first = (kinds.Gatherer, kinds.Adder, kinds.Squarer, kinds.NumberGiver)
    crowds = [[kind() for _ in range(50)] for kind in callers_first]
    runs = [[gevent.spawn(each.run, over) for each in crowd] for crowd in crowds]
    for number in (signal.SIGTERM, signal.SIGINT):
        gevent.signal_handler(number, over.set)
    timer = gevent.spawn_later(seconds, over.set) if seconds else None
    for gatherer in crowds[0]:
        gatherer.tell("Gatherer", "gather")  # each starts a round that never ends
    while not over.ready():
        over.wait(1)
        tally.show(gatherer.consumer.settings)
    # Callers end before their servers, so every call is still answered.
    for crowd, running in zip(crowds, runs, strict=True):
        for each in crowd:
            each.stop_consuming()
        gevent.joinall(running)
    over.get()
