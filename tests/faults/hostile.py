"""``python -m tests.faults.hostile --seconds 60``: two hostile peers beside a load.

The load is 20 processors, 50 callers and a few publishers.  Three parts of a run have the same
length: the load alone, beside the hostile peers at full speed, and beside peers that are as busy
with ordinary messages of the same sizes.  Calls wait behind the messages in their queue, and for
the processor, whatever the messages are: the third part says how long.  What hostility itself costs
is the difference of the second to the third.

One peer is a client with rights of its own, which floods the queues of the load (`hostile_client`);
the other one speaks AMQP badly (`rude_peer`).  The exit code is 1 if a call is not answered, a
message is lost, memory or the log has no bound, or calls are much slower than beside harmless
peers.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import os
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import Any
from urllib.parse import quote

import gevent

from benchmarks.table import markdown
from postage import messaging
from tests.faults.fault_env import (
    PASSWORD,
    USER,
    FaultEnv,
    add_broker_option,
    on_brokers,
    on_rabbitmq,
)
from tests.faults.fault_run import fault_run
from tests.faults.load import Load, LoadProcessor, LoadSettings
from tests.faults.report import ANSWERED, HARMLESS, report, violations
from tests.faults.steady import end_program, say
from tests.support.programs import Program

SETTINGS = LoadSettings(publishers=5)
LOG_LIMIT = 1_000_000
"""Bytes that the process of the load and the embedded broker may log in a run."""
MEMORY_LIMIT = 512 << 20
"""Bytes by which the process of the load, and the broker, may grow at any moment: 256 MiB of
deliveries in hand (`memory`), and as much for what is made of them."""
SLOWER = 3.0
"""How many times slower the slowest hundredth of the calls may be than beside harmless peers."""
SAMPLE_PAUSE = 0.1
PEERS = {"client": "hostile_client.py", "rude peer": "rude_peer.py"}
STOP_TIMEOUT = 30.0


class PatientProcessor(LoadProcessor):
    """A processor of the load, which takes remote commands only from its own user."""

    remote_control = "own-user"
    # RabbitMQ sends as many messages ahead of the acks, whatever their size, and calls wait behind
    # them: 2,500 messages with the default, some hundreds of megabytes.
    concurrency = 10

    @messaging.MessageHandler("command", "idle")
    def idle(self, content: Any) -> None:
        """Do nothing with an ordinary message."""


class TimedLoad(Load):
    """A load that notes how long each call takes."""

    processor_class = PatientProcessor

    def __init__(self, title: str, settings: LoadSettings | None = None) -> None:
        super().__init__(title, settings)
        self.waits: list[float] = []

    def _call(self, producer: Any, caller: int, turn: int) -> bool:
        began = time.monotonic()
        success = super()._call(producer, caller, turn)
        self.waits.append(time.monotonic() - began)
        return success


@dataclass
class Part:
    """What was measured in one part of a run.  Times are in seconds, sizes in bytes."""

    title: str
    waits: list[float] = field(default_factory=list)
    unanswered: int = 0
    handled: int = 0
    memory: dict[str, list[int]] = field(default_factory=dict)  # of the load and the broker
    processor_time: dict[str, float] = field(default_factory=dict)  # of the load and the broker
    logged: int = 0
    counts: dict[str, Counter[str]] = field(default_factory=dict)  # what each peer did
    seconds: float = 0.0

    def percentile(self, share: float) -> float:
        """Return the time that this *share* of the calls did not exceed."""
        ordered = sorted(self.waits)
        return ordered[int(share * (len(ordered) - 1))] if ordered else 0.0

    def rate(self, peer: str) -> float:
        """Return how many messages or connections a second *peer* made."""
        return self.counts[peer]["messages"] / self.seconds if peer in self.counts else 0.0

    def row(self) -> list[str]:
        """Return the line of the table."""
        return [
            self.title,
            *(f"{self.rate(peer):,.0f}" for peer in PEERS),
            f"{len(self.waits):,}",
            f"{self.unanswered}",
            *(f"{self.percentile(share) * 1e3:.1f}" for share in (0.5, 0.99, 1)),
            *(_sizes(self.memory.get(whose, [])) for whose in ("load", "broker")),
            ", ".join(f"{took / self.seconds:.0%}" for took in self.processor_time.values()),
            f"{self.logged:,}",
        ]


HEADER = [
    "", "messages/s", "connections/s", "calls", "unanswered", "p50 ms", "p99 ms", "max ms",
    "MB, most", "MB of the broker, most", "processor", "bytes logged",
]  # fmt: skip


def _sizes(samples: list[int]) -> str:
    return f"{samples[0] / 1e6:.0f}, {max(samples) / 1e6:.0f}" if samples else "-"


def resident(pid: int | str) -> int:
    """Return the bytes of memory of the process *pid* that are resident."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


def processor_time(pid: int | str) -> float:
    """Return the seconds of processor time that the process *pid* has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Arena:
    """The load, the peers beside it, and the measurements of both."""

    def __init__(self, env: FaultEnv, load: TimedLoad, log: Path) -> None:
        self._load, self._log = load, log
        self._port, self._vhost = env.broker.port, quote(env.vhost, safe="")
        pid = getattr(env.broker, "pid", None)  # None: it is a thread of this process
        self._pids = {"load": "self", **({} if pid is None else {"broker": str(pid)})}

    def part(self, title: str, seconds: float, peers: dict[str, list[str]]) -> Part:
        """Measure the load for so long beside *peers*, each given by its arguments."""
        part, load = Part(title), self._load
        with contextlib.ExitStack() as stack:
            programs = {
                name: stack.enter_context(self._peer(name, arguments))
                for name, arguments in peers.items()
            }
            for program in programs.values():
                program.wait_for_line("ready")
            failed, handled = self._failed(), load.journal.handled
            logged, first = self._log.stat().st_size, len(load.waits)
            began, used = time.monotonic(), self._processor_time()
            while time.monotonic() < began + seconds:
                for whose, pid in self._pids.items():
                    part.memory.setdefault(whose, []).append(resident(pid))
                for program in programs.values():
                    assert program.running, program.stderr
                gevent.sleep(SAMPLE_PAUSE)
            part.seconds = time.monotonic() - began
            part.processor_time = {
                whose: after - used[whose] for whose, after in self._processor_time().items()
            }
            for name, program in programs.items():
                _, told = program.terminate(STOP_TIMEOUT).stdout.splitlines()
                part.counts[name] = Counter(json.loads(told))
        part.waits = load.waits[first:]
        part.unanswered = self._failed() - failed
        part.handled = load.journal.handled - handled
        part.logged = self._log.stat().st_size - logged
        return part

    def _processor_time(self) -> dict[str, float]:
        return {whose: processor_time(pid) for whose, pid in self._pids.items()}

    def _failed(self) -> int:
        calls = self._load.journal.calls
        return calls.total() - calls[ANSWERED]

    def _peer(self, name: str, arguments: list[str]) -> Program:
        url = f"amqp://guest:guest@127.0.0.1:{self._port}/{self._vhost}"
        path = f"tests/faults/programs/{PEERS[name]}"
        endpoint = self._load.endpoint.queue
        return Program(path, endpoint, *arguments, env={**os.environ, "HOSTILE_URL": url})


def run_parts(arena: Arena, seconds: float, kinds: Mapping[str, list[str]]) -> list[Part]:
    """Measure the three parts, and return their figures."""
    alone = arena.part("alone", seconds, {})
    chosen, rude = ["hostile", *kinds.get("client", [])], kinds.get("rude peer", [])
    full = {"client": chosen, "rude peer": ["hostile", "0", *rude]}
    hostile = arena.part("hostile", seconds, full)
    same = ["harmless", f"{hostile.rate('rude peer'):.1f}"]
    harmless = {"client": ["harmless", *chosen[1:]], "rude peer": same}
    return [alone, hostile, arena.part("harmless", seconds, harmless)]


def faults(parts: list[Part]) -> Iterator[str]:
    """Yield what is wrong with the figures, times aside."""
    for part in parts:
        if part.unanswered:
            yield f"{part.title}: {part.unanswered} calls were not answered"
        for whose, samples in part.memory.items():
            if (grown := max(samples) - parts[0].memory[whose][0]) > MEMORY_LIMIT:
                yield f"{part.title}: the {whose} needed {grown / 1e6:.0f} MB more"
    if (logged := sum(part.logged for part in parts)) > LOG_LIMIT:
        yield f"{logged} bytes were logged"


def slowness(parts: list[Part]) -> Iterator[str]:
    """Yield a text if the hostile peers make calls slower than harmless ones do."""
    _, hostile, harmless = (part.percentile(0.99) for part in parts)
    if hostile > SLOWER * harmless:
        yield f"p99 is {hostile * 1e3:.1f} ms; beside harmless peers {harmless * 1e3:.1f} ms"


@contextlib.contextmanager
def logging_to(path: Path) -> Iterator[None]:
    """Write the log of this process to *path*, as ``postage run`` would write it to stderr."""
    handler = logging.FileHandler(path)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root, level = logging.getLogger(), logging.getLogger().level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    try:
        yield
    finally:
        root.setLevel(level)
        root.removeHandler(handler)
        handler.close()


def run_hostile(
    env: FaultEnv,
    seconds: float,
    settings: LoadSettings,
    log: Path,
    kinds: Mapping[str, list[str]] = MappingProxyType({}),
) -> tuple[list[Part], list[str]]:
    """Run the three parts on *env*; return their figures, and what is wrong.

    *kinds*: what each peer does, by its name; by default everything that it knows.
    """
    dead = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "hostile-dead"}
    with env.raw() as raw:  # the dead letters of hostile messages, of which the last are kept
        raw.declare("hostile-dead", arguments={"x-max-length": 100})
    settings = replace(settings, arguments={**settings.arguments, **dead})
    title = f"{seconds:g} s beside hostile peers"
    with logging_to(log), fault_run(env, title, settings, TimedLoad) as load:
        parts = run_parts(Arena(env, load, log), seconds, kinds)
    # Memory has a limit in each part; direct replies have a connection of their own.
    sockets = min(3, load.journal.sockets)
    limits = replace(HARMLESS, growth=float("inf"), sockets=sockets)
    say(report(load.journal))
    return parts, [*faults(parts), *violations(load.journal, limits)]


def tables(parts: list[Part]) -> str:
    """Return the figures, and what the hostile peers did."""
    peers = [
        f"{name}: " + ", ".join(f"{count} {what}" for what, count in counts.most_common())
        for name, counts in parts[1].counts.items()
    ]
    return "\n\n".join([markdown([HEADER, *(part.row() for part in parts)]), *peers])


@contextlib.contextmanager
def on_broker_process(log: Path) -> Iterator[FaultEnv]:
    """Use an embedded broker in a process of its own, which writes its log to *log*."""
    with tempfile.TemporaryDirectory() as folder:
        users = Path(folder, "users")
        users.write_text(f"{USER}:{PASSWORD}\nguest:guest\n")
        arguments = ["-m", "postage", "broker", "--port", "0", "--json", "--user-file", str(users)]
        with Program(*arguments) as program:
            started = json.loads(program.wait_for_line("port"))
            broker = SimpleNamespace(port=started["port"], pid=started["pid"])
            with on_brokers(broker, direct=True) as env:
                yield env
            log.write_text(program.stderr)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.hostile", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="of each of the three parts")
    add_broker_option(parser, "embedded")
    parser.add_argument("--pause", type=float, default=0.2, help="seconds between two calls")
    parser.add_argument("--messages", nargs="*", default=[], help="only these of the client")
    parser.add_argument("--rude", nargs="*", default=[], help="only this by the rude peer")
    options = parser.parse_args()
    settings = replace(SETTINGS, pause=options.pause)
    kinds = {"client": options.messages, "rude peer": options.rude}
    with tempfile.TemporaryDirectory() as folder:
        log, broker_log = Path(folder, "log"), Path(folder, "broker")
        broker_log.touch()
        is_node = options.broker == "rabbitmq"
        with on_rabbitmq(direct=True) if is_node else on_broker_process(broker_log) as env:
            parts, wrong = run_hostile(env, options.seconds, settings, log, kinds)
        say(tables(parts))
        if (size := broker_log.stat().st_size) > LOG_LIMIT:
            wrong.append(f"the broker has logged {size} bytes")
        say(f"the broker has logged {size:,} bytes")
        say("\n".join(log.read_text().splitlines()[:20]))
        end_program([*wrong, *slowness(parts)])


if __name__ == "__main__":
    main()
