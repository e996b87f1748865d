"""The command line: ``python -m benchmarks rpc`` prints a table; see README.md beside this file."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks import brokers, components, gate, growth, scale, typed
from benchmarks.broker import Target, broker
from benchmarks.contest import available, compete
from benchmarks.contestants import CONTESTANTS, Contestant
from benchmarks.flame import flame
from benchmarks.machine import conditions
from benchmarks.plot import plot
from benchmarks.profile import profile, profiles
from benchmarks.report import Outcome, written_into
from benchmarks.rounds import Round
from benchmarks.variations import compare
from benchmarks.workloads import WORKLOADS, Workload

Program = Callable[[argparse.Namespace], str]


def _broker(args: argparse.Namespace) -> str:
    return brokers.run(args.rounds, args.count, args.seconds)


def _defaults(args: argparse.Namespace) -> str:
    with broker(args.broker) as target:
        return compare(round_of(args, target), args.rounds)


def _profile(args: argparse.Namespace) -> str:
    with broker(args.broker) as target:
        each = round_of(args, target)
        named = args.workloads[1:] or ["confirm", "consume", "rpc100"]
        panels = [panel for one in named for panel in profile(each, WORKLOADS[one])]
    if args.plot:
        args.plot.write_text(flame(panels))
        return f"![Who calls what]({args.plot.name})\n\n{profiles(panels)}"
    return profiles(panels)


def _typed(args: argparse.Namespace) -> str:
    with broker(args.broker) as target:
        return typed.compare(round_of(args, target), args.rounds)


PROGRAMS: dict[str, Program] = {
    "broker": _broker,
    "defaults": _defaults,
    "profile": _profile,
    "typed": _typed,
}
"""Measurements with tables of their own."""
ALL = "all"
"""What stands in the marks of the workloads' tables, whichever were measured."""


def round_of(args: argparse.Namespace, target: Target) -> Round:
    """Return what *args* say is the same for every contestant and workload."""
    return Round(target.url, target.pid, args.seconds, args.count, not args.transient)


def arguments() -> argparse.Namespace:
    """Return the arguments of this process."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "workloads",
        nargs="*",
        metavar="WORKLOAD",
        help=f"{', '.join(WORKLOADS)} (all of them, if none is named), or {', '.join(PROGRAMS)},"
        " or components, gate, growth or scale, each for itself: see the README",
    )
    parser.add_argument("--peers", help=f"of {','.join(CONTESTANTS)}: only these")
    parser.add_argument("--rounds", type=int, default=3, help="of all peers (%(default)s)")
    parser.add_argument(
        "--broker", default="rabbitmq", help="rabbitmq, embedded or a URL (%(default)s)"
    )
    parser.add_argument(
        "--seconds", type=float, default=3.0, help="of calling or publishing (%(default)s)"
    )
    parser.add_argument("--count", type=int, default=20_000, help="to consume (%(default)s)")
    parser.add_argument(
        "--transient", action="store_true", help="nothing durable, nothing persistent"
    )
    parser.add_argument("--json", action="store_true", help="print JSON, with every round")
    parser.add_argument(
        "--plot", metavar="FILE.svg", type=Path, help="draw it; beside the file of --write"
    )
    parser.add_argument(
        "--write", metavar="FILE.md", type=Path, help="put the tables between the marks in it"
    )
    args = parser.parse_args()
    known = {*WORKLOADS, *PROGRAMS}
    if unknown := [one for one in args.workloads if one not in known]:
        parser.error(f"there is no workload {unknown[0]}; there are {', '.join(known)}")
    args.peers = args.peers.split(",") if args.peers else list(CONTESTANTS)
    if unknown := [one for one in args.peers if one not in CONTESTANTS]:
        parser.error(f"there is no peer {unknown[0]}; there are {', '.join(CONTESTANTS)}")
    return args


def contest(args: argparse.Namespace) -> Outcome:
    """Measure what *args* ask for."""
    contestants: list[Contestant] = [CONTESTANTS[name] for name in args.peers]
    workloads: list[Workload] = [WORKLOADS[name] for name in args.workloads or WORKLOADS]
    versions = available(contestants)
    with broker(args.broker) as target:
        each = round_of(args, target)
        results = {one: compete(each, one, contestants, args.rounds) for one in workloads}
        return Outcome(conditions(target.title, each, args.rounds), versions, contestants, results)


def main() -> None:
    """Measure, and print."""
    # With options of their own:
    apart = {
        "components": components.main,
        "gate": gate.main,
        "growth": growth.main,
        "scale": scale.main,
    }
    if sys.argv[1:2] and sys.argv[1] in apart:
        apart[sys.argv[1]](sys.argv[2:])
        return
    args = arguments()
    what = args.workloads[0] if args.workloads and args.workloads[0] in PROGRAMS else ALL
    if what in PROGRAMS:
        text, failed = PROGRAMS[what](args), False
        print(text)
    else:
        outcome = contest(args)
        text, failed = outcome.as_markdown(), outcome.failed
        print(outcome.as_json() if args.json else text)
        if args.plot:
            args.plot.write_text(plot(outcome.results))
            text = f"![The medians as bars]({args.plot.name})\n\n{text}"
    if args.write:
        written_into(args.write, what, text)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
