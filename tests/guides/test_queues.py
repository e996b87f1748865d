"""docs/howto/queues.md: from blue to green under load, nothing is lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from postage.testing.polling import wait_until
from tests.support.guide import SOON, require, save_files, service
from tests.support.programs import Program, run_program

require("msgspec")

pytestmark = pytest.mark.slow
#: Publishes a number every few milliseconds until it is stopped, and then prints how many.
PUBLISHER = """
import gevent, signal
from blue import Counted, Numbers
from postage import events

stopped = []
gevent.signal_handler(signal.SIGTERM, stopped.append, True)
publisher, number = events(Numbers), 0
while not stopped:
    publisher.publish(Counted(number))
    number += 1
    gevent.sleep(0.002)
print("published", number, flush=True)
"""


def numbers(program: Program) -> list[int]:
    whole = program.stdout.rpartition("\n")[0]  # the last line may be a half one
    return [int(line.split()[1]) for line in whole.splitlines()]


def test_no_event_is_lost_on_the_way_to_green(broker_env, tmp_path: Path) -> None:
    save_files("queues", tmp_path)

    with (
        service("blue", tmp_path) as blue,
        Program("-c", PUBLISHER, cwd=tmp_path) as publisher,
    ):
        wait_until(lambda: len(numbers(blue)) > 20, SOON)
        with service("green_tally", tmp_path) as green:
            wait_until(lambda: len(numbers(green)) > 20, SOON)
            switched = run_program("switch.py", cwd=tmp_path)
            assert switched.code == 0, switched.stderr
            before = len(numbers(green))
            wait_until(lambda: len(numbers(green)) > before + 50, SOON)
            published = int(publisher.terminate(SOON).stdout.split()[1])
            wait_until(
                lambda: set(numbers(blue)) | set(numbers(green)) == set(range(published)), SOON
            )

            assert max(numbers(blue)) < published - 1
