"""``python -m tests.faults.kills --messages 10000 --kills 10``: retries and parking through kills.

Two worker processes handle messages whose handlers fail, each in a way that is drawn from the seed:
at once, later, for good, or with a body that is no message.  Meanwhile a worker and the broker are
killed in turn (SIGKILL), each in the middle of a burst of messages.  Then each message must be done
or parked, and twice only if a kill fell between a confirm and an ack: see `kills_account`.

The embedded broker keeps messages in memory only, so nobody could find them after its death: there
all connections are cut instead.  The exit code is 1 if anything is wrong.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pika.exceptions

from postage import messaging
from postage.broker import BrokerThread
from postage.recoverability import delay_steps
from postage.testing.polling import wait_until
from tests.faults.fates import ASKED, PARKED, POLICIES, fate
from tests.faults.fault_env import FaultEnv, add_broker_option, on_embedded, on_rabbitmq
from tests.faults.kills_account import Account, Copy, Kill, Put, Try, judged
from tests.faults.kills_account import Run as Noted
from tests.faults.steady import end_program, say
from tests.support.broker_commands import in_node_thread
from tests.support.programs import Program
from tests.support.raw import Raw

QUEUES = {"classic": "kills-classic", "quorum": "kills-quorum"}
WORKERS = 2
BURST = 100
"""Messages that are sent at once before each kill; so many are in hand when it comes."""
FEW = 20
"""Messages in the queues from which on no more are sent: a delay ends at the end of a queue."""
NUMBER, TRY = "x-number", "x-try"
PROBES = "probes"
PATIENCE = 300.0
"""Seconds for the rest, three minutes of which RabbitMQ may take to hand on what was delayed."""


class Run:
    """Sends messages, kills what handles them, and collects what became of each."""

    def __init__(self, env: FaultEnv, folder: Path, seed: int) -> None:
        self._env, self._folder, self._seed = env, folder, seed
        self._chance = random.Random(seed)
        self._stack = ExitStack()
        self._workers: list[tuple[str, Program]] = []
        self._probe = Program("-m", "tests.faults.programs.delay_probe", str(folder / PROBES))
        self._raw: Raw | None = None
        self.kills: list[Kill] = []
        self.sent = 0

    def __enter__(self) -> Run:  # noqa: PYI034 - Self needs Python 3.11
        self._probe.__enter__()
        for _ in range(WORKERS):
            self._start_worker()
        self._wait(lambda: all(self.raw.consumers(each) == WORKERS for each in QUEUES.values()))
        return self

    def __exit__(self, *_: object) -> None:
        for _, worker in self._workers:
            worker.__exit__()
        self._probe.__exit__()
        self._forget_connection()

    @property
    def raw(self) -> Raw:
        """A connection of plain pika."""
        if self._raw is None:
            self._raw = self._stack.enter_context(self._env.raw())
        return self._raw

    def _forget_connection(self) -> None:
        with contextlib.suppress(pika.exceptions.AMQPError):
            self._stack.close()
        self._stack, self._raw = ExitStack(), None

    def _wait(self, check: Any) -> None:
        def whether() -> bool:
            try:
                return bool(check())
            except (pika.exceptions.AMQPError, OSError):
                self._forget_connection()
                return False

        wait_until(whether, PATIENCE)

    def _start_worker(self) -> None:
        queues = [f"{kind}:{name}" for kind, name in QUEUES.items()]
        env = os.environ | {"LEDGER": str(self._folder)}
        worker = Program("-m", "tests.faults.programs.failing_worker", *queues, env=env).__enter__()
        self._workers.append((f"worker-{worker.pid}", worker))

    # --- messages

    def send(self, count: int, *, at_once: bool = False) -> None:
        """Send so many messages; each is confirmed before the next."""
        for _ in range(count):
            if not at_once and not self.sent % 10:
                self._wait(lambda: self._waiting() < FEW)
            kind = fate(self._seed, self.sent)
            body = messaging.MessageCommand(kind, self.sent).body
            data = messaging.JsonEncoder.encode(body).encode()
            if kind == "malformed":
                data = b"no message"
            queue = list(QUEUES.values())[self.sent % 2]
            self.raw.put(queue, data, headers={NUMBER: self.sent}, delivery_mode=2)
            self.sent += 1

    def _waiting(self) -> int:
        return sum(map(self.raw.count, QUEUES.values()))

    # --- kills

    def kill(self) -> None:
        """Kill a worker, or what is behind all of them, in the middle of a burst."""
        began = time.time()
        self.send(BURST, at_once=True)
        time.sleep(self._chance.uniform(0, 0.2))
        what = "the broker" if len(self.kills) % 2 else "a worker"
        at, victim = time.time(), ""
        if what == "a worker":
            victim, worker = self._workers.pop(0)
            worker.__exit__()
            dead = time.time()
            self._start_worker()
        elif isinstance(self._env.broker, BrokerThread):
            what = "all connections"
            self._env.broker.faults.drop()
            dead = time.time()
        else:
            self._env.broker.kill()
            dead = time.time()
            in_node_thread(self._env.broker.start)
        if what != "a worker":
            self._forget_connection()
        self._wait(lambda: all(self.raw.consumers(each) == WORKERS for each in QUEUES.values()))
        self._wait(lambda: self._waiting() == 0)
        self.kills.append(Kill(what, victim, began, at, dead, time.time()))
        say(f"{self.sent:6,} sent: {what} killed, all as before after {time.time() - at:.1f} s")

    # --- the end

    def lines(self) -> Iterator[dict[str, Any]]:
        """Yield what all workers have noted."""
        for file in self._folder.glob("worker-*"):
            for line in file.read_text().splitlines():
                yield {**json.loads(line), "worker": file.name}

    def noted(self, copies: list[Copy]) -> Noted:
        """Return all that is known, with the *copies* in the parking queues."""
        lines = [*self.lines()]
        tries = [Try(**each) for each in lines if "is_done" in each]
        puts = [Put(**each) for each in lines if "kept" in each]
        tries.sort(key=lambda each: each.began)
        probes = [each.split() for each in (self._folder / PROBES).read_text().splitlines()]
        late = [(float(at), float(by)) for at, by in probes]
        return Noted(self._seed, self.sent, tries, puts, copies, self.kills, late)

    def finish(self) -> list[Copy]:
        """Wait until everything is done or parked; return what is parked."""
        parking = [f"{name}.parked" for name in QUEUES.values()]
        kinds = [fate(self._seed, number) for number in range(self.sent)]
        expected = sum(kind in PARKED for kind in kinds)

        def ended() -> bool:
            if sum(map(self.raw.count, parking)) < expected or self._held():
                return False
            done = {each["number"] for each in self.lines() if each.get("is_done")}
            return len(done) == self.sent - expected

        with contextlib.suppress(AssertionError):  # then the account says what is missing
            self._wait(ended)
        for _, worker in self._workers:
            worker.terminate()
            say(f"a worker has logged {worker.stderr.count(chr(10)):,} lines")
        if held := self._held():
            say(f"{held} messages are still in the queues of the workers, or delayed")
        return [copy for queue in parking for copy in self._copies(queue)]

    def _held(self) -> int:
        """Return how many messages wait, for a worker or a delay."""
        delays = {each for policy in POLICIES.values() if policy for each in policy.delays}
        names = [f"postage.delay.{delay_steps(delay)[0] / 1000:g}s" for delay in {*delays, *ASKED}]
        return self._waiting() + sum(
            self.raw.count(each) for each in names if self.raw.exists(each)
        )

    def _copies(self, queue: str) -> Iterator[Copy]:
        while True:
            method, properties, _ = self.raw.channel.basic_get(queue, auto_ack=True)
            if method is None:
                return
            told = properties.headers
            yield Copy(told[NUMBER], told["x-postage-why"], told[TRY])


def run_kills(env: FaultEnv, messages: int, kills: int, seed: int) -> Account:
    """Send so many messages with so many kills on the way; return the account."""
    part = messages // (kills + 1)
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, Run(env, Path(folder), seed) as run:
        for _ in range(kills):
            run.send(max(0, part - BURST))
            run.kill()
        run.send(messages - run.sent)
        account = judged(run.noted(run.finish()))
    say(f"{messages:,} messages and {kills} kills in {time.monotonic() - began:.0f} s")
    for line in account.lines():
        say(line)
    if account.wrong:
        say(run.kills)
    return account


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.kills", description=__doc__)
    parser.add_argument("--messages", type=int, default=10_000)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    add_broker_option(parser, "embedded")
    options = parser.parse_args()
    say(f"seed {options.seed}")
    opened = on_embedded if options.broker == "embedded" else on_rabbitmq
    with opened(direct=True) as env:
        end_program(run_kills(env, options.messages, options.kills, options.seed).wrong)


if __name__ == "__main__":
    main()
