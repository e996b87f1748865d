"""Random sequences of hostile clients, after which the broker's account must equal what is there.

``python -m tests.broker.accounting --sequences 100000`` runs many, and prints the shortest sequence
that it finds if one fails.

A sequence is a list of numbers.  Each number is the seed of one step, so a step means nearly the
same when steps before it are left out, and a failing sequence can be shortened.
"""

from __future__ import annotations

import abc
import argparse
import enum
import gc
import logging
import random
import sys
import time
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from functools import partial
from typing import Any, NamedTuple

from postage.broker.core.queue import BrokerQueue, QueuedMessage
from postage.broker.core.quorum_queue import QuorumQueue
from postage.broker.core.routing import BrokerBinding, BrokerExchange
from postage.broker.session.assembly import PartialContent
from postage.broker.session.base_channel import GONE, HeldPublish, Transaction
from postage.broker.session.client_channel import ClientChannel
from postage.broker.session.client_connection import ClientConnection
from postage.broker.session.client_consumer import ClientConsumer
from postage.broker.session.handshake import Stage
from postage.broker.session.node import Node
from postage.broker.wire.fields import Timestamp
from postage.broker.wire.framing import FrameParser
from postage.log_records import sorts
from tests.broker.hostile_clients import HostileClients
from tests.broker.simulated_client import Client

LENGTH = 40
"""Steps of a sequence."""
EACH_STEP = 5
"""Of so many sequences, one is looked at after each step, and the others at their end."""
KEPT = (
    QueuedMessage,
    BrokerQueue,
    BrokerBinding,
    ClientChannel,
    ClientConsumer,
    ClientConnection,
    PartialContent,
    Transaction,
)
"""What must be gone when all clients are."""
SMALL = {"BURST": 4096, "MOST_ROUTES": 4, "AT_ONCE": 3, "MOST_EFFORT": 20}
"""Sizes that short sequences would not reach."""


# --- what is there


class Account(NamedTuple):
    """Three sums, as the broker says or as `walk` finds them."""

    memory: int
    held: int
    definitions: int


def account_of(node: Node) -> Account:
    """Return the sums that *node* has."""
    return Account(node.memory, node.held, node.definitions)


def reachable(*roots: object) -> list[object]:
    """Return all objects that *roots* lead to, without classes, modules and code."""
    found: dict[int, object] = {}
    layer: list[object] = list(roots)
    while layer:
        new = {id(each): each for each in layer if type(each) not in _LEAVES}
        fresh = [new[each] for each in new.keys() - found.keys()]
        found.update(new)
        layer = gc.get_referents(*(each for each in fresh if type(each) is not _FUNCTION))
        for each in fresh:
            if type(each) is _FUNCTION:
                layer.extend((each.__closure__, each.__defaults__))
    return list(found.values())


_FUNCTION = types.FunctionType
_LEAVES = {str, bytes, int, float, bool, type(None), bytearray, Decimal, Timestamp, type}
_LEAVES |= {types.ModuleType, types.BuiltinFunctionType, enum.EnumMeta, abc.ABCMeta}


def walk(node: Node, clients: list[Client]) -> Account:
    """Add up what *node* keeps: everything is found by following references, not by its place."""
    messages = held = definitions = 0
    own = {id(each) for vhost in node.vhosts.values() for each in vhost.exchanges.values()}
    own -= {id(each) for each in _declared(node)}
    for each in reachable(node, node.timers):
        kind = type(each)
        if kind is QueuedMessage and each is not GONE:
            messages += message_size(each)
        elif kind is partial:
            messages += _waiting_copies(each)
        elif kind in _HELD:
            held += _HELD[kind](each)
        elif kind in _DEFINED and id(each) not in own:
            definitions += _DEFINED[kind](each)
    held += sum(client.charged for client in clients)
    return Account(messages + held, held, definitions)


def _declared(node: Node) -> list[BrokerExchange]:
    """Return the exchanges that clients have declared."""
    exchanges = [each for vhost in node.vhosts.values() for each in vhost.exchanges.values()]
    return [each for each in exchanges if each.name and not each.name.startswith("amq.")]


def message_size(message: Any) -> int:
    """Return the size of a message, queued or published."""
    keys = list(message.header.more_keys)
    parts = len(message.address) + len(message.header.data) + len(message.body)
    return 200 + parts + (cost(keys) if keys else 0)


def _held_publish(each: Any) -> int:
    return 400 + message_size(each.message) * max(1, len(each.queues))


def _waiting_copies(each: Any) -> int:
    """Return the size of copies of a message that will be put into queues in later turns."""
    rest, put, _ = each.args if each.func.__name__ == "_part" else ((), print, "")
    if getattr(getattr(put, "func", put), "__name__", "") != "_put_copies":
        return 0
    return message_size(put.args[0]) * len(rest)


def _content(each: Any) -> int:
    return max(0, len(each.header or b"") - 2) + len(each.body)


def _output(each: Any) -> int:
    return sum(40 + len(data) for data in each._output) if each.deliveries_paused else 0


def _delivery(each: Any) -> int:
    return 200 if len(each) == 3 and each[1] is GONE else 0


def _queue(each: Any) -> int:
    """Return the cost of a queue; the one that stands for deleted queues has no name."""
    levels = 800 * (each.options.max_priority or 0)
    return 1800 + cost(each.name) + cost(each.arguments) + levels if each.name else 0


def _binding(each: Any) -> int:
    names = cost(each.destination) + cost(each.key) + cost(each.arguments)
    return 1300 + names + 250 * len(each.key.split(".")) + len(each.identity[3])


_HELD: dict[type, Callable[[Any], int]] = {
    Transaction: lambda each: 400 * len(each.acks),
    HeldPublish: _held_publish,
    PartialContent: _content,
    FrameParser: lambda each: len(each.rest),
    ClientConnection: _output,
    tuple: _delivery,
}
_DEFINED: dict[type, Callable[[Any], int]] = {
    BrokerQueue: _queue,
    QuorumQueue: _queue,
    BrokerBinding: _binding,
    BrokerExchange: lambda each: 800 + cost(each.name) + cost(each.arguments),
    ClientConsumer: lambda each: 1000 + 8 * cost(each.tag),
    ClientChannel: lambda _: 2000,
}


def cost(value: Any) -> int:
    """Return what a name or a table costs."""
    if isinstance(value, dict):
        return 64 + sum(100 + cost(key) + cost(each) for key, each in value.items())
    if isinstance(value, list):
        return 64 + sum(8 + cost(each) for each in value)
    if isinstance(value, str):
        return 64 + len(value) * (1 if value.isascii() else 4)
    if isinstance(value, Decimal):
        return 128
    return 64 + (len(value) if isinstance(value, bytes) else 0)


# --- sequences


class Sequence(HostileClients):
    """One sequence of steps, on a broker of its own."""

    has_blocked = False
    """Whether publishers were blocked after any step."""

    def run(self, steps: list[int], *, each_step: bool = True) -> None:
        """Take all steps, and raise `AssertionError` if the account is not exact.

        It is compared after *each_step*, or after all steps, which takes a third of the time.
        """
        sorts.clear()  # each bug is logged again
        for seed in steps:
            self.step(random.Random(seed))
            self.has_blocked = self.has_blocked or self.node.alarm is not None
            if each_step:
                self.check()
        self.check()
        self._empty()
        self._leave()

    def check(self) -> None:
        """Compare the account with what is there, and look for bugs that were only logged."""
        assert not _bugs.found, _bugs.found.pop()
        expected, found = walk(self.node, self.clients), account_of(self.node)
        wrong = found[:2] != expected[:2]
        vhosts = self.node.vhosts.values()
        if not any(len(vhost.backlog) for vhost in vhosts):  # it refers to what has just been ended
            # A queue may be kept for a second by messages that clients have of it.
            kept = found.definitions - expected.definitions
            wrong = wrong or not 0 <= kept <= sum(vhost._detached for vhost in vhosts)
        if wrong:
            raise AssertionError(f"the broker says {found}, but there is {expected}")
        for each in self.node.connections:
            blocked = self.node.alarm is not None and each.publishes > 0
            assert each.blocked == (blocked and each.stage is Stage.OPEN), each

    def _empty(self) -> None:
        """Delete all queues while the clients do what they like: publishers may go on."""
        for vhost in self.node.vhosts.values():
            for queue in list(vhost.queues.values()):
                vhost.remove_queue(queue)
        self.timers.advance(2.0)
        self.check()
        assert self.node.alarm is None, f"publishers are blocked by {account_of(self.node)}"
        assert not any(client.connection.blocked for client in self.clients)

    def _leave(self) -> None:
        """End all connections, and delete what is left: nothing may be left in the account."""
        for client in self.clients:
            client.lose()
        for vhost in self.node.vhosts.values():
            for each in [one for one in vhost.exchanges if one and not one.startswith("amq.")]:
                vhost.delete_exchange(each, if_unused=False)
            for source in vhost.exchanges.values():
                for binding in source.bindings:  # between the broker's own exchanges
                    vhost.unbind(source.name, binding, None)
        self.timers.advance(1.0)
        self.check()
        assert account_of(self.node) == (0, 0, 0), account_of(self.node)
        assert not self.node.connections
        assert not self.node.holders


# --- many sequences


@contextmanager
def small_sizes() -> Iterator[None]:
    """Make the broker's sizes of work and output `SMALL`."""
    before: list[tuple[types.ModuleType, str, int]] = []
    for module in [each for at, each in sys.modules.items() if at.startswith("postage.broker.")]:
        for constant, size in SMALL.items():
            if hasattr(module, constant):
                before.append((module, constant, getattr(module, constant)))
                setattr(module, constant, size)
    try:
        yield
    finally:
        for module, constant, size in before:
            setattr(module, constant, size)


def steps_of(seed: int) -> list[int]:
    """Return the steps of the sequence *seed*."""
    draw = random.Random(seed)
    return [draw.getrandbits(32) for _ in range(LENGTH)]


class _Bugs(logging.Handler):
    """Collects the errors that the broker logs; `found` are their texts."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.found.append(logging.Formatter().format(record))


_bugs = _Bugs()


class Campaign:
    """Runs sequences."""

    def __init__(self) -> None:
        self.sequences = self.blocked = self.steps = 0

    def run(self, first: int, count: int, *, until: float = float("inf")) -> None:
        """Run *count* sequences, or fewer if it is *until* before; raise for one that fails."""
        logger = logging.getLogger("postage.broker")
        before = logger.propagate
        logger.addHandler(_bugs)
        logger.propagate = False
        gc.collect()
        gc.freeze()  # for good: what is there already is not looked at again and again
        try:
            with small_sizes():
                for seed in range(first, first + count):
                    if time.monotonic() > until:
                        break
                    self._one(seed)
                    if self.sequences % 100 == 0:
                        _check_that_all_is_gone()
            _check_that_all_is_gone()
        finally:
            logger.propagate = before
            logger.removeHandler(_bugs)

    def _one(self, seed: int) -> None:
        steps = steps_of(seed)
        sequence = Sequence(seed)
        try:
            sequence.run(steps, each_step=seed % EACH_STEP == 0)
        except Exception as exc:
            found = shortened(seed, steps)
            raise AssertionError(f"sequence {seed}: {explained(seed, found)}") from exc
        self.sequences += 1
        self.steps += len(steps)
        self.blocked += sequence.has_blocked


def _check_that_all_is_gone() -> None:
    """Look for what no node refers to, but something else."""
    gc.collect()
    left = [each for each in gc.get_objects() if type(each) in KEPT and each is not GONE]
    assert not left, f"{len(left)} objects are left, such as {left[0]!r}"


def fails(seed: int, steps: list[int]) -> bool:
    """Tell whether a sequence fails."""
    try:
        Sequence(seed).run(steps)
    except Exception:
        return True
    finally:
        _bugs.found.clear()
    return False


def shortened(seed: int, steps: list[int]) -> list[int]:
    """Leave out steps of a sequence that fails for as long as it fails."""
    size = len(steps) // 2
    while size:
        at = 0
        while at < len(steps):
            shorter = steps[:at] + steps[at + size :]
            if fails(seed, shorter):
                steps = shorter
            else:
                at += size
        size //= 2
    return steps


def explained(seed: int, steps: list[int]) -> str:
    """Return what a sequence does, and how it fails."""
    sequence = Sequence(seed)
    sequence.log = []
    try:
        sequence.run(steps)
    except Exception as exc:
        sequence.log.append(f"{type(exc).__name__}: {exc}")
    return "\n".join((f"{sequence.node.limits.memory} bytes, steps {steps}", *sequence.log))


def main() -> None:
    """Run many sequences within a limited time."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sequences", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=3600.0)
    parser.add_argument("--seed", type=int, default=0, help="the first sequence")
    options = parser.parse_args()
    campaign, begun = Campaign(), time.monotonic()
    campaign.run(options.seed, options.sequences, until=begun + options.seconds)
    seconds = time.monotonic() - begun
    sys.stdout.write(
        f"{campaign.sequences} sequences with {campaign.steps} steps in {seconds:.0f} s; the "
        f"account was exact after each; publishers were blocked in {campaign.blocked} "
        f"sequences, and at the end of none\n"
    )


if __name__ == "__main__":
    main()
