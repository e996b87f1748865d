"""The processor of `tests.faults.counted_load`, for ``postage run``: messages that fail, and calls.

ENDPOINT, an environment variable, names its exchange and its queues.
"""

from __future__ import annotations

import os
from typing import Any

from postage import messaging
from tests.faults.programs.failing_worker import Failing
from tests.support.endpoints import Endpoint


class CountedWorker(Failing):
    """Also answers calls; each run of each handler is in the ledger."""

    def __init__(self) -> None:
        endpoint = Endpoint(os.environ["ENDPOINT"])
        queues = [(endpoint.sub(key), key) for key in ("notes", "calls")]
        super().__init__({"name": "counted"}, endpoint.at(*queues))

    @messaging.RpcHandler("command", "echo")
    def echo(self, content: Any, _reply: Any) -> Any:
        self.carry_out(content, lambda *_: None)
        return content["parameters"]

    @messaging.RpcHandler("command", "wrong")
    def wrong(self, content: Any, _reply: Any) -> None:
        self.carry_out(content, lambda *_: KeyError("wrong"))
