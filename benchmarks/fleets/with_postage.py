"""Processors of Postage, created and run as its documentation says."""

from __future__ import annotations

from postage import green

green.patch_all()

import os  # noqa: E402 - after patching
from collections.abc import Callable  # noqa: E402
from typing import Any  # noqa: E402

from benchmarks.fleets import EXCHANGE, arguments  # noqa: E402
from postage import messaging  # noqa: E402


class Components(messaging.Exchange):
    """The exchange of this benchmark."""

    name = EXCHANGE


class Component(messaging.MessageProcessor):
    """Answers with its name, which is also the name of its queue."""

    @messaging.RpcHandler("command", "name")
    def tell(self, content: Any, reply_func: Callable[[object], None]) -> None:  # noqa: ARG002
        """Answer."""
        reply_func(self.fingerprint["name"])


def main() -> None:
    """Run."""
    os.environ["POSTAGE_URL"], names = arguments()
    with green.pipelined():
        components = [Component({"name": n}, [(Components, [(n, n)])]) for n in names]
    print("declared", flush=True)
    green.run(*components)


main()
