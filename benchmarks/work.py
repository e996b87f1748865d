"""What the processes do: serve, call, publish, fill a queue, consume.

Each function is one role of `benchmarks.roles`; the measured ones return their figures.
"""

from __future__ import annotations

import argparse
import itertools

from benchmarks.measure import Figures, Meter, Operation, repeat
from benchmarks.peers import Implementation, Payload
from benchmarks.workload import Broker, payload

#: Seconds of the same work before the measured part.
WARM_UP = 0.5


def serve(peer: Implementation, args: argparse.Namespace) -> None:
    """Answer RPCs until this process is ended."""
    peer.serve(args.url, args.queue)


def call(peer: Implementation, args: argparse.Namespace) -> Figures:
    """Call for some seconds from some greenlets; every answer is compared."""
    remote = peer.open_caller(args.url, args.queue)

    def compared(number: int) -> None:
        sent = payload(number)
        answer = remote(sent)
        if answer != sent:
            raise AssertionError(f"sent {sent}, got {answer}")

    meter, numbers = Meter(args.server_pid), itertools.count()
    repeat(compared, numbers, args.callers, WARM_UP)
    meter.start()
    return meter.figures(repeat(meter.timed(compared), numbers, args.callers, args.seconds))


def publish(peer: Implementation, args: argparse.Namespace) -> Figures:
    """Publish for some seconds from some greenlets; ends when the broker has everything."""
    send = peer.open_publisher(args.url, args.queue, confirm=args.confirm)
    broker, meter, numbers = Broker(args.url, args.queue), Meter(), itertools.count()

    def one(number: int) -> None:
        send(payload(number))

    def run(operation: Operation, seconds: float, before: int = 0) -> int:
        sent = repeat(operation, numbers, args.callers, seconds)
        broker.wait_for(before + sent)
        return sent

    before = run(one, WARM_UP)
    meter.start()
    # How long an unconfirmed publish takes to return tells nothing about the message.
    return meter.figures(run(meter.timed(one) if args.confirm else one, args.seconds, before))


def fill(peer: Implementation, args: argparse.Namespace) -> None:
    """Put ``--count`` messages into the queue, for `consume`."""
    send = peer.open_publisher(args.url, args.queue, confirm=False)
    for number in range(args.count):
        send(payload(number))
    Broker(args.url, args.queue).wait_for(args.count)


def consume(peer: Implementation, args: argparse.Namespace) -> Figures:
    """Consume ``--count`` messages, from the first handled to the last; each is compared."""
    meter, missing, figures = Meter(), set(range(args.count)), []

    def handle(message: Payload) -> bool:
        if len(missing) == args.count:
            meter.start()
        missing.remove(message["number"])
        if message != payload(message["number"]):
            raise AssertionError(f"not what was sent: {message}")
        if not missing:
            figures.append(meter.figures(args.count))
        return bool(missing)

    peer.consume(args.url, args.queue, handle)
    return figures[0]
