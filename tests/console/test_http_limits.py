"""What the console takes from one client: long requests, half requests, many connections."""

from __future__ import annotations

import contextlib
import re
import socket
import time
from collections.abc import Iterator

import pytest

from postage.cli.console import web_connections
from postage.testing.polling import wait_until
from tests.console.raw_http import SOON, TOKEN, Target, console

MEGABYTE = 1 << 20


@pytest.fixture(scope="module")
def target() -> Iterator[Target]:
    """A console with `--write`, and a session."""
    with console("--write") as running:
        assert running.log_in().status == 200
        yield running


def statuses(answer: bytes) -> list[int]:
    """Return the status of each answer in *answer*."""
    return [int(each) for each in re.findall(rb"HTTP/1\.[01] (\d+) ", answer)]


def is_ended(sock: socket.socket) -> bool:
    """Tell whether the server has closed *sock*; what it sends is dropped."""
    try:
        while sock.recv(1 << 16, socket.MSG_DONTWAIT):
            pass
    except BlockingIOError:
        return False
    except ConnectionError:
        return True
    return True


# --- too much

CLOSE = b"Connection: close\r\n\r\n"
TOO_MUCH = {
    "line": b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n",
    "line without end": b"GET /" + b"a" * MEGABYTE,
    "header": b"GET / HTTP/1.1\r\nX: " + b"a" * 200_000 + b"\r\n\r\n",
    "header without end": b"GET / HTTP/1.1\r\nX: " + b"a" * MEGABYTE,
    "headers": b"GET / HTTP/1.1\r\n" + b"X: a\r\n" * 5000 + b"\r\n",
    "long headers": b"GET / HTTP/1.1\r\n" + (b"X: " + b"a" * 8000 + b"\r\n") * 90 + CLOSE,
    "no HTTP": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 500 + b"\r\n\r\n",
    "random": bytes(range(256)) * 20 + b"\r\n\r\n",
    "AMQP": b"AMQP\x00\x00\x09\x01\r\n\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP/0.9": b"GET /api/state\r\n\r\n",
    "no colon": b"GET / HTTP/1.0\r\nHost 127.0.0.1\r\n" + CLOSE,
    "folded": b"GET /api/state HTTP/1.1\r\nX: a\r\n Host: 127.0.0.1\r\n" + CLOSE,
}


@pytest.mark.parametrize("kind", TOO_MUCH)
def test_a_request_of_no_right_form_is_refused(target: Target, kind: str):
    answer = target.send(TOO_MUCH[kind])

    assert all(each >= 400 for each in statuses(answer)), answer[:200]
    assert b"components" not in answer
    assert target.ask("GET", "/api/state").status == 200


def test_a_large_body_is_refused_unread(target: Target):
    """The answer arrives although the body has not been sent."""
    head = target.request("POST", "/api/call", content_length=str(2 * MEGABYTE), connection=None)

    answer = target.send(head)

    assert statuses(answer) == [413]


@pytest.mark.parametrize("length", ["-1", "x", "1 1", "9" * 5000, "0x10", "\xb2"])
def test_a_length_that_is_none_is_refused(target: Target, length: str):
    answer = target.send(target.request("POST", "/api/call", b"{}", content_length=length))

    assert all(each >= 400 for each in statuses(answer))


def test_a_large_body_in_chunks_is_refused(target: Target):
    head = target.request("POST", "/api/call", content_length=None, transfer_encoding="chunked")
    chunk = b"10000\r\n" + b" " * 65536 + b"\r\n"
    before = target.memory()

    answer = target.send(head + chunk * 500)

    assert all(each >= 400 for each in statuses(answer))
    assert target.memory() - before < 16 * MEGABYTE


SMUGGLED = b"POST /api/session HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\n\r\n"


@pytest.mark.parametrize(
    "headers",
    [
        {"content-length": str(len(SMUGGLED))},
        {"content-length": str(len(SMUGGLED)), "x-postage": None},
        {"content-length": str(len(SMUGGLED)), "origin": "http://evil.example"},
        {"content-length": "3", "transfer-encoding": "chunked"},
        {"content-length": "3", "transfer-encoding": "gzip, chunked"},
    ],
    ids=range(5),
)
def test_a_body_is_never_taken_for_a_request(target: Target, headers: dict[str, str | None]):
    request = target.request("POST", "/api/session", SMUGGLED, **headers, connection=None)

    answer = target.send(request + b"\r\n\r\n")

    assert all(each >= 400 for each in statuses(answer))
    assert b"400 Bad Request" in answer or len(statuses(answer)) <= 1


# --- too slow

SLOW = {
    "nothing": b"",
    "half a line": b"GET /api/st",
    "half a header": b"GET /api/state HTTP/1.1\r\nHost: 127.0.0.1\r\nX: ",
    "half a body": b"POST /api/session HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Postage: 1\r\n"
    b"Content-Type: application/json\r\nContent-Length: 1000000\r\n\r\n{",
    "half a chunk": b"POST /api/session HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Postage: 1\r\n"
    b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nff\r\n{",
}


@pytest.mark.slow
def test_requests_end_although_they_come_byte_by_byte(target: Target):
    """All at the same time, as each takes as long as its limit."""
    with contextlib.ExitStack() as stack:
        slow = {kind: stack.enter_context(target.connect()) for kind in SLOW}
        for kind, begun in SLOW.items():
            slow[kind].sendall(begun)

        def are_over() -> bool:
            for kind, sock in [*slow.items()]:
                with contextlib.suppress(ConnectionError):
                    sock.sendall(b"X")
                if is_ended(sock):
                    del slow[kind]
            return not slow

        with contextlib.suppress(AssertionError):
            wait_until(are_over, web_connections.REQUEST_LIMIT + SOON)
        assert [*slow] == [], "these are open"


@pytest.mark.parametrize("kind", SLOW)
def test_half_requests_do_not_stop_the_others(target: Target, kind: str):
    before = target.descriptors()
    with contextlib.ExitStack() as stack:
        for _ in range(300):
            idle = stack.enter_context(target.connect())
            idle.sendall(SLOW[kind])

        began = time.monotonic()
        assert target.ask("GET", "/api/state").status == 200
        assert time.monotonic() - began < SOON

    wait_until(lambda: target.descriptors() <= before, SOON)


@pytest.mark.slow  # a broken stream is found with the next event
def test_connections_that_break_leave_nothing(target: Target):
    before = target.descriptors()
    for _ in range(300):
        with target.connect() as sock:
            sock.sendall(target.request("GET", "/api/events"))
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

    wait_until(lambda: target.descriptors() <= before, SOON)
    with target.connect() as sock:
        sock.sendall(target.request("GET", "/api/events"))
        assert sock.recv(1000).startswith(b"HTTP/1.1 200 ")


def test_many_guesses_of_the_token_open_nothing(target: Target):
    for number in range(200):
        assert target.post("/api/session", {"token": f"{TOKEN}{number}"}).status == 403
    assert target.ask("GET", "/api/state").status == 200
