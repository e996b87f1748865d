"""A processor that answers at once, or holds calls until it is told to answer them all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchmarks.growing import report, told
from benchmarks.growing.parts import Growing
from postage import green, messaging


class Holder(messaging.MessageProcessor):
    """Knows the calls ``hold``, ``held``, ``release`` and ``echo``."""

    def __init__(self, name: str) -> None:
        self._held: list[Callable[[object], None]] = []
        self._awaited: tuple[int, Callable[[object], None]] | None = None
        super().__init__(eqk=[(Growing, [(name, name)])])

    @messaging.RpcHandler("command", "echo")
    def echo(self, content: dict[str, Any], reply_func: Callable[[object], None]) -> None:
        """Answer."""
        reply_func(content["parameters"])

    @messaging.RpcHandler("command", "hold")
    def hold(self, content: dict[str, Any], reply_func: Any) -> None:  # noqa: ARG002
        """Answer at the next ``release``."""
        self._held.append(reply_func.later())
        self._tell()

    @messaging.RpcHandler("command", "held")
    def held(self, content: dict[str, Any], reply_func: Any) -> None:
        """Answer when that many calls are held."""
        self._awaited = content["parameters"], reply_func.later()
        self._tell()

    def _tell(self) -> None:
        if self._awaited is not None and len(self._held) == self._awaited[0]:
            (_, reply), self._awaited = self._awaited, None
            reply(True)  # noqa: FBT003 - any value

    @messaging.RpcHandler("command", "release")
    def release(self, content: dict[str, Any], reply_func: Callable[[object], None]) -> None:  # noqa: ARG002
        """Answer all held calls."""
        held, self._held = self._held, []
        for reply in held:
            reply(True)  # noqa: FBT003 - any value
        reply_func(True)  # noqa: FBT003 - any value


def main() -> None:
    """Run."""
    server = Holder(told().name)
    report({})
    green.run(server)


main()
