"""One role of one peer, as its own process: ``python -m benchmarks.roles PEER ROLE --url ...``.

A server writes the line ``ready`` and serves until it is ended; the measured roles write their
figures as one line of JSON.
"""

from __future__ import annotations

import argparse
import json

from benchmarks.peers import PEERS

ROLES = ("serve", "call", "publish", "fill", "consume")


def arguments() -> argparse.Namespace:
    """Return the arguments of this process."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.roles", description=__doc__)
    parser.add_argument("peer", choices=PEERS)
    parser.add_argument("role", choices=ROLES)
    parser.add_argument("--url", required=True, help="of the broker, amqp://...")
    parser.add_argument("--queue", required=True, help="the queue, there and bound already")
    parser.add_argument("--callers", type=int, default=1, help="greenlets at work")
    parser.add_argument("--seconds", type=float, default=3.0, help="how long to call or publish")
    parser.add_argument("--count", type=int, default=10_000, help="how many to fill in or consume")
    parser.add_argument("--confirm", action="store_true", help="publish with confirms")
    parser.add_argument("--server-pid", type=int, help="whose CPU time to measure as well")
    return parser.parse_args()


def main() -> None:
    """Play the role."""
    args = arguments()
    peer = PEERS[args.peer].load()  # which patches, so it comes before the import of what uses pika
    from benchmarks import work  # noqa: PLC0415

    figures = getattr(work, args.role)(peer, args)
    if figures is not None:
        print(json.dumps(figures.as_dict()))


if __name__ == "__main__":
    main()
