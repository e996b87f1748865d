"""Makes exchanges and bindings again that others delete while components consume.

How it works
------------
RabbitMQ tells a consumer when its queue is deleted, but not when an exchange or a binding is.  So
`Rebinding` checks all of them every `CHECK_INTERVAL` seconds:

* **Exchanges.**  It asks for each exchange whether it exists (a passive declare, 10 us of RabbitMQ)
  and whether it still has our flags.  One that is missing is made again with all its bindings, by
  the rules of `deleted_exchanges`.  One that has other flags now ends the components that are bound
  to it, as it would after a reconnect.
* **Bindings.**  AMQP cannot ask for a binding, so it binds again, which changes nothing if the
  binding exists.  This takes RabbitMQ 0.1 ms, and RabbitMQ 4 0.5 ms.  So it binds only a part in
  each check: all bindings in `ROTATION` checks, but not more than `MOST_BOUND` in one.

* **Bindings of a missing exchange.**  RabbitMQ 4 can keep a binding that is made while its exchange
  is being deleted.  Such a binding routes nothing, and binding again does not change it (measured
  on 4.3.6: after 62 of 101 deletions, while another connection bound).  So each check ends with
  the question whether the exchanges still exist, and a binding of an exchange that was missing is
  removed before it is made; publishers do not trust the exchange meanwhile.

A check is one round trip on a leased channel.  A publisher of this process that finds an exchange
missing reports it at once (`restore`).

A user may lack the permission to do this.  What the broker refuses for that reason is left out from
then on, until there is a new connection.
"""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple, Protocol

import gevent
import gevent.hub
from gevent.lock import BoundedSemaphore

from postage.addressing import Key
from postage.errors import (
    ChannelRefused,
    ConnectionClosed,
    ConnectionLost,
    OperationTimeout,
    PostageError,
    TopologyMismatch,
)
from postage.exchange import Exchange
from postage.green.amqp.backoff import Backoff
from postage.green.amqp.connection import Connection
from postage.green.amqp.hub_logging import HubLogger
from postage.green.amqp.reconnecting import Reconnecting
from postage.green.amqp.refusals import Declaration
from postage.green.amqp.waiting import answer_within
from postage.protocol import ACCESS_REFUSED, NOT_FOUND

__all__ = ["BoundQueue", "Keeper", "Rebinding"]

logger = HubLogger(__name__)

CHECK_INTERVAL = 1.0
"""Seconds between two checks."""
ROTATION = 3
"""Checks in which all bindings are made again, if they are few."""
MOST_BOUND = 50
"""Bindings that one check makes again, so that it takes RabbitMQ 4 at most a fortieth of a CPU."""
MOST_REFUSED = 20
"""Refusals in one check, each of which ends a channel; the next check goes on."""
AT_ONCE = 500
"""Bindings that are made within `LIMIT` seconds, where an exchange was missing."""
KEEPS_STALE = (4,)
"""The first version of RabbitMQ that may keep a binding of an exchange that is being deleted."""
LIMIT = 5.0
"""Seconds that a check waits for the broker."""


class BoundQueue(Protocol):
    """A queue of a consumer."""

    name: str
    bindings: dict[tuple[type[Exchange], Key], None]


class Keeper(Protocol):
    """A component whose bindings are kept."""

    def queues_on(self, connection: Connection) -> Iterable[BoundQueue]:
        """Return the queues that *connection* has declared."""

    def fail(self, error: Exception) -> None:
        """End with *error*, which waiting does not cure."""


class _Bound(NamedTuple):
    """A binding and its component."""

    keeper: Keeper
    queue: BoundQueue
    exchange: type[Exchange]
    key: Key

    @property
    def is_current(self) -> bool:
        """Whether its component still wants it."""
        return (self.exchange, self.key) in self.queue.bindings


class Rebinding:
    """Keeps the bindings of the components that consume on the connection *consuming*."""

    def __init__(self, consuming: Reconnecting) -> None:
        self._consuming = consuming
        self._keepers: dict[Keeper, None] = {}
        self._timer: Any = None
        self._check: gevent.Greenlet[..., None] | None = None
        self._restoring: dict[str, gevent.Greenlet[..., None]] = {}  # by name of the exchange
        self._known = 0  # bindings at the last check
        self._position = 0  # of the next binding to repeat
        self._connection: Connection | None = None
        self._forbidden: set[tuple[str, str]] = set()  # what, and its name
        self.lock = BoundedSemaphore()
        """Held while bindings are made again, and to remove one, so that it stays removed."""

    def add(self, keeper: Keeper) -> None:
        """Keep the bindings of *keeper* from now on; never switches."""
        self._keepers[keeper] = None
        if self._timer is None:
            # With ref=False, a hub that waits for nothing else may end.
            self._timer = gevent.hub.get_hub().loop.timer(CHECK_INTERVAL, CHECK_INTERVAL, ref=False)
            self._timer.start(self._check_soon)

    def discard(self, keeper: Keeper) -> None:
        """Leave the bindings of *keeper* alone; no error if they were not kept; never switches."""
        self._keepers.pop(keeper, None)
        if not self._keepers and self._timer is not None:
            self._timer.close()
            self._timer = None
            gevent.killall([*self._restoring.values()], block=False)

    def restore(self, exchange: type[Exchange]) -> None:
        """Make *exchange*, which is missing, and its bindings again.  Never switches.

        Does nothing if no component here is bound to it.
        """
        connection, name = self._consuming.current, exchange.name
        if connection is None or name in self._restoring or not self._bound_to(name, connection):
            return
        self._restoring[name] = greenlet = gevent.spawn(self._restore, name)
        greenlet.rawlink(lambda _: self._restoring.pop(name, None))

    # --- checks

    def _check_soon(self) -> None:
        if self._check is None or self._check.dead:
            self._check = gevent.spawn(self._check_all)

    def _check_all(self) -> None:
        connection = self._consuming.current
        if connection is None:
            return
        if connection is not self._connection:
            self._connection = connection
            self._forbidden.clear()
        try:
            self._repeat(connection, *self._due(connection))
        except PostageError as exc:
            logger.debug("Could not check all exchanges and bindings: %s", exc)

    def _due(self, connection: Connection) -> tuple[set[type[Exchange]], list[_Bound]]:
        """Return the exchanges of all bindings, and the bindings that are due in this check."""
        count = math.ceil(self._known / ROTATION) if self._known else MOST_BOUND
        end = self._position + min(count, MOST_BOUND)
        due, exchanges, number = list[_Bound](), set[type[Exchange]](), 0
        for keeper in self._keepers:
            for queue in keeper.queues_on(connection):
                for exchange, key in queue.bindings:
                    if exchange.name and exchange.name not in self._restoring:
                        exchanges.add(exchange)
                        if self._position <= number < end:
                            due.append(_Bound(keeper, queue, exchange, key))
                        number += 1
        self._known, self._position = number, end if end < number else 0
        return exchanges, due

    def _repeat(
        self,
        connection: Connection,
        exchanges: set[type[Exchange]],
        bound: list[_Bound],
        *,
        anew: bool = False,
    ) -> None:
        """Check *exchanges* and make *bound* again; leave out what is refused.

        With *anew*, what is *bound* is removed before.
        """
        for _ in range(MOST_REFUSED):
            parameters = [each for one in exchanges for each in self._declarations(one)]
            with self.lock, answer_within(LIMIT, OperationTimeout("queue.bind", LIMIT)):
                bindings = [
                    (each.queue.name, each.exchange.name, each.key)
                    for each in bound
                    if each.is_current and self._may_bind(each)
                ]
                try:
                    with connection.lease() as channel:
                        channel.repeat(parameters, bindings, anew=anew)
                except ChannelRefused as exc:
                    error = exc
                else:
                    return
            bound = [each for each in bound if not self._is_culprit(each, error)]
            exchanges = self._without_culprit(exchanges, error)

    def _declarations(self, exchange: type[Exchange]) -> Iterator[dict[str, Any]]:
        """Yield the declarations that check *exchange*: it exists, and has our flags."""
        parameters = exchange.parameters
        yield {**parameters, "passive": True}
        is_usual = Declaration.of_exchange(parameters).is_usual  # else it may end the connection
        if is_usual and not exchange.passive and not self._is_forbidden("declare", exchange.name):
            yield parameters

    def _is_forbidden(self, what: str, name: str) -> bool:
        return (what, name) in self._forbidden

    def _may_bind(self, bound: _Bound) -> bool:
        names = bound.exchange.name, bound.queue.name
        return not any(self._is_forbidden("bind", name) for name in names)

    def _is_culprit(self, bound: _Bound, error: ChannelRefused) -> bool:
        """Return whether *error* is about *bound*; if it will not pass, leave it out for good."""
        is_queue = error.concerns(bound.queue.name, "queue")
        if is_queue and error.code == ACCESS_REFUSED:
            self._forbidden.add(("bind", bound.queue.name))
        return is_queue or error.concerns(bound.exchange.name, "exchange")

    def _without_culprit(
        self, exchanges: set[type[Exchange]], error: ChannelRefused
    ) -> set[type[Exchange]]:
        """Do what *error* makes necessary; return the *exchanges* that it is not about."""
        culprits = {each for each in exchanges if error.concerns(each.name, "exchange")}
        for each in culprits:
            if error.code == NOT_FOUND:
                self.restore(each)
            elif isinstance(error, TopologyMismatch):
                self._fail(each.name, error)
            elif error.code == ACCESS_REFUSED and not self._is_forbidden("declare", each.name):
                self._forbidden.add(("declare", each.name))
                return exchanges
            elif error.code == ACCESS_REFUSED:
                self._forbidden.add(("bind", each.name))
        return exchanges - culprits

    def _fail(self, name: str, error: ChannelRefused) -> None:
        """End the components that are bound to the exchange *name*, which has other flags now."""
        connection = self._consuming.current
        if connection is not None:
            for keeper in {each.keeper for each in self._bound_to(name, connection)}:
                keeper.fail(copy.copy(error))  # each raises its own, with its own traceback

    # --- missing exchanges

    def _restore(self, name: str) -> None:
        """Make the exchange *name* and its bindings again as soon as that is possible."""
        logger.warning("Exchange %r is missing (was it deleted?); restoring its bindings.", name)
        backoff = Backoff()
        while True:
            connection = self._consuming.current
            bound = [] if connection is None else self._bound_to(name, connection)
            if connection is None or not bound:
                return  # after a reconnect each component declares everything
            try:
                self._make(connection, bound)
            except ChannelRefused as exc:
                if isinstance(exc, TopologyMismatch) and not exc.misses(name, "exchange"):
                    self._fail(name, exc)
                    return
                logger.debug("Exchange %r is not available yet: %s", name, exc)
            except ConnectionClosed:
                return
            except (ConnectionLost, OperationTimeout) as exc:
                logger.debug("Exchange %r is not available yet: %s", name, exc)
            else:
                logger.info("Exchange %r exists again, with %d bindings.", name, len(bound))
                return
            gevent.sleep(min(CHECK_INTERVAL, backoff.pause()))

    def _make(self, connection: Connection, bound: list[_Bound]) -> None:
        exchanges = {each.exchange for each in bound}
        for exchange in exchanges:
            connection.note_missing(exchange)
        for exchange in exchanges:
            connection.declare(exchange)
        # Without its last binding, an auto-delete exchange would be deleted once more.
        is_kept = not any(exchange.parameters["auto_delete"] for exchange in exchanges)
        anew = is_kept and connection.version >= KEEPS_STALE
        for start in itertools.takewhile(len(bound).__gt__, itertools.count(0, AT_ONCE)):
            self._repeat(connection, set(), bound[start : start + AT_ONCE], anew=anew)

    # --- what is bound

    def _bound(self, connection: Connection) -> Iterator[_Bound]:
        for keeper in [*self._keepers]:
            for queue in keeper.queues_on(connection):
                for exchange, key in [*queue.bindings]:
                    if exchange.name:  # every queue is bound to the default exchange
                        yield _Bound(keeper, queue, exchange, key)

    def _bound_to(self, name: str, connection: Connection) -> list[_Bound]:
        return [each for each in self._bound(connection) if each.exchange.name == name]
