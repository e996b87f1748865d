"""docs/howto/queues.md: from blue to green under load, nothing is lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from postage.testing.polling import wait_until
from tests.support.guide import SOON, require, save_files, service
from tests.support.programs import Program, run_program
from tests.support.raw import raw_to

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
            wait_until(lambda: max(numbers(blue)) > min(numbers(green)), SOON)
            blue.terminate(SOON)
            with raw_to(broker_env.hup, broker_env.vhost) as raw:
                raw.channel.queue_delete("tally-blue")
            before = len(numbers(green))
            wait_until(lambda: len(numbers(green)) > before + 50, SOON)
            published = int(publisher.terminate(SOON).stdout.split()[1])
            wait_until(
                lambda: set(numbers(blue)) | set(numbers(green)) == set(range(published)), SOON
            )

            assert max(numbers(blue)) < published - 1


def test_the_binding_of_a_key_that_no_program_has(broker_env, tmp_path: Path) -> None:
    save_files("queues", tmp_path)
    with service("blue", tmp_path):
        pass

    with raw_to(broker_env.hup, broker_env.vhost) as raw:
        raw.send("queues-numbers", "Counted", b"{}")
        bound = raw.count("tally-blue")
        removed = run_program("unbind.py", cwd=tmp_path)
        assert removed.code == 0, removed.stderr
        raw.send("queues-numbers", "Counted", b"{}")
        assert (bound, raw.count("tally-blue")) == (1, 1)
