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
from benchmarks.callers import STYLES, or_end
from benchmarks.job import Job

FAST = ("msgspec", "orjson")
SCHEDULER = "postage.green.scheduler"
RECORD = "postage.green.amqp.publish_record"
MONITOR = "postage.green.amqp.hub_monitor"
SLOWER = 50
"""How much slower valgrind runs a program, while the clocks go on as usual."""


def main(texts: Sequence[str]) -> None:
    """Play the roles."""
    sys.modules.update(dict.fromkeys(FAST))  # cannot be imported, so that all use the same JSON
    jobs = [Job.from_json(text) for text in texts]
    style = STYLES[jobs[0].style]()
    style.patch()  # before the peer imports what it uses
    peer = importlib.import_module(f"benchmarks.peers.{jobs[0].peer}")
    if SCHEDULER in sys.modules:  # ten turns a second are many for valgrind
        sys.modules[SCHEDULER].TURN = 60.0
    if RECORD in sys.modules:  # a barrier each half second would be one for each few calls
        sys.modules[RECORD].INTERVAL *= SLOWER
        sys.modules[RECORD].PATIENCE *= SLOWER
    if MONITOR in sys.modules:  # so are a hundred looks
        sys.modules[MONITOR].LOOK *= SLOWER
    gc.freeze()  # so that a collection costs by the objects of a role, not by imports
    gc.collect()
    for job in jobs:
        play = partial(getattr(work, job.role), peer, job, style)
        if job.role == "serve":
            threading.Thread(target=or_end, args=(play,), daemon=True).start()
        else:
            play()


if __name__ == "__main__":
    main(sys.argv[1:])
