"""Delays without Postage: ``delay_probe.py FILE`` puts a message into a delay queue every 0.1 s.

Each line of FILE is when a message came back, and by how much it was late, in seconds.  Plain pika
publishes and consumes, so what is late here is so because of the broker, or of the machine.
"""

from __future__ import annotations

import os
import sys
import time
from contextlib import suppress
from typing import Any

import pika
import pika.exceptions

DELAY, PAUSE = 0.4, 0.1
QUEUE, BACK = "probe.delay", "probe.back"
FILE = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
DELAYING = {
    "x-queue-type": "quorum",
    "x-message-ttl": round(DELAY * 1000),
    "x-dead-letter-exchange": "",
    "x-dead-letter-routing-key": BACK,
    "x-dead-letter-strategy": "at-least-once",
    "x-overflow": "reject-publish",
}


def on_back(channel: Any, method: Any, _properties: Any, body: bytes) -> None:
    now = time.time()
    if not method.redelivered:
        os.write(FILE, f"{now!r} {now - float(body) - DELAY!r}\n".encode())
    channel.basic_ack(method.delivery_tag)


def probe() -> None:
    """Publish and consume until the connection is lost."""
    where = pika.URLParameters(os.environ["POSTAGE_URL"])
    with suppress(pika.exceptions.AMQPError, OSError), pika.BlockingConnection(where) as connection:
        channel = connection.channel()
        channel.queue_declare(QUEUE, durable=True, arguments=DELAYING)
        channel.queue_declare(BACK, durable=True)
        channel.basic_consume(BACK, on_back)
        lasting = pika.BasicProperties(delivery_mode=2)
        while True:
            channel.basic_publish("", QUEUE, repr(time.time()).encode(), lasting)
            connection.process_data_events(PAUSE)


while True:
    probe()
    time.sleep(PAUSE)
