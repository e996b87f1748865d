"""A server that replies like 1.2.1, without correlation ids; it uses plain pika."""

from __future__ import annotations

import json
import time
from typing import Any

import pika

from tests.support.raw import Taken, parameters

#: The seconds in which all calls must arrive.
TIMEOUT = 10.0


def reply_of(request: bytes) -> bytes:
    """Return the reply of 1.2.1 with the parameters of *request* as the result."""
    value = json.loads(request)["content"]["parameters"]
    content = {"type": "success", "value": value, "message": ""}
    body = {"type": "result", "name": "none", "category": "message", "version": "2"}
    return json.dumps({**body, "fingerprint": {}, "content": content, "_reserved": {}}).encode()


def answer_without_ids(hup: dict[str, Any], vhost: str, queue: str, count: int, batch: int) -> None:
    """Answer *count* calls from *queue*, in batches of *batch*, each in reverse order.

    A repeated call counts as another one.  Blocks its native thread, for at most `TIMEOUT` seconds.
    """
    with pika.BlockingConnection(parameters(hup, vhost)) as connection:
        channel = connection.channel()
        until = time.monotonic() + TIMEOUT
        taken: list[Taken] = []
        while count and time.monotonic() < until:
            got = Taken(*channel.basic_get(queue, auto_ack=True))
            if got.method is None:
                time.sleep(0.01)
                continue
            taken.append(got)
            if len(taken) == batch:
                answer(channel, taken)
                count -= batch


def answer(channel: Any, taken: list[Taken]) -> None:
    """Answer the calls in *taken* in reverse order, and remove them."""
    while taken:
        got = taken.pop()
        channel.basic_publish("", got.properties.reply_to, reply_of(got.body))
