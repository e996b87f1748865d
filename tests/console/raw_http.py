"""The console as an attacker meets it: `postage web` in a process, and bytes on a socket."""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tests.support.programs import Program

#: Seconds for a process to start or an answer to arrive, on a busy machine.
SOON = 20.0
TOKEN = "the-token-of-these-tests"
NO_BROKER = "amqp://127.0.0.1:1/"


@dataclass(frozen=True)
class Answer:
    """What the server has answered."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The value of the body."""
        return json.loads(self.body)

    @classmethod
    def of(cls, data: bytes) -> Answer:
        """Read *data*, which is all that the server has sent before it closed the connection."""
        head, _, body = data.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        pairs = (line.partition(":") for line in lines)
        headers = {name.lower(): value.strip() for name, _, value in pairs}
        if headers.get("transfer-encoding") == "chunked":
            body = b"".join(_chunks(body))
        return cls(int(first.split()[1]), headers, body)


def _chunks(data: bytes) -> Iterator[bytes]:
    while data:
        size, _, data = data.partition(b"\r\n")
        if not (length := int(size, 16)):
            return
        yield data[:length]
        data = data[length + 2 :]


class Target:
    """A running console."""

    def __init__(self, program: Program, port: int) -> None:
        self.program = program
        self.port = port
        self.cookie = ""
        """The cookie of a session; `log_in` sets it."""

    @property
    def address(self) -> str:
        """The value of the header Host that a browser sends."""
        return f"127.0.0.1:{self.port}"

    def connect(self, *, receive_buffer: int | None = None) -> socket.socket:
        """Return a connection; the caller closes it."""
        sock = socket.socket()
        sock.settimeout(SOON)
        if receive_buffer is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.connect(("127.0.0.1", self.port))
        return sock

    def send(self, request: bytes) -> bytes:
        """Return all that the server sends after *request*, until it closes the connection."""
        answer, end = b"", time.monotonic() + SOON
        with self.connect() as sock, contextlib.suppress(ConnectionError):
            with contextlib.suppress(ConnectionError):
                sock.sendall(request)  # the server may have answered and closed before the end
            while received := sock.recv(1 << 16):
                answer += received
                assert time.monotonic() < end, f"it has not ended: {answer[:1000]!r}"
        return answer

    def ask(self, method: str, path: str, body: bytes = b"", **headers: str | None) -> Answer:
        """Send a request as the page does, except for *headers*; None leaves one out."""
        return Answer.of(self.send(self.request(method, path, body, **headers)))

    def request(self, method: str, path: str, body: bytes = b"", **headers: str | None) -> bytes:
        """Return the bytes of a request."""
        given = {key.replace("_", "-").lower(): value for key, value in headers.items()}
        sent: dict[str, str | None] = {"host": self.address, "connection": "close"}
        if self.cookie:
            sent["cookie"] = self.cookie
        if method == "POST":
            sent |= {"content-type": "application/json", "content-length": str(len(body))}
            sent |= {"origin": f"http://{self.address}", "x-postage": "1"}
        lines = [f"{key}: {value}" for key, value in (sent | given).items() if value is not None]
        head = "\r\n".join([f"{method} {path} HTTP/1.1", *lines, "", ""])
        return head.encode("latin-1") + body

    def post(self, path: str, value: Any, **headers: str | None) -> Answer:
        """Send *value* as JSON."""
        return self.ask("POST", path, json.dumps(value).encode(), **headers)

    def log_in(self, token: str = TOKEN) -> Answer:
        """Begin a session; the cookie goes with all later requests."""
        answer = self.post("/api/session", {"token": token})
        self.cookie = answer.headers.get("set-cookie", "").partition(";")[0]
        return answer

    def memory(self) -> int:
        """Return the bytes of memory of the process."""
        with open(f"/proc/{self.program.pid}/statm") as file:  # noqa: PTH123 - shorter
            return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")

    def descriptors(self) -> int:
        """Return how many files and sockets the process has open."""
        return len(os.listdir(f"/proc/{self.program.pid}/fd"))  # noqa: PTH208 - as above


@contextlib.contextmanager
def console(*options: str, url: str = NO_BROKER) -> Iterator[Target]:
    """Run `postage web` with *options*; at the end, it must have written no traceback."""
    env = dict(os.environ) | {"POSTAGE_WEB_TOKEN": TOKEN}
    arguments = ("-m", "postage", "web", "--port", "0", "--url", url, *options)
    with Program(*arguments, env=env) as program:
        line = program.wait_for_line("http://", SOON)
        found = re.search(r"http://[^/\s]*:(\d+)", line)
        assert found is not None, line
        yield Target(program, int(found[1]))
        assert program.running, program.stderr
        assert "Traceback" not in program.stderr, program.stderr
        assert "\x1b" not in program.stdout + program.stderr
        assert TOKEN not in program.stderr
