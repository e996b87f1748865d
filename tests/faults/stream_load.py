"""``python -m tests.faults.stream_load --parts 1000000``: a long stream, and ended ones.

Shows the memory of both sides at each tenth of the stream; what the client gets, and when, if the
server is killed in the middle; and when the handler ends if the client stops after ten parts.  The
exit code is 1 if memory grows, a part is missing, or an end is late.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.faults.fault_env import add_broker_option, on_embedded, on_rabbitmq
from tests.support.programs import Program

PEER = "tests/faults/programs/stream_peer.py"
LIMIT = 10.0
"""The limit of each step of the client whose server is killed, in seconds."""
PATIENCE = 600.0
GROWTH = 4.0
"""MiB by which a side may grow from the second tenth of a stream to its end."""


def say(*words: object) -> None:
    sys.stdout.write(f"{' '.join(map(str, words))}\n")
    sys.stdout.flush()


@contextmanager
def served() -> Iterator[Program]:
    """Run the server in a process of its own; its queue exists when the block begins."""
    with Program(PEER, "server") as server:
        server.wait_for_line("serving", PATIENCE)
        yield server


def resident(pid: int) -> float:
    """Return the resident memory of a process in MiB."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGESIZE") / 2**20


def long_stream(server: Program, parts: int) -> list[str]:
    """Read a whole stream; return what is wrong."""
    sizes = []
    with Program(PEER, "client", str(parts), "60") as reader:
        for tenth in range(1, 11):
            line = reader.wait_for_line(f"read {max(1, parts // 10) * tenth} ", PATIENCE)
            sizes.append((resident(server.pid), resident(reader.pid)))
            say(line, "server {:.1f} MiB, client {:.1f} MiB".format(*sizes[-1]))
        ended = reader.wait(PATIENCE).stdout.splitlines()[-1]
    count, seconds = ended.removeprefix("ended after ").split()
    say(f"{float(count) / float(seconds):,.0f} parts per second")
    wrong = [] if int(count) == parts else [f"{count} of {parts} parts"]
    for side, name in enumerate(("server", "client")):
        growth = sizes[-1][side] - sizes[1][side]
        if growth > GROWTH:
            wrong.append(f"the {name} grows by {growth:.1f} MiB")
    return wrong


def killed_server(server: Program) -> list[str]:
    """Kill *server* in the middle of a stream; return what is wrong."""
    with Program(PEER, "client", "1000000", str(LIMIT)) as reader:
        reader.wait_for_line("read 100000 ", PATIENCE)
        os.kill(server.pid, signal.SIGKILL)
        killed = time.monotonic()
        line = reader.wait_for_line("ended", PATIENCE)
        seconds = time.monotonic() - killed
        say(f"killed server: {line} ({seconds:.2f} s after the kill)")
    is_told = line.startswith("ended by ConnectionLost")
    return [] if is_told and seconds < LIMIT else [f"a killed server: {line}, {seconds:.2f} s"]


def client_stops() -> list[str]:
    """Let a client stop after ten parts; return what is wrong."""
    with served() as server, Program(PEER, "ten") as client:
        client.wait_for_line("stopped", PATIENCE)
        stopped = time.monotonic()
        line = server.wait_for_line("handler ended", PATIENCE)
        seconds = time.monotonic() - stopped
        say(f"client stops after ten: {line} ({seconds:.2f} s)")
    return [] if seconds < 1 else [f"the handler goes on for {seconds:.2f} s"]


def run_streams(parts: int) -> list[str]:
    """Do all three; return what is wrong."""
    with served() as server:
        wrong = long_stream(server, parts)
        return [*wrong, *killed_server(server), *client_stops()]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.stream_load", description=__doc__)
    parser.add_argument("--parts", type=int, default=1_000_000)
    add_broker_option(parser, "embedded")
    options = parser.parse_args()
    opened = on_rabbitmq if options.broker == "rabbitmq" else on_embedded
    with opened(direct=True):
        wrong = run_streams(options.parts)
    say(*(wrong or ["nothing is wrong"]))
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
