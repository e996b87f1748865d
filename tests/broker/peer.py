"""A broker as its clients see it: carries out steps, and shows what comes back, to be compared."""

from __future__ import annotations

import itertools
import json
import re
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from pika import spec

from tests.broker.steps import QUEUES, Step
from tests.support.sync_client import Event, SyncClient, Wire

CONTROL = 9
"""The channel of the test itself: no step uses it."""
CHANNEL_ENDS = (spec.Channel.Close, spec.Channel.CloseOk)
CONNECTION_ENDS = (spec.Connection.Close, spec.Connection.CloseOk)
CONTENTS = (spec.Basic.Deliver, spec.Basic.GetOk)
IGNORED = (spec.Channel.FlowOk, spec.Channel.OpenOk)


class Dropped:
    """Stands for the end of a connection without a connection.close."""


@dataclass
class ChannelState:
    """What a client knows of its channel."""

    consumers: dict[str, bool] = field(default_factory=dict)  # tag: no_ack
    unacked: list[tuple[Any, int]] = field(default_factory=list)  # fields, delivery tag
    uncommitted: list[tuple[Any, int]] = field(default_factory=list)  # acked in the transaction
    unconfirmed: list[int] = field(default_factory=list)
    published: int = 0
    confirming: bool = False
    transaction: bool = False

    def copy(self) -> ChannelState:
        """Return a state that may change without this one."""
        lists = list(self.unacked), list(self.uncommitted), list(self.unconfirmed)
        flags = self.published, self.confirming, self.transaction
        return ChannelState(dict(self.consumers), *lists, *flags)


class Peer:
    """A broker with connections A and B, and their channels A1, A2, B1.

    After `do`, `observe` returns what the clients have seen of the step so far.  It may be called
    again until the broker has done everything; `settle` then ends the step.
    """

    def __init__(self, connect: Callable[[], Wire], vhost: str) -> None:
        self._connect, self._vhost = connect, vhost
        self.pause = 0.0
        self.clients: dict[str, SyncClient] = {}
        self.channels: dict[str, ChannelState] = {}
        self._closed: dict[str, ChannelState] = {}  # in this step
        self.names: dict[str, str] = {}
        self._quorums: set[str] = set()  # all that may be quorum queues
        self._singles: set[str] = set()  # those of them with a single active consumer
        self._dead_letters = False  # whether a queue may have any
        self._copied: set[bytes] = set()
        """The bodies of messages with several routing keys."""
        self._passed_on: set[bytes] = set()
        """The bodies of messages whose order and counts may differ: see `_note_passed_on`."""
        self.prefix = ""
        self._events: dict[str, list[Event]] = {"A": [], "B": []}

    def start(self, prefix: str) -> None:
        """Start an example, whose names begin with *prefix*."""
        self.prefix = prefix
        for state in (self.channels, self._closed, self.names, self._quorums, self._singles):
            state.clear()
        self._dead_letters = False
        self._copied.clear()
        self._passed_on.clear()
        for link in ("A", "B"):
            self._client(link)
            self._events[link] = []

    def _client(self, link: str) -> SyncClient:
        """Return the client of *link*: a new one if the last one has ended."""
        client = self.clients.get(link)
        if client is None or client.ended:
            if client is not None:
                self._bury(link)
            self.clients[link] = SyncClient(self._connect(), self._vhost)
            self._open(link, CONTROL)
        return self.clients[link]

    def _bury(self, link: str) -> None:
        """Keep what the client of *link*, which has ended, has seen."""
        self._keep(link)
        if not any(isinstance(event.method, CONNECTION_ENDS) for event in self._events[link]):
            self._events[link].append(Event(0, Dropped()))
        for channel in [each for each in self.channels if each[0] == link]:
            self._closed[channel] = self.channels.pop(channel)
        self._note_passed_on([each for name, each in self._closed.items() if name[0] == link])
        self.clients[link].close()

    def _note_passed_on(self, ended: list[ChannelState]) -> None:
        """Note which messages the channels of a connection may have passed on when they *ended*.

        RabbitMQ ends one channel after the other, in any order: see docs/broker.md.  So these
        messages are not told from each other any more.
        """
        holders = [each for each in ended if each.unacked or each.uncommitted]
        if len(holders) > 1 or (len(ended) > 1 and any(each.consumers for each in ended)):
            held = [each for state in ended for each, _ in (*state.unacked, *state.uncommitted)]
            self._passed_on |= {each["body"] for each in held if "body" in each}

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
        """Carry out *step*."""
        link, number = step.channel[0], int(step.channel[1])
        client = self._client(link)
        if step.channel not in self.channels:
            self._open(link, number)
            self.channels[step.channel] = ChannelState()
        if _is_pointless(step, self.channels[step.channel]) or self._is_defective(step):
            return
        method = self._method(step, multiple=multiple)
        arguments = step.fields.get("arguments", {})
        self._dead_letters |= "x-dead-letter-exchange" in arguments
        if arguments.get("x-queue-type") == "quorum":
            self._quorums.add(step.fields["queue"])
            if arguments.get("x-single-active-consumer"):
                self._singles.add(step.fields["queue"])
        if step.method == "Connection.Close":
            client.send(0, method)
            client.wait(0, spec.Connection.CloseOk)
        else:
            self._call(client, step, method)
        self._keep(link)

    def _is_defective(self, step: Step) -> bool:
        """Tell whether *step* may lead to a bug of RabbitMQ's, see docs/broker.md."""
        has_priority = step.fields.get("arguments", {}).get("x-priority") in (1, -1)
        return has_priority and step.fields.get("queue") in {*self._singles, ""}

    def _call(self, client: SyncClient, step: Step, method: Any) -> None:
        number, state = int(step.channel[1]), self.channels[step.channel]
        if step.method == "Basic.Publish":
            if state.confirming:
                state.published += 1
                state.unconfirmed.append(state.published)
            if not {"CC", "BCC"}.isdisjoint((step.properties or {}).get("headers") or {}):
                self._copied.add(step.body)
            client.publish(number, method, self.actual_names(step.properties), step.body)
        else:
            client.send(number, method)
        if step.method == "Tx.Commit":  # until it has answered, RabbitMQ takes nothing else
            client.wait(number, spec.Tx.CommitOk)
        if step.method == "Channel.Close":
            client.wait(number, spec.Channel.CloseOk)
        elif not any(isinstance(event.method, spec.Channel.Close) for event in client.events):
            client.send(number, spec.Channel.Flow(active=True))
            client.wait(number, spec.Channel.FlowOk)

    def _method(self, step: Step, *, multiple: bool) -> Any:
        fields = self.actual_names(step.fields)
        group, name = step.method.split(".")
        state = self.channels[step.channel]
        if step.kind in _ACKS:
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
        state = self.channels.get(channel, ChannelState())
        tags = [tag for _, tag in state.unacked]
        return tags == sorted(tags)

    # --- observing

    def observe(self, owners: dict[str, str], gone: Iterable[str] = ()) -> dict[str, Any]:
        """Return what the clients have seen since the last `settle`, and the counts of the queues.

        *owners* gives, for each queue, the connection that can see it; *gone* are the queues that
        should not exist any more.
        """
        if self.pause:
            time.sleep(self.pause)
        counts = self._counts(owners)
        counts |= {queue: self._if_it_exists(queue) for queue in gone}
        for channel in list(self.channels):  # so that all that is on its way has arrived
            client = self.clients[channel[0]]
            client.send(int(channel[1]), spec.Channel.Flow(active=True), spec.Channel.Flow(True))
        for channel in list(self.channels):
            self.clients[channel[0]].wait(int(channel[1]), spec.Channel.FlowOk, count=2)
        for link in ("A", "B"):
            self._client(link)
            self._keep(link)
        return {"seen": self._seen(ChannelState.copy), "counts": counts}

    def settle(self) -> None:
        """End the step: forget what the clients have seen, and remember what follows from it."""
        self._seen(lambda state: state)
        for link in ("A", "B"):
            self._events[link].clear()
        self._closed.clear()

    def _counts(self, owners: dict[str, str]) -> dict[str, Any]:
        counts: dict[str, Any] = {}
        for link in ("A", "B"):
            mine = [queue for queue, owner in owners.items() if owner == link]
            answers = self.ask(link, [self._look(queue) for queue in mine])
            for queue, answer in itertools.zip_longest(mine, answers):
                found = isinstance(answer, spec.Queue.DeclareOk)
                counts[queue] = found and self._fields(Event(CONTROL, answer))
        return counts

    def _if_it_exists(self, queue: str) -> str:
        answer = self.ask("A", [self._look(queue)])[-1]
        is_missing = isinstance(answer, spec.Channel.Close) and answer.reply_code == 404
        return "gone" if is_missing else "still there"

    def _look(self, queue: str) -> Any:
        return spec.Queue.Declare(queue=self.actual_names(queue), passive=True)

    def ask(self, link: str, methods: list[Any]) -> list[Any]:
        """Return the answers to *methods* on the control channel, up to the first error."""
        client = self._client(link)
        self._keep(link)
        if not methods:
            return []
        client.send(CONTROL, *methods)
        client.wait(CONTROL, *(_ANSWERS[type(method)] for method in methods), count=len(methods))
        answers = [event.method for event in self._keep(link)]
        if answers and isinstance(answers[-1], spec.Channel.Close):
            self._open(link, CONTROL)
            self._keep(link)
        return answers

    def _keep(self, link: str) -> list[Event]:
        """Keep what has arrived; return what has arrived on the control channel."""
        client = self.clients[link]
        events = client.take_events()
        for event in events:
            if isinstance(event.method, IGNORED) or event.channel == CONTROL:
                continue
            self._events[link].append(event)
            channel = f"{link}{event.channel}"
            if isinstance(event.method, spec.Queue.DeclareOk):
                self._note_name(event.method.queue)
            if isinstance(event.method, CHANNEL_ENDS) and channel in self.channels:
                self._closed[channel] = self.channels.pop(channel)
        return [event for event in events if event.channel == CONTROL]

    def _note_name(self, name: str) -> None:
        if name.startswith("amq.gen") and name not in self.names.values():
            self.names[f"~s{len(self.names)}"] = name

    def _seen(self, state_of: Callable[[ChannelState], ChannelState]) -> dict[str, Any]:
        """Return what has been kept, in a form that can be compared; change the states for it."""
        seen: dict[str, Any] = {}
        states = self._closed | self.channels
        for link, events in self._events.items():
            for number in (0, 1, 2):
                channel = f"{link}{number}"
                mine = [event for event in events if event.channel == number]
                state = state_of(states.get(channel) or ChannelState())
                if shown := self._comparable(state, mine):
                    seen[channel] = shown
            if f"{link}0" in seen:
                # Whether messages of one channel reach another one first depends on the order in
                # which RabbitMQ ends the channels of a connection.
                for channel in (f"{link}1", f"{link}2"):
                    seen.get(channel, {}).pop("deliveries", None)
        return {channel: shown for channel, shown in seen.items() if shown}

    def _comparable(self, state: ChannelState, events: list[Event]) -> dict[str, Any]:
        shown: dict[str, list[Any]] = {}
        delivered = []
        for event in events:
            name, fields = type(event.method).__name__, self._fields(event)
            if isinstance(event.method, (spec.Basic.Ack, spec.Basic.Nack)):
                shown.setdefault("confirms", []).extend(_confirms(state, event.method))
                continue
            if isinstance(event.method, CONTENTS):
                delivered.append((fields, event.method))
            if isinstance(event.method, spec.Basic.Deliver):
                continue
            _note(state, event.method)
            place = "cancels" if isinstance(event.method, spec.Basic.Cancel) else "events"
            shown.setdefault(place, []).append((name, fields))
        delivered.sort(key=lambda each: getattr(each[1], "consumer_tag", ""))
        deliveries = [each[0] for each in delivered if isinstance(each[1], spec.Basic.Deliver)]
        if deliveries:
            shown["deliveries"] = _in_one_order(deliveries)
        for fields, method in _in_one_order(delivered):
            if not state.consumers.get(getattr(method, "consumer_tag", ""), False):
                state.unacked.append((fields, method.delivery_tag))
        for place in ("confirms", "cancels"):
            shown.get(place, []).sort(key=repr)  # dictionaries have no order of their own
        return shown

    def _fields(self, event: Event) -> Any:
        fields = {
            name: value for name, value in vars(event.method).items() if name != "delivery_tag"
        }
        if isinstance(event.method, CONNECTION_ENDS[:1]):
            # What follows the first line depends on the configuration of the node.
            fields["reply_text"] = fields["reply_text"].partition("\n")[0]
        if event.properties is not None:
            fields |= {"properties": event.properties, "body": event.body}
            if event.body in self._passed_on:
                fields = {"passed on": True}
            elif self._dead_letters and event.body in self._copied:
                _forget_way(fields)
            if self.clients["A"].version.startswith("4") and "properties" in fields:
                _forget_past_deliveries(fields)
        fields = self.generic_names(fields)
        if isinstance(event.method, spec.Queue.DeclareOk) and fields["queue"] in self._quorums:
            # RabbitMQ counts some that are none: a difference that docs/broker.md lists.
            del fields["consumer_count"]
        return fields

    # --- the end

    def contents(self, owners: dict[str, str]) -> dict[str, list[Any]]:
        """Take all messages from the queues, and return them."""
        return {queue: self._drained(queue, owner) for queue, owner in owners.items()}

    def _drained(self, queue: str, link: str) -> list[Any]:
        contents: list[Any] = []
        client = self._client(link)
        while True:
            client.send(CONTROL, spec.Basic.Get(queue=self.actual_names(queue), no_ack=True))
            client.wait(CONTROL, spec.Basic.GetOk, spec.Basic.GetEmpty)
            event = self._keep(link)[-1]
            contents.append(self._fields(event))
            contents[-1].pop("message_count", None)
            if isinstance(event.method, spec.Channel.Close):
                self._open(link, CONTROL)
                self._keep(link)
            if not isinstance(event.method, spec.Basic.GetOk):
                return _in_one_order(contents)

    def clear(self, owners: dict[str, str]) -> None:
        """Delete everything that the steps may have declared."""
        for queue in {*QUEUES, *owners}:
            name = self.actual_names(queue)
            self.ask(owners.get(queue, "A"), [spec.Queue.Delete(queue=name)])
        exchanges = [self.actual_names(name) for name in ("~e0", "~e1", "~e2")]
        self.ask("A", [spec.Exchange.Delete(exchange=name) for name in exchanges])

    def close(self) -> None:
        """Close the connections."""
        for client in self.clients.values():
            client.close()
        self.clients.clear()


_ANSWERS = {
    spec.Queue.Declare: spec.Queue.DeclareOk,
    spec.Queue.Delete: spec.Queue.DeleteOk,
    spec.Exchange.Delete: spec.Exchange.DeleteOk,
}


def _in_one_order(messages: list[Any]) -> list[Any]:
    """Return *messages* with those of one publish, which may take two ways, in one order."""
    groups = itertools.groupby(messages, lambda each: _fields_of(each).get("body"))
    return [each for _, group in groups for each in sorted(group, key=_sorting)]


def _fields_of(message: Any) -> dict[str, Any]:
    fields: dict[str, Any] = message[0] if isinstance(message, tuple) else message
    return fields


def _sorting(message: Any) -> str:
    return json.dumps(_fields_of(message), sort_keys=True, default=repr)


def _forget_past_deliveries(fields: dict[str, Any]) -> None:
    """Remove from a dead letter what RabbitMQ 4 tells of the time before: see docs/broker.md."""
    if "x-death" in (fields["properties"].get("headers") or {}):
        _forget_counts(fields)
        fields.pop("redelivered", None)


def _forget_way(fields: dict[str, Any]) -> None:
    """Remove what tells whether a message came as a dead letter, or directly.

    It may do both, and which of them is first is arbitrary: see docs/broker.md.
    """
    _forget_counts(fields)
    for name in ("redelivered", "exchange", "routing_key"):
        fields.pop(name, None)
    headers = fields["properties"]["headers"]
    kept = {name: value for name, value in headers.items() if not _DEATHS.match(name)}
    fields["properties"] = fields["properties"] | {"headers": kept}
    fields["properties"].pop("expiration", None)


_DEATHS = re.compile("CC$|x-(first-|last-)?death")


def _forget_counts(fields: dict[str, Any]) -> None:
    headers = dict(fields["properties"].get("headers") or {})
    for name in ("x-acquired-count", "x-delivery-count"):
        headers.pop(name, None)
    fields["properties"] = fields["properties"] | {"headers": headers}


_ACKS = ("ack", "ack multiple", "nack", "nack multiple", "reject")


def _is_pointless(step: Step, state: ChannelState) -> bool:
    """Tell whether *step* could only end its channel or connection, as other kinds of steps do."""
    return (
        (step.kind in _ACKS and step.pick >= 0 and not state.unacked)
        or (step.kind == "consume" and step.fields["consumer_tag"] in state.consumers)
        or (step.kind in ("tx commit", "tx rollback") and not state.transaction)
    )


def _confirms(state: ChannelState, method: Any) -> list[tuple[int, bool]]:
    """Return number and success of each publish that *method* confirms."""
    last, accepted = method.delivery_tag, isinstance(method, spec.Basic.Ack)
    numbers = [each for each in state.unconfirmed if each <= last] if method.multiple else [last]
    state.unconfirmed = [each for each in state.unconfirmed if each not in numbers]
    return [(number, accepted) for number in numbers]


def _note(state: ChannelState, method: Any) -> None:
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
