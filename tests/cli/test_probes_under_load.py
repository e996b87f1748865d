"""The probes of a process, asked by programs that want to stop them."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from postage.cli.running import probes
from postage.testing.polling import wait_until
from tests.cli.support import SOON, in_process, postage, running
from tests.support.programs import Program

ALIVE = b'{"live": true}\n'


@pytest.fixture(scope="module")
def process() -> Iterator[tuple[Program, int]]:
    """A process that waits for its broker, and the port of its probes."""
    options = ("--health", "0", "--url", "amqp://127.0.0.1:1/")
    with running("run", "fleet:Echo", *options) as program:
        line = program.wait_for_line("/livez", SOON)
        yield program, int(line.split("/livez")[0].rpartition(":")[2])


def ask(port: int, request: bytes) -> bytes:
    """Return all that the server answers until it closes the connection."""
    answer = b""
    connected = socket.create_connection(("127.0.0.1", port), SOON)
    with connected as connection, contextlib.suppress(ConnectionError):
        connection.sendall(request)
        while received := connection.recv(1 << 16):
            answer += received
    return answer


def descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


ODD = {
    b"GET /livez HTTP/1.1\r\nHost: h\r\n\r\n": 200,
    b"GET /livez?x=1 HTTP/1.0\r\n\r\n": 200,
    b"GET /livez HTTP/1.1\r\nContent-Length: -1\r\n\r\n": 200,
    b"GET /readyz HTTP/1.0\r\n\r\n": 503,
    b"GET /../livez HTTP/1.0\r\n\r\n": 404,
    b"GET http://evil/livez HTTP/1.0\r\n\r\n": 404,
    b"POST /livez HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n": 405,
    b"\x16\x03\x01\x00\r\n\r\n": 400,
    b"GET /livez\r\n\r\n": 400,
    b"\r\n\r\n": 400,
    b"GET /" + b"a" * 9000 + b" HTTP/1.0\r\n\r\n": 431,
    b"GET /livez HTTP/1.0\r\n" + b"X: a\r\n" * 5000 + b"\r\n": 431,
}


@pytest.mark.parametrize(("request_", "status"), ODD.items(), ids=range(len(ODD)))
def test_each_request_gets_one_answer_and_the_end(process, request_: bytes, status: int):
    program, port = process

    answer = ask(port, request_)

    assert answer.startswith(f"HTTP/1.1 {status} ".encode())
    assert answer.count(b"HTTP/1.1") == 1
    assert "Traceback" not in program.stderr


def test_head_has_no_body(process):
    assert ask(process[1], b"HEAD /livez HTTP/1.0\r\n\r\n").endswith(b"\r\n\r\n")


@pytest.mark.parametrize("sent", [b"", b"GET /livez HTTP/1.1\r\nX: ", b"\r"], ids=len)
def test_connections_that_send_nothing_do_not_stop_the_probes(process, sent: bytes):
    program, port = process
    before = descriptors(program.pid)
    with contextlib.ExitStack() as stack:
        for _ in range(300):
            idle = stack.enter_context(socket.create_connection(("127.0.0.1", port), 5))
            idle.sendall(sent)

        assert ask(port, b"GET /livez HTTP/1.0\r\n\r\n").endswith(ALIVE)
        assert postage("health", str(port), "--live").code == 0
        most = before + probes.MOST_CONNECTIONS
        wait_until(lambda: descriptors(program.pid) <= most, SOON)

    wait_until(lambda: descriptors(program.pid) <= before, SOON)
    assert "Traceback" not in program.stderr


@pytest.mark.slow
def test_a_connection_ends_although_it_sends_a_byte_at_a_time(process):
    _, port = process
    with socket.create_connection(("127.0.0.1", port), 0.2) as slow:

        def is_ended() -> bool:
            try:
                slow.sendall(b"X")
                return slow.recv(1) == b""
            except TimeoutError:
                return False
            except OSError:
                return True

        wait_until(is_ended, probes.TIME_LIMIT + SOON)


# --- `postage health`, which asks a hostile server


def endless(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n[")
    while True:
        connection.sendall(b"1," * 50_000)


def drip(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nX: ")
    while not threading.Event().wait(0.05):
        connection.sendall(b"x")


def saying(text: bytes) -> Callable[[socket.socket], None]:
    return lambda connection: connection.sendall(text)


@contextlib.contextmanager
def server(serve: Callable[[socket.socket], None]) -> Iterator[int]:
    """Call *serve* in a thread with the first connection; give the port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            with contextlib.suppress(OSError), listener.accept()[0] as connection:
                connection.recv(1000)
                serve(connection)

        thread = threading.Thread(target=accept)
        thread.start()
        yield listener.getsockname()[1]
        thread.join(SOON)
        assert not thread.is_alive()


HOSTILE = {
    "endless": (endless, "has more than"),
    "drip": (drip, "timed out"),
    "no-http": (saying(b"220 ftp\r\n\r\n{}"), "no answer of HTTP"),
    "empty": (saying(b""), "answers /livez"),
    "no-json": (saying(b"HTTP/1.1 200 OK\r\n\r\n\x1b[31m"), "answers /livez"),
    "no-status": (saying(b"HTTP/1.1 \x1b[31m OK\r\n\r\n{}"), "answers /livez"),
    "deep": (saying(b"HTTP/1.1 200 OK\r\n\r\n" + b"[" * 100_000), "answers /livez"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_health_is_not_held_by_a_hostile_server(capsys, kind: str):
    serve, text = HOSTILE[kind]
    with server(serve) as port:
        ended = in_process(capsys, "health", str(port), "--timeout", "0.5")

    assert ended.code == 3
    assert text in ended.stderr
    assert re.fullmatch(r"[ -~]*", ended.stderr.strip())
    assert len(ended.stderr) < 400
