"""A client of a language server: asks what an editor would ask at a place in a program.

``python -m tests.typing.language_server`` prints what pyright answers in a program that uses the
shop of demos/shop.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from postage.testing.processes import kill_group

ROOT = Path(__file__).resolve().parents[2]
SERVER = (str(Path(sys.executable).with_name("basedpyright-langserver")), "--stdio")
PROGRAM = """\
from typing import Protocol

from audit import audit, trail
from orders import Orders
from shop_shared import Reservation, ShopExchange
from stock import Stock

from postage import client, command, later, rpc

class Shelves(Protocol):
    @rpc
    def reserve(self, item: str, count: int = 1) -> Reservation: ...

    @command
    def restock(self, item: str, count: int) -> None: ...

stock, orders, trail_there = client(Stock), client(Orders), audit.client(trail)
shelves = client(Shelves, exchange=ShopExchange, queue="shop-stock")
"""
LINES = ("stock.", "shelves.", "shelves.reserve('bolt').", "later(stock.reserve)('bolt').get().")
CALLS = (
    "stock.reserve(",
    "shelves.restock(",
    "orders.place(",
    "later(stock.reserve)(",
    "trail_there(",
)


class LanguageServer:
    """A language server that reads and writes these streams, with ROOT as its folder."""

    def __init__(self, to: IO[bytes], answers: IO[bytes]) -> None:
        self._to, self._answers = to, answers
        self._number = 0
        folder = {"uri": ROOT.as_uri(), "name": "root"}
        self.ask("initialize", processId=os.getpid(), capabilities={}, workspaceFolders=[folder])
        self._send(method="initialized", params={})

    def completions(self, line: str) -> list[str]:
        """Return what completes *line*, after those of `PROGRAM`; no names that begin with _."""
        found = self._at_the_end_of(line, "textDocument/completion")
        return [each["label"] for each in found["items"] if not each["label"].startswith("_")]

    def signature(self, line: str) -> str:
        """Return the signature of the call that *line* ends in."""
        found = self._at_the_end_of(line, "textDocument/signatureHelp")
        return str(found["signatures"][0]["label"])

    def _at_the_end_of(self, line: str, method: str) -> Any:
        uri = (ROOT / "demos" / "shop" / f"unsaved{self._number}.py").as_uri()
        text = PROGRAM + line
        opened = {"uri": uri, "languageId": "python", "version": 1, "text": text}
        self._send(method="textDocument/didOpen", params={"textDocument": opened})
        place = {"line": text.count("\n"), "character": len(line)}
        return self.ask(method, textDocument={"uri": uri}, position=place)

    def ask(self, method: str, **params: Any) -> Any:
        """Send a request, and return the result in the answer."""
        self._number += 1
        number = self._number
        self._send(id=number, method=method, params=params)
        while True:
            message = self._read()
            if "method" in message and "id" in message:  # the server asks for its configuration
                asked = message["params"].get("items", []) if message.get("params") else []
                self._send(id=message["id"], result=[None] * len(asked))
            elif message.get("id") == number:
                assert "error" not in message, message
                return message["result"]

    def _send(self, **message: Any) -> None:
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        self._to.write(b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
        self._to.flush()

    def _read(self) -> Any:
        length = 0
        while line := self._answers.readline().strip():
            name, _, value = line.partition(b":")
            length = int(value) if name.lower() == b"content-length" else length
        assert length, "the language server has ended"
        return json.loads(self._answers.read(length))


@contextmanager
def pyright() -> Iterator[LanguageServer]:
    """Run pyright as a language server during the block."""
    pipe = subprocess.PIPE
    process = subprocess.Popen(SERVER, stdin=pipe, stdout=pipe, cwd=ROOT, start_new_session=True)
    with process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield LanguageServer(process.stdin, process.stdout)
        finally:
            kill_group(process.pid)  # the script, and the server in node.js


if __name__ == "__main__":
    with pyright() as server:
        for line in LINES:
            print(line, "->", ", ".join(server.completions(line)))
        for line in CALLS:
            print(line, "->", server.signature(line))
