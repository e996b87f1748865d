"""``postage run`` with a configuration file, as processes with a broker inside."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from postage.testing.polling import wait_until
from tests.cli.support import PROGRAMS, SOON, children, postage, running, wait_for_end
from tests.support.programs import Program, run_program

Write = Callable[..., Path]
SECRET = "not-the-password"
RUN = """
[run]
targets = ["fleet:Echo"]
url = "embedded://"
concurrency = "${AT_A_TIME}"
shutdown-timeout = 1.5
"""


@pytest.fixture
def folder(tmp_path: Path, write: Write, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with a module to run."""
    shutil.copy(PROGRAMS / "fleet.py", tmp_path)
    monkeypatch.setenv("AT_A_TIME", "7")
    return tmp_path


def logged_url(program: Program) -> str:
    return program.wait_for_line("Others reach them with --url", SOON).split()[-1]


def process_at(url: str) -> Any:
    ended = postage("call", "--url", url, "cli-fleet", "echo", "process", "--timeout", str(SOON))
    assert (ended.code, ended.stderr) == (0, ""), ended
    return json.loads(ended.stdout)


def test_a_process_runs_as_its_file_says(folder: Path, write: Write):
    write(RUN)

    with running("run", cwd=folder) as program:
        found = process_at(logged_url(program))
        ended = program.terminate(SOON)

    assert found == {"pid": program.pid, "at_a_time": 7, "patience": 1.5}
    assert ended.code == 0


def test_workers_have_the_file_of_their_parent(folder: Path, write: Write):
    """Also when one of them is started after the file has changed."""
    write(f"{RUN}workers = 2\n[settings]\npassword = '{SECRET}'\n", "etc/shop.toml")

    with running("run", "--config", "etc/shop.toml", cwd=folder) as program:
        url = logged_url(program)
        wait_until(lambda: program.stderr.count("Running 1 component") == 2, SOON)
        write("[run]\nworkers = ", "etc/shop.toml")
        victim, *_ = before = set(children(program.pid))
        os.kill(victim, signal.SIGKILL)
        wait_until(lambda: program.stderr.count("Running 1 component") == 3, SOON)
        after = set(children(program.pid))
        found = [process_at(url) for _ in range(2)]
        commands = [Path(f"/proc/{pid}/cmdline").read_text() for pid in (program.pid, *after)]
        ended = program.terminate(SOON)

    assert {each["pid"] for each in found} == after != before
    assert {(each["at_a_time"], each["patience"]) for each in found} == {(7, 1.5)}
    assert all("etc/shop.toml" in each and SECRET not in each for each in commands)
    assert (ended.code, SECRET in ended.stderr) == (0, False)
    wait_for_end([*before, *after])


def test_workers_have_no_file_if_their_parent_has_none(folder: Path, write: Write):
    options = ("--embedded", "--workers", "1", "--concurrency", "3")
    with running("run", "fleet:Echo", *options, cwd=folder) as program:
        url = logged_url(program)
        wait_until(lambda: program.stderr.count("Running 1 component") == 1, SOON)
        write("[run]\nworkers = ")
        [victim] = children(program.pid)
        os.kill(victim, signal.SIGKILL)
        wait_until(lambda: program.stderr.count("Running 1 component") == 2, SOON)

        assert process_at(url)["at_a_time"] == 3


def test_a_program_run_by_a_worker_reads_its_own_file(folder: Path, write: Write):
    """It inherits the variable that was meant for the worker."""
    tables = {"run": {"targets": ["no_such_module"]}}
    variable = json.dumps({"path": "postage.toml", "prefix": "", "tables": tables})
    write("[run]\ntargets = ['no_such_other']\nembedded = true")
    env = os.environ | {"POSTAGE_WORKER_CONFIG": variable}

    ended = run_program("-m", "postage", "run", env=env, cwd=folder)

    assert (ended.code, "'no_such_other'" in ended.stderr) == (2, True)


@pytest.mark.parametrize("options", [(), ("--workers", "1")])
def test_a_broker_inside_needs_no_variable_of_the_file(folder: Path, write: Write, options):
    write(RUN.replace("embedded://", "amqp://shop:${NO_SUCH_PASSWORD}@rabbit/shop"))

    with running("run", "--embedded", *options, cwd=folder) as program:
        program.wait_for_line("Running 1 component", SOON)
        assert process_at(logged_url(program))["at_a_time"] == 7


def test_an_error_of_the_broker_names_the_file(folder: Path, write: Write, broker_env):
    text = f"amqp://guest:${{P}}@{broker_env.host}:{broker_env.port}/{broker_env.vhost}"
    write(f"[run]\ntargets = ['fleet:Echo']\nurl = '{text}'\nwait = false")
    env = {key: text for key, text in os.environ.items() if not key.startswith("POSTAGE_")}

    ended = run_program("-m", "postage", "run", env=env | {"P": SECRET}, cwd=folder)

    assert ended.code == 3
    assert "AuthenticationFailed: " in ended.stderr
    assert "postage.toml: run.url" in ended.stderr.splitlines()[-1]
    assert SECRET not in ended.stderr
