"""The process that the gate counts: one contestant in several roles, one after another.

``python -m benchmarks.counted JOB...``; each job is JSON, and all are of one peer.  Serving goes on
while the later roles run, so that both ends of a call are counted.
"""

from __future__ import annotations

import gc
import importlib
import sys
import threading
from collections.abc import Sequence
from functools import partial

from benchmarks import work
from benchmarks.callers import STYLES, Green, or_end
from benchmarks.contestants import CONTESTANTS
from benchmarks.job import Job

FAST = ("msgspec", "orjson")
INTERVALS = {
    "postage.green.scheduler": ("TURN",),
    "postage.green.runtime": ("CHECK_INTERVAL",),
    "postage.green.amqp.hub_monitor": ("LOOK", "TICK"),
    "postage.green.amqp.intake": ("INTERVAL",),
    "postage.green.amqp.publish_record": ("INTERVAL", "PATIENCE"),
    "postage.green.amqp.rebinding": ("CHECK_INTERVAL",),
    "postage.green.amqp.transport": ("LOOK_INTERVAL",),
}
"""What Postage does by the clock, by module: the seconds between two times."""
SLOWER = 50
"""How much slower valgrind runs a program, while the clocks go on as usual."""


def main(texts: Sequence[str]) -> None:
    """Play the roles."""
    jobs = [Job.from_json(text) for text in texts]
    if jobs[0].peer in CONTESTANTS:
        sys.modules.update(dict.fromkeys(FAST))  # cannot be imported: all use the same JSON
    style = STYLES[jobs[0].style]()
    style.patch()  # before the peer imports what it uses
    peer = importlib.import_module(f"benchmarks.peers.{jobs[0].peer}")
    sys.setswitchinterval(sys.getswitchinterval() * SLOWER)
    if isinstance(style, Green):
        slow_down()
    gc.freeze()  # so that a collection costs by the objects of a role, not by imports
    gc.collect()
    for job in jobs:
        play = partial(getattr(work, job.role), peer, job, style)
        if job.role == "serve":
            threading.Thread(target=or_end, args=(play,), daemon=True).start()
        else:
            play()


def slow_down() -> None:
    """Let what happens by the clock happen as seldom, for an operation, as without valgrind.

    Otherwise the cost of an operation would depend on the time that it takes, and so on what else
    this machine does.
    """
    for name, intervals in INTERVALS.items():
        module = importlib.import_module(name)
        for interval in intervals:
            setattr(module, interval, getattr(module, interval) * SLOWER)


if __name__ == "__main__":
    main(sys.argv[1:])
