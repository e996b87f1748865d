"""The codec of pika behind the interface of ours: the reference in the tests of our codec."""

from __future__ import annotations

from typing import Any

import pika.spec

from postage.green.amqp.codec import OnConfirm, OnMessage
from postage.green.amqp.delivery import Delivery
from postage.green.amqp.properties import Properties


class PlainPika:
    """Does the same as `Codec`, with the public methods of pika's channels."""

    def __init__(self, channels: dict[int, Any]) -> None:
        self._channels = channels

    def publish(
        self,
        channel: int,
        exchange: str,
        key: str,
        properties: Properties,
        body: bytes,
        *,
        mandatory: bool,
    ) -> None:
        basic = pika.spec.BasicProperties(**properties.as_dict())
        self._channels[channel].basic_publish(exchange, key, body, basic, mandatory)

    def ack(self, channel: int, tag: int, *, multiple: bool) -> None:
        self._channels[channel].basic_ack(tag, multiple)

    def reject(self, channel: int, tag: int, *, requeue: bool) -> None:
        self._channels[channel].basic_reject(tag, requeue)


def on_messages(callback: OnMessage) -> Any:
    """Return a function for pika that passes deliveries to *callback*."""

    def on_message(_channel: Any, method: Any, properties: Any, body: bytes) -> None:
        delivery = Delivery(
            method.consumer_tag,
            method.delivery_tag,
            method.redelivered,
            method.exchange,
            method.routing_key,
            received=0.0,
        )
        delivery.header = Properties.from_pika(properties).encode()
        delivery.body = body
        callback(delivery)

    return on_message


def on_confirms(callback: OnConfirm) -> Any:
    """Return a function for pika that passes confirms to *callback*."""

    def on_frame(frame: Any) -> None:
        method = frame.method
        callback(method.delivery_tag, method.multiple, isinstance(method, pika.spec.Basic.Nack))

    return on_frame
