"""``stream_peer.py server`` serves streams; ``stream_peer.py client COUNT TIMEOUT`` reads one;
``stream_peer.py ten`` stops after ten parts.

The client writes a line after each tenth of the parts, and at the end what has ended the stream.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass

import gevent

from postage import Exchange, Service, client, options, rpc, run


def say(*words: object) -> None:
    sys.stdout.write(f"{' '.join(map(str, words))}\n")
    sys.stdout.flush()


class Numbers(Exchange):
    name = "stream-load"


@dataclass
class Part:
    number: int
    text: str


class Counting(Service):
    exchange, queue = Numbers, "stream-load"

    @rpc
    def count(self, to: int) -> Iterator[Part]:
        """Yield the numbers from 0 on, with a text of a hundred characters."""
        done = 0
        try:
            for number in range(to):
                yield Part(number, "x" * 100)
                done += 1
        finally:
            say("handler ended after", done)


def read(count: int, timeout: float) -> None:
    counting = client(Counting)
    began, expected = time.monotonic(), 0
    with options(counting, timeout=timeout, max_retry=0):
        parts = counting.count(count)
    try:
        for part in parts:
            if part.number != expected:
                say("wrong number", part.number)
            expected += 1
            if expected % max(1, count // 10) == 0:
                say("read", expected, round(time.monotonic() - began, 3))
    except Exception as exc:
        say("ended by", type(exc).__name__, "after", expected, exc)
    else:
        say("ended after", expected, round(time.monotonic() - began, 3))


def stop_after_ten() -> None:
    for part in client(Counting).count(10**9):
        if part.number == 9:
            break
    say("stopped")
    gevent.sleep(600)


if __name__ == "__main__":
    if sys.argv[1] == "server":
        service = Counting({"name": "counting"})
        say("serving")  # its queue exists
        run(service)
    elif sys.argv[1] == "ten":
        stop_after_ten()
    else:
        read(int(sys.argv[2]), float(sys.argv[3]))
