"""Browsers that watch: many, slow ones, and some that never read."""

from __future__ import annotations

import contextlib
import json
import re
import socket
from collections.abc import Iterator

import pytest

from postage.cli.console import web_connections
from postage.cli.console.browser_events import MOST_STREAMS
from postage.testing.polling import wait_until
from tests.console.raw_http import SOON, Target, console
from tests.support.programs import Program

MEGABYTE = 1 << 20
PROGRAM = "tests/console/programs/loud_console.py"


@pytest.fixture
def quiet() -> Iterator[Target]:
    """A console that has nothing to tell."""
    with console() as target:
        yield target


@pytest.fixture
def loud() -> Iterator[Target]:
    """A console with half a megabyte of changes, twenty times a second."""
    with Program(PROGRAM) as program:
        line = program.wait_for_line("http://", SOON)
        yield Target(program, int(line.strip("/\n").rpartition(":")[2]))
        assert program.running
        assert "Traceback" not in program.stderr


def watching(target: Target, stack: contextlib.ExitStack, **options: int) -> socket.socket:
    """Return a connection that has asked for events."""
    sock = stack.enter_context(target.connect(**options))
    sock.sendall(target.request("GET", "/api/events"))
    return sock


def is_served(sock: socket.socket) -> bool:
    """Wait for the status of the answer; tell whether it is that of events."""
    status = sock.recv(13)
    assert re.match(rb"HTTP/1.1 (200|503) ", status), status
    return status.startswith(b"HTTP/1.1 200")


def test_events_begin_with_the_whole_state(quiet: Target):
    with contextlib.ExitStack() as stack:
        file = watching(quiet, stack).makefile("rb")
        lines = iter(file.readline, b"")
        assert next(line for line in lines if line.startswith(b"event:")) == b"event: state\n"
        state = json.loads(next(lines).removeprefix(b"data: "))
        file.close()

    assert state.keys() >= {"about", "components", "edges", "queues", "history"}
    assert quiet.ask("GET", "/api/state").json.keys() == state.keys()


def test_of_200_browsers_64_watch_and_all_others_are_told(quiet: Target):
    with contextlib.ExitStack() as stack:
        browsers = [watching(quiet, stack) for _ in range(200)]
        served = [each for each in browsers if is_served(each)]

        assert len(served) == MOST_STREAMS
        assert quiet.ask("GET", "/api/state").status == 200
        refused = quiet.ask("GET", "/api/events")
        assert refused.status == 503
        assert "close a page" in refused.json["error"]

    wait_until(lambda: can_watch(quiet), SOON)


def can_watch(target: Target) -> bool:
    with contextlib.ExitStack() as stack:
        return is_served(watching(target, stack))


def test_asking_for_the_head_of_events_takes_no_place(quiet: Target):
    for _ in range(2 * MOST_STREAMS):
        assert quiet.ask("HEAD", "/api/events").status in {200, 503}

    wait_until(lambda: can_watch(quiet), SOON)


@pytest.mark.slow
@pytest.mark.limit(150)
def test_browsers_that_do_not_read_cost_no_memory(loud: Target):
    """One reads all, one a little, the others nothing; these are cut off."""
    with contextlib.ExitStack() as stack:
        reader = watching(loud, stack)
        assert is_served(reader)
        before, places = loud.memory(), loud.descriptors()
        slow = watching(loud, stack, receive_buffer=4096)
        for _ in range(MOST_STREAMS - 2):
            watching(loud, stack, receive_buffer=4096)
        wait_until(lambda: loud.descriptors() == places + MOST_STREAMS - 1, SOON)
        got = most = 0

        def are_cut_off() -> bool:
            nonlocal got, most
            got += len(reader.recv(MEGABYTE))
            with contextlib.suppress(OSError):
                slow.recv(100, socket.MSG_DONTWAIT)
            most = max(most, loud.memory())
            return loud.descriptors() <= places

        wait_until(are_cut_off, web_connections.SEND_LIMIT + 2 * SOON)
        assert got > 20 * MEGABYTE
        assert most - before < 100 * MEGABYTE, f"{(most - before) / MEGABYTE:.0f} MB"
        assert loud.ask("GET", "/api/state").status == 200


@pytest.mark.slow
def test_answers_that_nobody_reads_cost_no_memory(loud: Target):
    assert loud.ask("GET", "/api/state").status == 200
    before, places, most = loud.memory(), loud.descriptors(), 0
    with contextlib.ExitStack() as stack:
        for _ in range(200):
            sock = stack.enter_context(loud.connect(receive_buffer=4096))
            sock.sendall(loud.request("GET", "/api/state"))
            most = max(most, loud.memory())

        assert loud.ask("GET", "/api/state").status == 200

        def are_cut_off() -> bool:
            nonlocal most
            most = max(most, loud.memory())
            return loud.descriptors() <= places

        wait_until(are_cut_off, web_connections.SEND_LIMIT + SOON)
    assert most - before < 100 * MEGABYTE, f"{(most - before) / MEGABYTE:.0f} MB"
