"""Run the RPC echo demo with a broker of its own: ``python -m tools.demo [embedded|rabbitmq]``.

Starts the broker (by default the embedded one) and the receiver, runs the sender, prints the output
of both, and leaves no process behind.  The exit code is 0 if the sender got its answer.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import select
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from postage.testing.installations import RabbitMQMissing
from postage.testing.processes import end, orphan_proof
from postage.testing.rabbitmq import RabbitMQFailed, RabbitMQNode

ROOT = Path(__file__).resolve().parent.parent
RECEIVER, SENDER = "demos/rpc_echo/echo_receive.py", "demos/rpc_echo/echo_send.py"
READY, EXPECTED = "waiting for messages", "RPC message received"
#: Seconds for the broker and the receiver to start, and for the sender to end.
TIMEOUT = 30.0


def say(text: str) -> None:
    """Print a line at once, so that it precedes the output of child processes."""
    print(text, flush=True)


@contextlib.contextmanager
def started(*arguments: str, port: int | None = None) -> Iterator[subprocess.Popen[str]]:
    """Run a Python program while the block lasts; its output is for `line_of`."""
    process = subprocess.Popen(
        orphan_proof([sys.executable, *arguments]),
        cwd=ROOT,
        env=environment(port),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        end(process)
        assert process.stdout is not None
        process.stdout.close()


def environment(port: int | None) -> dict[str, str]:
    """Return an environment in which a demo finds the broker on *port* of this machine."""
    foreign = ("POSTAGE_",)
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(foreign)}
    broker = {"POSTAGE_HOST": "127.0.0.1", "POSTAGE_PORT": str(port)} if port else {}
    return inherited | broker | {"PYTHONUNBUFFERED": "1"}


def line_of(process: subprocess.Popen[str]) -> str:
    """Return the next line that *process* writes; end the demo if there is none."""
    assert process.stdout is not None
    readable, _, _ = select.select([process.stdout], [], [], TIMEOUT)
    line = process.stdout.readline() if readable else ""
    if not line:
        sys.exit(f"The demo failed: {process.args!r} printed nothing; the reason is above.")
    return line.rstrip()


@contextlib.contextmanager
def embedded() -> Iterator[int]:
    """Run the broker of Postage while the block lasts; the value is its port."""
    say("$ postage broker --port 0 --json &")
    with started("-m", "postage", "broker", "--port", "0", "--json") as process:
        line = line_of(process)
        say(line)
        yield json.loads(line)["port"]


@contextlib.contextmanager
def rabbitmq() -> Iterator[int]:
    """Run a RabbitMQ node while the block lasts; the value is its port."""
    say("Starting a RabbitMQ node ...")
    with RabbitMQNode() as node:
        yield node.port


@contextlib.contextmanager
def receiver(port: int) -> Iterator[None]:
    """Run the receiver while the block lasts; enter the block when it consumes."""
    say(f"$ python {RECEIVER} &")
    with started(RECEIVER, port=port) as process:
        while READY not in (line := line_of(process)):
            say(line)
        say(line)
        yield


def send(port: int) -> str:
    """Run the sender to its end; print and return its output."""
    say(f"$ python {SENDER}")
    command, env = orphan_proof([sys.executable, SENDER]), environment(port)
    printed = subprocess.check_output(command, cwd=ROOT, env=env, timeout=TIMEOUT, text=True)
    say(printed.rstrip())
    return printed


BROKERS = {"embedded": embedded, "rabbitmq": rabbitmq}


def main() -> None:
    """Run the demo; end with code 1 and a reason if it fails."""
    parser = argparse.ArgumentParser(prog="python -m tools.demo")
    parser.add_argument("broker", choices=BROKERS, nargs="?", default="embedded")
    try:
        with BROKERS[parser.parse_args().broker]() as port, receiver(port):
            answered = EXPECTED in send(port)
    except (RabbitMQMissing, RabbitMQFailed, subprocess.SubprocessError) as problem:
        sys.exit(f"The demo failed: {problem}")
    if not answered:
        sys.exit(f"The demo failed: the sender did not print {EXPECTED!r}.")
    say("The demo works.")


if __name__ == "__main__":
    main()
