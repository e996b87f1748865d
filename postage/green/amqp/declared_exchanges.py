"""The exchanges that a connection has declared, and those that it must make again."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial

import gevent

from postage.errors import ChannelRefused
from postage.exchange import Exchange
from postage.green.amqp.channel import Channel
from postage.green.amqp.deleted_exchanges import POLL, DeletedExchanges
from postage.green.amqp.refusals import Declaration
from postage.green.amqp.trials import Trials
from postage.green.amqp.waiting import SharedResource
from postage.protocol import ACCESS_REFUSED

__all__ = ["DeclaredExchanges"]


class DeclaredExchanges:
    """The part of a connection that declares exchanges, each once.

    One that is missing stays so for *wait* seconds, as `deleted_exchanges` says.
    """

    alive: bool
    trials: Trials

    def __init__(self, wait: float) -> None:
        self.declared: set[type[Exchange]] = set()
        """The exchanges that need no further `declare` on this connection."""
        self.trusted: set[type[Exchange]] = set()
        """Those of them that were not missing lately, and so have their bindings."""
        self.on_missing: Callable[[type[Exchange]], None] | None = None
        """Called with each exchange that turns out to be missing."""
        self._deleted = DeletedExchanges(wait)
        self._declaring: dict[type[Exchange], SharedResource[DeclaredExchanges]] = {}

    def lease(self) -> AbstractContextManager[Channel]:
        """Lend a channel for requests that the broker may refuse."""
        raise NotImplementedError

    def declare(self, exchange: type[Exchange]) -> None:
        """Declare *exchange* unless this connection has done so; raises `TopologyMismatch`.

        Switches unless *exchange* is in `declared`.
        """
        if exchange in self.declared:
            return
        declaring = self._declaring.get(exchange)
        if declaring is None:
            declaring = self._declaring[exchange] = SharedResource(partial(self._declare, exchange))
        declaring.get()

    def _declare(self, exchange: type[Exchange]) -> DeclaredExchanges:
        """Declare *exchange*; return the connection, whose end ends the declaration, too."""
        parameters = exchange.parameters
        if not parameters["exchange"]:  # the default exchange: always there, and never declared
            self.declared.add(exchange)
            return self
        declaration = Declaration.of_exchange(parameters)
        while self._deleted.must_wait(exchange) and not self._exists(exchange):
            gevent.sleep(POLL)
        try:
            self.trials.carry_out(
                declaration, lambda channel: channel.exchange_declare(**parameters)
            )
        except ChannelRefused as exc:
            # A user without the permission to configure can still use what is there.
            if not (exc.code == ACCESS_REFUSED and self._exists(exchange)):
                raise
        self.declared.add(exchange)
        self._deleted.doubt(exchange)
        return self

    def _exists(self, exchange: type[Exchange]) -> bool:
        try:
            with self.lease() as channel:
                channel.exchange_declare(**{**exchange.parameters, "passive": True})
        except ChannelRefused:
            return False
        return True

    def discard_declaration(self, exchange: type[Exchange]) -> None:
        """Declare *exchange* again at its next use."""
        self.declared.discard(exchange)
        self.trusted.discard(exchange)
        self._declaring.pop(exchange, None)

    def note_missing(self, exchange: type[Exchange]) -> None:
        """Note that the broker reports *exchange* missing; its next use makes it again."""
        self.discard_declaration(exchange)
        self._deleted.add(exchange)
        if self.on_missing is not None:
            self.on_missing(exchange)

    def trusts(self, exchange: type[Exchange]) -> bool:
        """Return whether *exchange*, which is declared, has all its bindings as far as is known."""
        if self._deleted.is_doubted(exchange):
            return False
        self.trusted.add(exchange)
        return True

    def doubt(self, exchange: type[Exchange]) -> None:
        """Note that *exchange*, which is not trusted yet, was still lacking a binding."""
        self._deleted.doubt(exchange)
