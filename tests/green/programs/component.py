"""A program with two processors, at the keys ``one`` and ``two``, that says what it does."""

import os
import sys

import gevent

from postage import messaging, microthreads

QUEUE = sys.argv[1]


class SharedExchange(messaging.Exchange):
    name = QUEUE


def say(*words):
    """Write a line; the program's own buffer keeps it until somebody flushes."""
    sys.stdout.write(" ".join(map(str, words)) + "\n")


class Component(messaging.MessageProcessor):
    @messaging.MessageHandler("command", "work")
    def work(self, content):
        say("began")
        sys.stdout.flush()
        gevent.sleep(content["parameters"])
        say("finished")

    @messaging.RpcHandler("command", "echo")
    def echo(self, content, reply_func):
        reply_func(content["parameters"])


if __name__ == "__main__":
    sys.stdout.reconfigure(write_through=False, line_buffering=False)
    run = int(os.environ.get("COMPONENT_RUN", "0")) + 1
    os.environ["COMPONENT_RUN"] = str(run)
    scheduler = microthreads.MicroScheduler()
    for key in ("one", "two"):
        eqk = [(SharedExchange, [(f"{QUEUE}-{key}", key)])]
        scheduler.add_microthread(Component({"name": key}, eqk))
    say("run", run, "of", os.getpid(), sys.argv[1:], sys.flags.dont_write_bytecode)
    sys.stdout.flush()
    for _ in scheduler.main():
        pass
    say("after the loop")
