"""Makes components, forks twice, and uses them in both children; prints a line of JSON for each."""

from __future__ import annotations

import json
import os
import sys

import gevent

from postage import generic_application, green, messaging

queue = sys.argv[1]


class To(messaging.Exchange):
    name = queue


class Sender(messaging.GenericProducer):
    eks = ((To, queue),)
    confirm = True


class Caller(messaging.GenericProducer):
    eks = ((generic_application.GenericApplicationExchange, ""),)
    rpc_timeout = 10


class Unhashable(generic_application.GenericApplication):
    __hash__ = None  # type: ignore[assignment]


made = messaging.Fingerprint("made", "application").as_dict()
producer = Sender(made)
other_host = Sender({**made, "host": "elsewhere"})
applications = [Unhashable(made), generic_application.GenericApplication(made)]


def use() -> None:
    running = gevent.spawn(green.run, *applications)
    late = generic_application.GenericApplication(made)
    producer.message_from(os.getpid())
    pings = [Caller().call("ping", _key=each.address.unique_key) for each in applications]
    found = {
        "pid": str(os.getpid()),
        "keys": [each.address.unique_key for each in (*applications, late)],
        "queues": [each.uid["name"] for each in (*applications, late)],
        "pings": [each.unwrap()["pid"] for each in pings],
        "elsewhere": other_host.fingerprint["pid"],
    }
    print(json.dumps(found), flush=True)  # noqa: T201 - it is what the test reads
    gevent.sleep(0.5)  # so that both children exist at the same time
    for each in applications:
        each.stop_consuming()
    running.join()


producer.message_from(os.getpid())
children = []
for _ in range(2):
    child = os.fork()
    if child == 0:
        use()
        os._exit(0)
    children.append(child)
for child in children:
    assert os.waitpid(child, 0)[1] == 0
