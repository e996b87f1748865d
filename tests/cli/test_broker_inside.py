"""``postage run`` with a broker inside: one for all its processes, at the URL that the log says."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from postage.testing.polling import wait_until
from tests.cli.support import PROGRAMS, SOON, children, postage, running, wait_for_end, with_url
from tests.support.programs import Program

ECHO = ("cli-fleet", "echo")
NAMES = {
    "unnamed": ("embedded://", ""),
    "named": ("embedded://shop", ""),
    "with a vhost": ("embedded://shop/red%2Fblue", "/red%2Fblue"),
    "with options": ("embedded://?heartbeat=9&connect_timeout=2", ""),
}


ECHOING = f"""
import sys

sys.path.insert(0, {str(PROGRAMS)!r})
from fleet import Echo

running = Echo()
"""


def logged_url(program: Program) -> str:
    return program.wait_for_line("Others reach them with --url", SOON).split()[-1]


def called(url: str, *words: str) -> Any:
    ended = postage("call", "--url", url, *ECHO, *words, "--timeout", str(SOON))
    assert (ended.code, ended.stderr) == (0, ""), ended
    return json.loads(ended.stdout)


@pytest.mark.parametrize(("url", "vhost"), NAMES.values(), ids=NAMES)
def test_the_log_says_the_url_of_the_broker_in_use(url: str, vhost: str):
    with running("run", "fleet:Echo", env=with_url(url)) as program:
        logged = logged_url(program)

        assert logged.partition("@")[2].removeprefix("127.0.0.1:").lstrip("0123456789") == vhost
        assert called(logged, "process")["pid"] == program.pid
        assert program.stderr.count("Using the embedded broker") == 1


def test_the_log_says_where_the_broker_of_a_component_is():
    with running("run", "inside", env=with_url("amqp://127.0.0.1:1/")) as program:
        logged = logged_url(program)

        assert called(logged, "process")["pid"] == program.pid
        assert logged.endswith("/aside")


@pytest.mark.parametrize("options", [("--embedded",), ("--url", "embedded://shop/v?heartbeat=9")])
def test_workers_share_the_broker_of_their_parent(options: tuple[str, ...]):
    with running("run", "fleet:Echo", "--workers", "2", *options, env=with_url("")) as program:
        logged = logged_url(program)
        wait_until(lambda: program.stderr.count("Running 1 component") == 2, SOON)
        pids = set(children(program.pid))

        assert {called(logged, "process")["pid"] for _ in range(2)} == pids
        ended = program.terminate(SOON)

    assert ended.code == 0
    assert program_lines(ended.stderr, "Using the embedded broker") == 1
    assert program_lines(ended.stderr, "All components have ended.") == 2
    wait_for_end(list(pids))


def program_lines(text: str, part: str) -> int:
    return sum(part in line for line in text.splitlines())


def test_what_waits_in_a_queue_survives_a_reload(tmp_path: Path):
    module = tmp_path / "changing.py"
    module.write_text(ECHOING)
    env = with_url("embedded://shop")
    with running("run", "changing", "--reload", env=env, cwd=tmp_path) as program:
        logged = logged_url(program)
        program.wait_for_line("Running 1 component: Echo.", SOON)
        module.write_text("a mistake")
        program.wait_for_line("waits for a change", SOON)
        assert (
            postage("send", "--url", logged, *ECHO, "remember", "this=1", "--mandatory").code == 0
        )
        module.write_text(ECHOING)
        wait_until(lambda: called(logged, "heard") == [{"this": 1}], SOON)

        assert program.terminate(SOON).code == 0


def test_no_worker_outlives_the_broker_and_its_parent():
    env = with_url("embedded://")
    with running("run", "fleet:Echo", "--workers", "2", env=env) as program:
        wait_until(lambda: program.stderr.count("Running 1 component") == 2, SOON)
        pids = list(children(program.pid))
        program.popen.send_signal(signal.SIGKILL)
        program.wait()

        wait_for_end(pids)
