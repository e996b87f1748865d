"""A fake broker for publishers, which follows a script, one line for each connection."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import gevent.event
import pika.frame
from pika import spec

from tests.support.peer import OPEN_OK, START, TUNE, Peer
from tests.support.wire import method

Answer = Callable[["ScriptedBroker", Peer, int, int], object]
"""Answers a publish; called with the number of the channel, and of the publish on it."""


def ack(_broker: ScriptedBroker, peer: Peer, channel: int, tag: int) -> None:
    """Confirm the message."""
    peer.send(method(channel, spec.Basic.Ack(tag)))


def nack(_broker: ScriptedBroker, peer: Peer, channel: int, tag: int) -> None:
    """Refuse the message."""
    peer.send(method(channel, spec.Basic.Nack(tag)))


def ignore(_broker: ScriptedBroker, _peer: Peer, _channel: int, _tag: int) -> None:
    """Answer nothing."""


def hang_up(_broker: ScriptedBroker, _peer: Peer, _channel: int, _tag: int) -> None:
    """Close the socket without closing the connection."""
    raise EOFError


def close_channel(code: int, text: str) -> Answer:
    """Return an answer that closes the channel."""

    def answer(_broker: ScriptedBroker, peer: Peer, channel: int, _tag: int) -> None:
        peer.send(method(channel, spec.Channel.Close(code, text, 60, 40)))

    return answer


def close_connection(code: int, text: str) -> Answer:
    """Return an answer that closes the connection."""

    def answer(_broker: ScriptedBroker, peer: Peer, _channel: int, _tag: int) -> None:
        peer.send(method(0, spec.Connection.Close(code, text, 60, 40)))
        peer.until_gone()

    return answer


class ScriptedBroker:
    """Serves each connection by the next line of its *script*.

    A line is an `Answer` to every publish, or the stage at which the connection fails:

    * ``refuse``, ``login``, ``vhost``: the broker refuses it there,
    * ``lose``: the broker drops it when an exchange is declared,
    * ``connect``, ``declare``, ``open``: the broker is silent from there on.

    The last line is for all further connections.
    """

    def __init__(self, *script: str | Answer) -> None:
        self._script = itertools.chain(script, itertools.repeat(script[-1]))
        self.answered_by: list[str | Answer] = []
        """The lines that were used so far."""
        self.ids: list[list[str]] = []
        """The ids of the messages of each connection."""
        self.types: list[str | None] = []
        """The properties ``type`` of all messages."""
        self.declared: list[list[str]] = []
        """The exchanges declared on each connection."""
        self.peers: list[Peer] = []
        self.silent = False
        """Whether the broker is silent on a connection."""
        self._ended = gevent.event.Event()

    def __call__(self, peer: Peer) -> None:
        """Serve one connection."""
        line = next(self._script)
        self.answered_by.append(line)
        self.peers.append(peer)
        ids: list[str] = []
        self.ids.append(ids)
        self.declared.append([])
        if isinstance(line, str):
            self._go_wrong(peer, line)
        else:
            peer.handshake()
            self._serve(peer, line, self.declared[-1], ids)

    @property
    def published(self) -> list[str]:
        """The ids of the messages of all connections."""
        return [each for ids in self.ids for each in ids]

    def _go_wrong(self, peer: Peer, stage: str) -> None:
        if stage == "refuse":
            return
        if stage == "connect":
            self._be_silent(peer)
        peer.next()
        peer.send(START)
        peer.expect(spec.Connection.StartOk)
        if stage == "login":
            return
        peer.send(TUNE)
        peer.expect(spec.Connection.Open)
        if stage == "vhost":
            peer.send(method(0, spec.Connection.Close(530, "NOT_ALLOWED - no such vhost", 10, 40)))
            peer.until_gone()
        peer.send(OPEN_OK)
        if stage == "open":  # of the second channel: on the first one the exchange is declared
            self._declare(peer, peer.open_channel())
        elif stage == "declare":
            peer.open_channel()
        elif stage == "lose":
            peer.open_channel()
            peer.expect(spec.Exchange.Declare)
            return
        self._be_silent(peer)

    def _be_silent(self, peer: Peer) -> None:
        self.silent = True
        peer.until_gone()

    def _declare(self, peer: Peer, channel: int) -> None:
        peer.expect(spec.Exchange.Declare)
        peer.send(method(channel, spec.Exchange.DeclareOk()))

    def _serve(self, peer: Peer, answer: Answer, declared: list[str], ids: list[str]) -> None:
        tags: dict[int, int] = {}
        while True:
            frame = peer.next()
            channel = frame.channel_number
            if isinstance(frame, pika.frame.Header):
                ids.append(frame.properties.message_id)
                self.types.append(frame.properties.type)
                tags[channel] = tags.get(channel, 0) + 1
                answer(self, peer, channel, tags[channel])
            elif isinstance(frame, pika.frame.Method):
                if isinstance(frame.method, spec.Exchange.Declare):
                    declared.append(frame.method.exchange)
                self._reply(peer, channel, frame.method, tags)

    def _reply(self, peer: Peer, channel: int, asked: Any, tags: dict[int, int]) -> None:
        replies = {
            spec.Channel.Open: spec.Channel.OpenOk,
            spec.Channel.Close: spec.Channel.CloseOk,
            spec.Exchange.Declare: spec.Exchange.DeclareOk,
            spec.Confirm.Select: spec.Confirm.SelectOk,
            spec.Connection.Close: spec.Connection.CloseOk,
        }
        if isinstance(asked, (spec.Channel.Open, spec.Channel.Close)):
            tags.pop(channel, None)
        if type(asked) in replies:
            peer.send(method(channel, replies[type(asked)]()))
