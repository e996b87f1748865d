"""Publishes notes: ``sender.py ENDPOINT PUBLISHER COUNT``; prints which of them are confirmed."""

from __future__ import annotations

import sys

from postage import green

green.patch_all()

import gevent  # noqa: E402 - after patching

from tests.support.endpoints import Endpoint  # noqa: E402 - after patching

ENDPOINT, PUBLISHER, COUNT = Endpoint(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
numbers = iter(range(COUNT))


def send() -> None:
    producer = ENDPOINT.producer(eks=[(ENDPOINT.exchange, "notes")])
    for number in numbers:
        producer.message_note([PUBLISHER, number])
        sys.stdout.write(f"confirmed {PUBLISHER} {number}\n")
        sys.stdout.flush()
        gevent.sleep(0.02)


gevent.joinall([gevent.spawn(send) for _ in range(10)], raise_error=True)
