"""Runs the same steps on RabbitMQ and on the embedded broker, and compares what clients see.

``python -m tests.broker.differential --examples 10000`` runs many, on a node of its own.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from hypothesis import HealthCheck, given, settings
from pika import spec

from postage.broker.core.clock import ManualTimers
from postage.broker.session.node import Node
from postage.testing.rabbitmq import RabbitMQNode
from tests.broker.operations import QUEUES, Step, examples
from tests.support.sync_client import ConnectionWire, Event, Silent, SocketWire, SyncClient, Wire

CONTROL = 9
"""The channel of the test itself: no step uses it."""
VHOST = "t01"
EXTRA_PAUSE = 0.02
"""Seconds for RabbitMQ's processes after each step, if a difference may be one of timing."""
CONTENTS = (spec.Basic.Deliver, spec.Basic.GetOk)


class Different(AssertionError):
    """The two brokers did different things."""


@dataclass
class ChannelState:
    """What a client knows of its channel."""

    consumers: dict[str, bool] = field(default_factory=dict)  # tag: no_ack
    unacked: list[tuple[Any, int]] = field(default_factory=list)  # fields, delivery tag
    uncommitted: list[tuple[Any, int]] = field(default_factory=list)  # acked in the transaction
    published: int = 0
    confirming: bool = False
    transaction: bool = False
    unconfirmed: list[int] = field(default_factory=list)


class Peer:
    """A broker as its clients see it: connections A and B, channels A1, A2, B1."""

    def __init__(self, connect: Callable[[], Wire], vhost: str, *, rounds: int = 1) -> None:
        self._connect, self._vhost, self._rounds = connect, vhost, rounds
        self.pause = 0.0
        self.clients: dict[str, SyncClient] = {}
        self.channels: dict[str, ChannelState] = {}
        self.names: dict[str, str] = {}
        self.prefix = ""
        self._events: dict[str, list[Event]] = {}

    def start(self, prefix: str) -> None:
        """Start an example, whose names begin with *prefix*."""
        self.prefix = prefix
        self.channels.clear()
        self.names.clear()
        self._events.clear()
        for link in ("A", "B"):
            self._client(link)

    def _client(self, link: str) -> SyncClient:
        if link not in self.clients or self.clients[link].ended:
            if link in self.clients:
                self.clients[link].close()
            self.clients[link] = SyncClient(self._connect(), self._vhost)
            self._open(link, CONTROL)
        return self.clients[link]

    def _open(self, link: str, number: int) -> None:
        self.clients[link].send(number, spec.Channel.Open())
        self.clients[link].wait(number, spec.Channel.OpenOk)

    # --- names

    def actual_names(self, value: Any) -> Any:
        """Return *value* with the names of this example for those of the steps."""
        if isinstance(value, str) and value.startswith("~"):
            return self.names.get(value, self.prefix + value[1:])
        if isinstance(value, dict):
            return {key: self.actual_names(each) for key, each in value.items()}
        return [self.actual_names(each) for each in value] if isinstance(value, list) else value

    def generic_names(self, value: Any) -> Any:
        """Return *value* with the names of the steps for those of this example."""
        if isinstance(value, str):
            for place, name in self.names.items():
                value = value.replace(name, place)
            return value.replace(self.prefix, "~")
        if isinstance(value, dict):
            return {key: self.generic_names(each) for key, each in value.items() if key != "time"}
        return [self.generic_names(each) for each in value] if isinstance(value, list) else value

    # --- steps

    def do(self, step: Step, *, multiple: bool) -> None:
        """Carry out *step*; `take` returns its results after `wait_until_done`."""
        link, number = step.channel[0], int(step.channel[1])
        client = self._client(link)
        if step.channel not in self.channels:
            self._open(link, number)
            self.channels[step.channel] = ChannelState()
        method = self._method(step, multiple=multiple)
        if step.method == "Connection.Close":
            client.send(0, method)
            client.wait(0, spec.Connection.CloseOk)
        else:
            self._call(client, step, method)
        for event in client.events:
            if isinstance(event.method, spec.Queue.DeclareOk):
                self._note_name(event.method.queue)
            if isinstance(event.method, (spec.Channel.Close, spec.Channel.CloseOk)):
                self.channels.pop(f"{link}{event.channel}", None)
        if client.ended:
            for channel in [each for each in self.channels if each[0] == link]:
                del self.channels[channel]

    def _call(self, client: SyncClient, step: Step, method: Any) -> None:
        number, state = int(step.channel[1]), self.channels[step.channel]
        if step.method == "Basic.Publish":
            if state.confirming:
                state.published += 1
                state.unconfirmed.append(state.published)
            client.publish(number, method, self.actual_names(step.properties), step.body)
        else:
            client.send(number, method)
        if step.method == "Channel.Close":
            client.wait(number, spec.Channel.CloseOk)
        else:
            client.send(number, spec.Channel.Flow(active=True))
            client.wait(number, spec.Channel.FlowOk)

    def _method(self, step: Step, *, multiple: bool) -> Any:
        fields = self.actual_names(step.fields)
        group, name = step.method.split(".")
        state = self.channels[step.channel]
        if step.kind in ("ack", "ack multiple", "nack", "nack multiple", "reject"):
            fields["delivery_tag"] = self._tag(state, step, multiple=multiple)
            if "multiple" in fields:
                fields["multiple"] = multiple and fields["multiple"]
        if step.method == "Basic.Consume":
            state.consumers.setdefault(step.fields["consumer_tag"], step.fields["no_ack"])
        if step.method in ("Basic.Recover", "Basic.RecoverAsync"):
            state.unacked.clear()
        return getattr(getattr(spec, group), name)(**fields)

    def _tag(self, state: ChannelState, step: Step, *, multiple: bool) -> int:
        """Return the delivery tag of *step*, and note which deliveries it acknowledges."""
        if step.pick < 0 or not state.unacked:
            return 99
        tag = state.unacked[step.pick % len(state.unacked)][1]
        if multiple and step.fields.get("multiple"):
            tag = 0 if step.pick == 5 else tag
            gone = [each for each in state.unacked if not tag or each[1] <= tag]
        else:
            gone = [each for each in state.unacked if each[1] == tag]
        state.unacked = [each for each in state.unacked if each not in gone]
        state.uncommitted += gone if state.transaction else []
        return tag

    def in_order(self, channel: str) -> bool:
        """Tell whether the deliveries of *channel* came in the order of their tags."""
        tags = (
            [tag for _, tag in self.channels[channel].unacked] if channel in self.channels else []
        )
        return tags == sorted(tags)

    # --- observing

    def wait_until_done(self, owners: dict[str, str]) -> dict[str, Any]:
        """Wait until the broker has done everything; return the counts of the queues.

        *owners* gives, for each queue, the connection that can see it.
        """
        counts: dict[str, Any] = {}
        for _ in range(self._rounds):
            time.sleep(self.pause)
            counts = self._counts(owners)
        time.sleep(self.pause)
        for channel in list(self.channels):
            client = self.clients[channel[0]]
            client.send(int(channel[1]), spec.Channel.Flow(active=True), spec.Channel.Flow(True))
        for channel in list(self.channels):
            client, number = self.clients[channel[0]], int(channel[1])
            sent = sum(e.channel == number and _is_flow(e) for e in client.events)
            client.wait(number, spec.Channel.FlowOk, count=max(2, sent))
        return counts

    def _counts(self, owners: dict[str, str]) -> dict[str, Any]:
        counts: dict[str, Any] = {}
        for link in ("A", "B"):
            mine = [queue for queue, owner in owners.items() if owner == link]
            answers = self.ask(
                link,
                [
                    spec.Queue.Declare(queue=self.actual_names(queue), passive=True)
                    for queue in mine
                ],
            )
            for queue, answer in itertools.zip_longest(mine, answers):
                counts[queue] = answer and (answer.message_count, answer.consumer_count)
        return counts

    def ask(self, link: str, methods: list[Any]) -> list[Any]:
        """Return the answers to *methods* on the control channel, up to the first error."""
        client = self._client(link)
        self._keep(link)
        client.send(CONTROL, *methods, spec.Channel.Flow(active=True))
        client.wait(CONTROL, spec.Channel.FlowOk)
        events = client.take_events()
        client.events = [event for event in events if event.channel != CONTROL]
        answers = [event.method for event in events if event.channel == CONTROL]
        if not answers:
            raise Different(f"the connection ended while the test asked for counts: {events}")
        if isinstance(answers[-1], spec.Channel.Close):
            self._open(link, CONTROL)
            client.events = [event for event in client.events if event.channel != CONTROL]
        return [each for each in answers[:-1] if not isinstance(each, spec.Channel.Close)]

    def _keep(self, link: str) -> None:
        """Put aside what has arrived on other channels."""
        client = self.clients[link]
        self._events.setdefault(link, []).extend(client.take_events())

    def take(self) -> dict[str, Any]:
        """Return what the clients have seen since the last time, in a form that can be compared."""
        seen: dict[str, Any] = {}
        for link, client in list(self.clients.items()):
            self._keep(link)
            events = self._events.pop(link)
            for channel in (0, 1, 2):
                mine = [e for e in events if e.channel == channel and not _is_flow(e)]
                if shown := self._comparable(f"{link}{channel}", mine):
                    seen[f"{link}{channel}"] = shown
            if client.ended:
                client.close()
                self._client(link)
        return seen

    def _comparable(self, channel: str, events: list[Event]) -> dict[str, Any]:
        shown: dict[str, list[Any]] = {}
        delivered = []
        for event in events:
            name, fields = type(event.method).__name__, self._fields(event)
            state = self.channels.get(channel) or ChannelState()
            if isinstance(event.method, (spec.Basic.Ack, spec.Basic.Nack)):
                shown.setdefault("confirms", []).extend(_confirms(state, event.method))
                continue
            if isinstance(event.method, CONTENTS):
                delivered.append((fields, event.method))
            if isinstance(event.method, spec.Basic.Deliver):
                continue
            self._note(state, event.method)
            place = "cancels" if isinstance(event.method, spec.Basic.Cancel) else "events"
            shown.setdefault(place, []).append((name, fields))
        delivered.sort(key=lambda each: getattr(each[1], "consumer_tag", ""))
        deliveries = [each[0] for each in delivered if isinstance(each[1], spec.Basic.Deliver)]
        if deliveries:
            shown["deliveries"] = deliveries
        self._note_unacked(channel, delivered)
        for place in ("confirms", "cancels"):
            shown.get(place, []).sort()
        return shown

    def _note_unacked(self, channel: str, delivered: list[Any]) -> None:
        for fields, method in delivered:
            state = self.channels.get(channel)
            tag = getattr(method, "consumer_tag", None)
            if state is not None and not state.consumers.get(tag or "", False):
                state.unacked.append((fields, method.delivery_tag))

    def _fields(self, event: Event) -> Any:
        fields = {
            name: value for name, value in vars(event.method).items() if name != "delivery_tag"
        }
        if event.properties is not None:
            fields |= {"properties": event.properties, "body": event.body}
        return self.generic_names(fields)

    def _note_name(self, name: str) -> None:
        if name.startswith("amq.gen") and name not in self.names.values():
            self.names[f"~s{len(self.names)}"] = name

    def _note(self, state: ChannelState, method: Any) -> None:
        if isinstance(method, spec.Confirm.SelectOk):
            state.confirming = True
        elif isinstance(method, spec.Tx.SelectOk):
            state.transaction = True
        elif isinstance(method, spec.Tx.CommitOk):
            state.uncommitted.clear()
        elif isinstance(method, spec.Tx.RollbackOk):
            state.unacked = sorted(state.unacked + state.uncommitted, key=lambda each: each[1])
            state.uncommitted.clear()
        elif isinstance(method, (spec.Basic.CancelOk, spec.Basic.Cancel)):
            state.consumers.pop(method.consumer_tag, None)

    # --- the end

    def finish(self, owners: dict[str, str]) -> dict[str, Any]:
        """Close the channels, empty the queues, delete everything; return what was left."""
        for channel in list(self.channels):
            client, number = self.clients[channel[0]], int(channel[1])
            client.send(number, spec.Channel.Close(200, "", 0, 0))
            client.wait(number, spec.Channel.CloseOk)
        self.channels.clear()
        counts = self.wait_until_done(owners)
        contents = {queue: self._drained(queue, owner) for queue, owner in owners.items()}
        self.clear(owners)
        return {"counts": counts, "contents": contents}

    def _drained(self, queue: str, link: str) -> list[Any]:
        contents: list[Any] = []
        client = self._client(link)
        while True:
            self._keep(link)
            client.send(CONTROL, spec.Basic.Get(queue=self.actual_names(queue), no_ack=True))
            client.wait(CONTROL, spec.Basic.GetOk, spec.Basic.GetEmpty)
            event = client.take_events()[-1]
            if isinstance(event.method, spec.Channel.Close):
                self._open(link, CONTROL)
            contents.append(self._fields(event))
            if not isinstance(event.method, spec.Basic.GetOk):
                return contents

    def clear(self, owners: dict[str, str]) -> None:
        """Delete everything that the steps may have declared."""
        for link in ("B", "A"):
            mine = [queue for queue, owner in owners.items() if owner == link]
            self.ask(link, [spec.Queue.Delete(queue=self.actual_names(queue)) for queue in mine])
        gone = [
            spec.Queue.Delete(queue=self.actual_names(queue))
            for queue in QUEUES
            if queue not in owners
        ]
        for queue in gone:
            self.ask("A", [queue])
        self.ask(
            "A",
            [
                spec.Exchange.Delete(exchange=self.actual_names(name))
                for name in ("~e0", "~e1", "~e2")
            ],
        )
        for link in ("A", "B"):
            self.clients[link].take_events()
        self._events.clear()


def _is_flow(event: Event) -> bool:
    return isinstance(event.method, (spec.Channel.FlowOk, spec.Channel.OpenOk))


def _confirms(state: ChannelState, method: Any) -> list[tuple[int, bool]]:
    """Return number and success of each publish that *method* confirms."""
    last, accepted = method.delivery_tag, isinstance(method, spec.Basic.Ack)
    numbers = [each for each in state.unconfirmed if each <= last] if method.multiple else [last]
    state.unconfirmed = [each for each in state.unconfirmed if each not in numbers]
    return [(number, accepted) for number in numbers]


class Comparison:
    """Runs examples through both brokers."""

    def __init__(self, host: str, port: int, vhost: str) -> None:
        self.vhost = vhost
        self.theirs = Peer(lambda: SocketWire(host, port), vhost, rounds=2)
        self.examples = self.steps = self.repeated = 0
        self._run_id = f"x{os.getpid():x}"
        self._numbers = itertools.count()

    def run(self, steps: list[Step]) -> None:
        """Raise `Different` if the brokers differ, also with pauses between the steps."""
        self.examples += 1
        self.steps += len(steps)
        before = ""
        for pause in (0.0, EXTRA_PAUSE, 5 * EXTRA_PAUSE):
            self.theirs.pause = pause
            try:
                return self._run(steps)
            except Different as exc:
                if str(exc) == before:
                    raise
                before = str(exc)
            self.repeated += 1
        raise Different(before)

    def close(self) -> None:
        """Close the connections to RabbitMQ."""
        for client in self.theirs.clients.values():
            client.close()

    def _run(self, steps: list[Step]) -> None:
        prefix = f"{self._run_id}{next(self._numbers):06}_"
        node = Node(ManualTimers(), vhosts=(self.vhost,))
        ours = Peer(lambda: ConnectionWire(node), self.vhost)
        pair = (ours, self.theirs)
        for peer in pair:
            peer.start(prefix)
        try:
            for number, step in enumerate(steps):
                multiple = all(peer.in_order(step.channel) for peer in pair)
                results = [
                    self._take(peer, step, multiple, lambda: _owners(node, ours)) for peer in pair
                ]
                _compare(f"step {number}: {step}", *results)
            results = [peer.finish(_owners(node, ours)) for peer in pair[::-1]]
            _compare("the end", *results[::-1])
        except BaseException:
            self._clean_up()
            raise

    def _clean_up(self) -> None:
        """Delete everything after a difference; exclusive queues go with their connections."""
        for client in self.theirs.clients.values():
            with contextlib.suppress(Silent):
                client.close()
        self.theirs.clients.clear()
        with contextlib.suppress(Silent):
            self.theirs.start(self.theirs.prefix)
            self.theirs.clear({})

    def _take(
        self, peer: Peer, step: Step, multiple: bool, owners: Callable[[], dict[str, str]]
    ) -> dict[str, Any]:
        try:
            peer.do(step, multiple=multiple)
            counts = peer.wait_until_done(owners())
            return {"seen": peer.take(), "counts": counts}
        except Silent:
            return {"seen": "no answer"}


def _owners(node: Node, ours: Peer) -> dict[str, str]:
    """Return, for each queue, the connection that can see it."""
    (vhost,) = node.vhosts.values()
    connections = {
        id(client.wire.connection): link  # type: ignore[attr-defined]
        for link, client in ours.clients.items()
    }
    return {
        ours.generic_names(queue.name): connections.get(id(queue.owner), "A")
        for queue in list(vhost.queues.values())
    }


def _compare(where: str, ours: Any, theirs: Any) -> None:
    if ours != theirs:
        lines = "\n".join(_differences(ours, theirs))
        raise Different(f"at {where}\n{lines}")


def _differences(ours: Any, theirs: Any, path: str = "") -> Iterator[str]:
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for key in sorted({*ours, *theirs}):
            yield from _differences(ours.get(key), theirs.get(key), f"{path}/{key}")
    elif ours != theirs:
        yield f"{path}\n   ours:   {ours}\n   theirs: {theirs}"


def checker(comparison: Comparison, **options: Any) -> Callable[[], None]:
    """Return a function that runs Hypothesis's examples through *comparison*."""

    @settings(deadline=None, suppress_health_check=list(HealthCheck), **options)
    @given(examples())
    def check(steps: list[Step]) -> None:
        comparison.run(steps)

    return check


def main(arguments: Iterable[str] | None = None) -> None:
    """Run many examples, and print how long that took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=10_000)
    parser.add_argument("--port", type=int, help="of a RabbitMQ node; without it one is started")
    options = parser.parse_args(None if arguments is None else list(arguments))
    with contextlib.ExitStack() as stack:
        port = options.port or stack.enter_context(RabbitMQNode(vhosts=(VHOST,))).port
        comparison = Comparison("127.0.0.1", port, VHOST)
        stack.callback(comparison.close)
        begun = time.monotonic()
        try:
            checker(comparison, max_examples=options.examples, database=None)()
        finally:
            seconds = time.monotonic() - begun
            sys.stdout.write(
                f"{comparison.examples} examples, {comparison.steps} steps, {seconds:.0f} s, "
                f"{comparison.repeated} repeated with more pause\n"
            )


if __name__ == "__main__":
    main()
