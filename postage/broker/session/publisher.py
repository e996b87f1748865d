"""The publishes of one channel: where they go, what is confirmed, what comes back."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from postage.broker.core.queue import BrokerQueue, QueuedMessage
from postage.broker.core.validation import validate
from postage.broker.fastpath.header_scan import REPLY_TO
from postage.broker.wire.content import ContentProperties, PublishedMessage
from postage.broker.wire.exceptions import ChannelFault, ConnectionFault
from postage.broker.wire.fields import short_string
from postage.broker.wire.methods import MethodCall

if TYPE_CHECKING:
    from postage.broker.fastpath.route_cache import CachedRoute
    from postage.broker.session.client_channel import ClientChannel

__all__ = ["Publisher"]

_NO_ROUTE = struct.pack(">HHH", 60, 50, 312) + short_string("NO_ROUTE")


class Publisher:
    """What a client publishes on *channel*."""

    def __init__(self, channel: ClientChannel) -> None:
        self._channel, self._connection = channel, channel.connection
        self._vhost = channel.vhost
        self.confirms = False
        self._last = self._unconfirmed = 0

    def publish(self, call: MethodCall, header: bytes, body: bytes) -> None:
        """Carry out a basic.publish whose content has come; raises `Fault`."""
        if call.immediate:
            raise ConnectionFault(540, "immediate=true", call.method.ids)
        message = PublishedMessage(call.exchange, call.routing_key, header, body)
        if call.exchange and self._vhost.exchange(call.exchange).internal:
            name = f"exchange '{call.exchange}' in vhost '{self._vhost.name}'"
            raise ChannelFault(403, f"cannot publish to internal {name}")
        validate(message, self._connection.user)
        self._check_reply_to(message)
        self._route(message, mandatory=call.mandatory)

    def _check_reply_to(self, message: PublishedMessage) -> None:
        if message.is_plain or message.properties.get("reply_to") != REPLY_TO:
            return
        key = self._channel.reply_key
        if key is None:
            raise ChannelFault(406, "fast reply consumer does not exist")
        values = {**message.properties.values, "reply_to": key}
        message.replace_header(ContentProperties(values).encode())

    def _route(self, message: PublishedMessage, *, mandatory: bool) -> None:
        """Send *message* on its way, or keep it, with its route, for the commit."""
        queues, transaction = self._vhost.route(message), self._channel.transaction
        if self.confirms:
            self._last += 1
        if transaction is None:
            self._put(message, queues, mandatory=mandatory)
            return
        names = [queue.name for queue in queues]
        transaction.publish(lambda: self._put_by_name(message, names, mandatory=mandatory))

    def _put_by_name(self, message: PublishedMessage, names: list[str], *, mandatory: bool) -> None:
        known = self._vhost.queues
        queues = [known[name] for name in names if name in known]
        self._put(message, queues, mandatory=mandatory and not names)

    def _put(
        self, message: PublishedMessage, queues: list[BrokerQueue], *, mandatory: bool
    ) -> None:
        direct = None if message.exchange else self._vhost.reply_consumers.get(message.key)
        if direct is not None:
            direct.deliver_reply(message)
        if mandatory and not queues and direct is None:
            self._return(message)
        accepted = all(queue.accepts(message) for queue in queues)
        self._vhost.put_all(queues, lambda queue: queue.publish(message))
        if self.confirms:
            self._confirm(accepted=accepted)

    def put(self, route: CachedRoute, header: bytes, body: bytes, ttl: float | None) -> None:
        """Carry out a publish of which `Express` knows that it is plain, in one step."""
        if len(route.queues) == 1:
            _enter(route.queues[0], route.address, header, body, ttl)
        else:
            self._vhost.put_all(
                route.queues, lambda queue: _enter(queue, route.address, header, body, ttl)
            )
        if self.confirms:
            self._last += 1
            self._confirm(accepted=True)

    def _confirm(self, *, accepted: bool) -> None:
        if accepted:
            self._unconfirmed = self._last
            self._connection.confirm_later(self)
        else:
            self.flush_confirms()
            self._channel.send("basic.nack", delivery_tag=self._last)

    def flush_confirms(self) -> None:
        """Confirm all publishes since the last time, with one ack."""
        if self._unconfirmed:
            self._channel.send("basic.ack", delivery_tag=self._unconfirmed, multiple=True)
            self._unconfirmed = 0

    def _return(self, message: PublishedMessage) -> None:
        self._channel.write_message(_NO_ROUTE + message.address, message.header, message.body)


def _enter(
    queue: BrokerQueue, address: bytes, header: bytes, body: bytes, ttl: float | None
) -> None:
    expires_at = None if ttl is None and not queue.ages else queue.deadline(ttl)
    queue.put(QueuedMessage(address, header, body, 0, expires_at))
