"""``python -m tests.faults.delay_queues --processors 1000``: how many delay queues do they use?

Each processor has a queue of its own, and fails on each of its messages until the last delay of its
policy is over.  The exit code is 1 if the delay queues are more than `MOST`.
"""

from __future__ import annotations

import argparse
from typing import Any

import gevent

from postage import Retry, green, messaging
from postage.broker import BrokerThread
from postage.green.handling.keeping import Delays
from postage.green.handling.way_back import UNBOUND
from postage.testing.polling import wait_until
from tests.faults.fault_env import FaultEnv, add_broker_option, on_embedded, on_rabbitmq
from tests.faults.steady import end_program, say
from tests.support.endpoints import Endpoint

MOST = 12
DELAYS = (0.5, 1.0, 2.0, 4.0)
MESSAGES = 3
"""The messages of each processor."""


class Late(messaging.MessageProcessor):
    """Fails until the last delay is over."""

    retry = Retry(delays=DELAYS)

    def __init__(self, *args: Any) -> None:
        self.done = 0
        super().__init__(*args)

    @messaging.MessageHandler("command", "work")
    def work(self, _content: Any) -> None:
        if green.message().attempt <= len(self.retry.delays):
            raise ConnectionError
        self.done += 1


def delay_queues(env: FaultEnv) -> set[str]:
    """Return the names of the delay queues that the broker has."""
    if isinstance(env.broker, BrokerThread):
        names = [queue.name for queue in env.broker.statistics().queues]
    else:
        names = env.control("list_queues", "--vhost", env.vhost, "name").split()
    return {name for name in names if name.startswith(f"{Delays.name}.")} - {UNBOUND}


def run_processors(env: FaultEnv, count: int) -> set[str]:
    """Let so many processors fail; return the names of the delay queues."""
    endpoint = Endpoint("late")
    late = [
        Late({}, endpoint.at((endpoint.sub(str(number)), str(number)))) for number in range(count)
    ]
    try:
        for each in late:
            each.start()
        producer = endpoint.producer()
        for number in range(count * MESSAGES):
            producer.message_work(number, _key=str(number % count))
            if not number % 100:
                gevent.sleep(0)
        wait_until(lambda: all(each.done >= MESSAGES for each in late), 60 + count / 5)
        return delay_queues(env)
    finally:
        for each in late:
            each.stop_consuming()
        for each in late:
            each.join(10)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.faults.delay_queues", description=__doc__
    )
    parser.add_argument("--processors", type=int, default=1000)
    add_broker_option(parser, "embedded")
    options = parser.parse_args()
    opened = on_embedded if options.broker == "embedded" else on_rabbitmq
    with opened(direct=True) as env:
        found = run_processors(env, options.processors)
    say(f"{options.processors} processors used {len(found)} delay queues: {sorted(found)}")
    end_program([f"more than {MOST} delay queues"] if len(found) > MOST else [])


if __name__ == "__main__":
    main()
