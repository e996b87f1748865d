"""The command line: ``python -m benchmarks rpc`` prints a table; see README.md beside this file."""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Iterable

from benchmarks import brokers, components
from benchmarks.broker import broker_url
from benchmarks.measure import Figures
from benchmarks.peers import PEERS, Peer
from benchmarks.rounds import WORKLOADS, Round
from benchmarks.table import table


def arguments() -> argparse.Namespace:
    """Return the arguments of this process."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "workload", choices=[*WORKLOADS, "broker"], help="broker: the embedded one beside RabbitMQ"
    )
    parser.add_argument("--rounds", type=int, default=3, help="rounds of all peers (%(default)s)")
    parser.add_argument("--callers", type=int, default=100, help="greenlets (%(default)s)")
    parser.add_argument(
        "--seconds", type=float, default=3.0, help="of calling or publishing (%(default)s)"
    )
    parser.add_argument("--count", type=int, default=20_000, help="to consume (%(default)s)")
    parser.add_argument("--confirm", action="store_true", help="publish with confirms")
    parser.add_argument("--broker", metavar="URL", help="amqp://...; else POSTAGE_*, else our own")
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=list(PEERS), help="only these")
    return parser.parse_args()


def interleaved(
    each: Round, workload: str, peers: Iterable[Peer], rounds: int
) -> dict[str, list[Figures]]:
    """Return the figures of every round, by peer: A B C, A B C, so that all share bad moments."""
    results: dict[str, list[Figures]] = defaultdict(list)
    for number in range(1, rounds + 1):
        for peer in peers:
            figures = each.run(workload, peer)
            callers = each.callers_of(peer, workload)
            results[f"{peer.title}, {callers} at once" if callers > 1 else peer.title].append(
                figures
            )
            print(f"round {number}: {peer.title}: {figures.rate:,.0f}/s", file=sys.stderr)
    return results


def main() -> None:
    """Measure, and print the table."""
    if sys.argv[1:2] == ["components"]:
        components.main(sys.argv[2:])
        return
    args = arguments()
    if args.workload == "broker":
        brokers.run(args.rounds, args.count, args.seconds)
        return
    with broker_url(args.broker) as url:
        each = Round(url, args.callers, args.seconds, args.count, args.confirm)
        peers = [PEERS[name] for name in args.peers]
        print(table(interleaved(each, args.workload, peers, args.rounds)))


if __name__ == "__main__":
    main()
