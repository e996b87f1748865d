"""What was recorded from a running 1.2.1, and a client that replays it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from postage import messaging
from tests.support.raw import Raw, listen

WIRE: dict[str, Any] = json.loads(Path(__file__).with_name("wire_v121.json").read_text("utf-8"))
#: The fingerprint of the recorded producer.
FINGERPRINT = {
    "name": "rec",
    "type": "application",
    "pid": "4242",
    "host": "host-a",
    "user": "alice",
    "vhost": "/",
}
RECORDS = {case: record for case, record in WIRE.items() if isinstance(record, dict)}
SENT = {case: record for case, record in RECORDS.items() if "routing_key" in record}
REPLIES = {
    case.removeprefix("reply: "): record["replies"]
    for case, record in RECORDS.items()
    if case.startswith("reply: ")
}


class RecordedExchange(messaging.Exchange):
    name = "recorded-exchange"


class Replay(Raw):
    """Replays recorded messages, and reads what Postage sends."""

    def listen(self, *keys: str) -> str:
        """Bind a new queue to the recorded exchange with each of *keys*; return its name."""
        return listen(self, RecordedExchange, *keys)

    def put_record(self, queue: str, record: dict[str, Any], **properties: Any) -> None:
        """Put a recorded message into *queue*, with its own properties and these."""
        self.put(queue, record["body"], **{**record["properties"], **properties})
