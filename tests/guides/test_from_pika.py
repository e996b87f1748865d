"""docs/howto/from_pika.md: the service takes over the queue, and both publishers reach it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.guide import SOON, require, save_files, service
from tests.support.programs import Program, run_program

require("msgspec")

pytestmark = pytest.mark.slow


@pytest.fixture
def folder(broker_env, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    save_files("from_pika", tmp_path)
    monkeypatch.setenv("AMQP_URL", broker_env.url)
    return tmp_path


def run(name: str, folder: Path) -> None:
    ended = run_program(name, cwd=folder)
    assert ended.code == 0, ended.stderr


def test_the_program_before_runs(folder: Path) -> None:
    with Program("worker.py", cwd=folder) as worker:
        run("publish.py", folder)
        worker.wait_for_line("to ann: by pika", SOON)


def test_the_service_takes_over_the_queue(folder: Path) -> None:
    with Program("worker.py", cwd=folder) as worker:
        run("publish.py", folder)
        worker.wait_for_line("to ann: by pika", SOON)

        with service("mails", folder) as after:
            worker.kill()
            run("publish.py", folder)
            after.wait_for_line("to ann: by pika", SOON)
            run("send.py", folder)
            after.wait_for_line("to bob: by Postage", SOON)
