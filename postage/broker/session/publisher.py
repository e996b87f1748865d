"""The publishes of one channel: their routes, their confirms, and what is returned."""

from __future__ import annotations

from collections.abc import Sequence

from postage.broker.core.queue import BrokerQueue
from postage.broker.core.validation import validate
from postage.broker.session.channel_state import ChannelState
from postage.broker.wire.content import (
    MessageHeader,
    PublishedMessage,
    decode_properties,
    encode_properties,
)
from postage.broker.wire.exceptions import ChannelFault, ConnectionFault
from postage.broker.wire.fields import short_string
from postage.broker.wire.methods import MethodCall
from postage.protocol import BASIC, method_id

__all__ = ["Publisher"]

_NO_ROUTE = method_id(BASIC, 50) + (312).to_bytes(2, "big") + short_string("NO_ROUTE")


class Publisher:
    """Carries out what a client publishes on *channel*."""

    def __init__(self, channel: ChannelState) -> None:
        self._channel, self._vhost = channel, channel.vhost
        self.confirms = False
        """Whether the channel is in confirm mode."""
        self._last = 0
        """The number of the last publish in confirm mode."""
        self._unconfirmed = 0
        """The last publish that is to be confirmed at the next `flush_confirms`; 0: none."""

    def publish(self, call: MethodCall, data: bytes, body: bytes) -> None:
        """Carry out a basic.publish with the header *data*, which starts with the flags.

        Raises `Fault`.  Returns when the message is in its queues, unless a transaction is open.
        """
        if call.immediate:
            raise ConnectionFault(540, "immediate=true", call.method.ids)
        if call.exchange and self._vhost.exchange(call.exchange).internal:
            name = f"exchange '{call.exchange}' in vhost '{self._vhost.name}'"
            raise ChannelFault(403, f"cannot publish to internal {name}")
        header = validate(data, self._channel.outlet.user)
        if header.wants_direct_reply:
            header = self._with_reply_key(header)
        message = PublishedMessage(call.exchange, call.routing_key, header, body, call.address)
        queues = self._vhost.route(message)
        if self.confirms:
            self._last += 1
        if self._channel.transaction is None:
            self._put(message, queues, mandatory=call.mandatory)
        else:
            names = [queue.name for queue in queues]
            self._channel.transaction.add_publish(
                lambda: self._put_by_name(message, names, mandatory=call.mandatory)
            )

    def _with_reply_key(self, header: MessageHeader) -> MessageHeader:
        """Return *header* with the key of this channel's consumer of direct replies."""
        key = self._channel.reply_key
        if key is None:
            raise ChannelFault(406, "fast reply consumer does not exist")
        data = encode_properties({**decode_properties(header.data), "reply_to": key})
        return header._replace(data=data, wants_direct_reply=False)

    def _put_by_name(self, message: PublishedMessage, names: list[str], *, mandatory: bool) -> None:
        """Put *message* into those of its queues that still exist at the commit."""
        known = self._vhost.queues
        queues = [known[name] for name in names if name in known]
        self._put(message, queues, mandatory=mandatory and not names)

    def _put(
        self, message: PublishedMessage, queues: Sequence[BrokerQueue], *, mandatory: bool
    ) -> None:
        if len(queues) == 1:
            accepted = queues[0].publish(message)
        elif queues:
            accepted = self._vhost.put_all(message, queues)
        else:
            accepted = True
            self._put_nowhere(message, mandatory=mandatory)
        if self.confirms:
            self._confirm(accepted=accepted)

    def _put_nowhere(self, message: PublishedMessage, *, mandatory: bool) -> None:
        """Deliver *message* as a direct reply, or return it if it is mandatory."""
        # A direct reply has no queue: the name of its key is reserved.
        consumer = None if message.exchange else self._vhost.reply_consumers.get(message.key)
        if consumer is not None:
            consumer.deliver_reply(message)
        elif mandatory:
            method = _NO_ROUTE + message.address
            self._channel.send_message(method, message.header.data, message.body)

    def _confirm(self, *, accepted: bool) -> None:
        if not accepted:
            self.flush_confirms()
            self._channel.send("basic.nack", delivery_tag=self._last)
            return
        if not self._unconfirmed:
            self._channel.outlet.confirm_later(self.flush_confirms)
        self._unconfirmed = self._last

    def flush_confirms(self) -> None:
        """Confirm all publishes since the last time with one ack."""
        if self._unconfirmed:
            self._channel.send("basic.ack", delivery_tag=self._unconfirmed, multiple=True)
            self._unconfirmed = 0
