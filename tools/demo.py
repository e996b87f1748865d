"""Run the RPC echo demo against a RabbitMQ node of its own: ``python -m tools.demo``.

Starts the node and the receiver, runs the sender, shows what both wrote, and leaves no process
behind.  Exit code 0 when the sender got its answer.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.support.processes import end, orphan_proof, wait_blocking
from tests.support.rabbitmq_node import RabbitMQFailed, RabbitMQMissing, RabbitMQNode

ROOT = Path(__file__).resolve().parent.parent
RECEIVER, SENDER = "demos/rpc_echo/echo_receive.py", "demos/rpc_echo/echo_send.py"
EXPECTED = "RPC message received"
#: Seconds until the receiver must listen, and until the sender must have ended.
PATIENCE = 30.0


def say(text: str) -> None:
    """Print a line at once, so that it stands before what child processes print."""
    print(text, flush=True)


def environment(node: RabbitMQNode) -> dict[str, str]:
    """Return the environment in which a demo finds *node*."""
    foreign = ("POSTAGE_",)
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(foreign)}
    broker = {"POSTAGE_HOST": node.host, "POSTAGE_PORT": str(node.port), "POSTAGE_VHOST": "/"}
    return inherited | broker | {"PYTHONUNBUFFERED": "1"}


@contextlib.contextmanager
def receiver(node: RabbitMQNode) -> Iterator[None]:
    """Run the receiver while the block lasts; enter the block when it consumes."""
    say(f"$ python {RECEIVER} &")
    command = orphan_proof([sys.executable, RECEIVER])
    process = subprocess.Popen(command, cwd=ROOT, env=environment(node), stdin=subprocess.DEVNULL)
    try:
        wait_blocking(lambda: process.poll() is not None or consumers(node), PATIENCE)
        if not consumers(node):
            sys.exit("The receiver does not consume; see above why.")
        yield
    finally:
        end(process)


def consumers(node: RabbitMQNode) -> bool:
    """Whether anybody consumes from a queue of *node*."""
    return bool(node.ctl("list_consumers", "--no-table-headers").strip())


def send(node: RabbitMQNode) -> str:
    """Run the sender to its end; show and return what it printed."""
    say(f"$ python {SENDER}")
    command, env = orphan_proof([sys.executable, SENDER]), environment(node)
    printed = subprocess.check_output(command, cwd=ROOT, env=env, timeout=PATIENCE, text=True)
    say(printed.rstrip())
    return printed


def main() -> None:
    """Run the demo; exit code 1, with a reason, when it does not do what it should."""
    say("Starting a RabbitMQ node ...")
    try:
        with RabbitMQNode() as node, receiver(node):
            answered = EXPECTED in send(node)
    except (RabbitMQMissing, RabbitMQFailed, subprocess.SubprocessError) as problem:
        sys.exit(f"The demo failed: {problem}")
    if not answered:
        sys.exit(f"The demo failed: the sender did not print {EXPECTED!r}.")
    say("The demo works.")


if __name__ == "__main__":
    main()
