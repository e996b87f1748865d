"""docs/howto/from_celery.md: the program before and the one after print the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.guide import SOON, require, save_files, service
from tests.support.programs import Program, run_program

require("celery", "msgspec")

pytestmark = pytest.mark.slow
PRINTED = "15\n[2, 4, 6]\n"


def test_the_program_before_runs(
    broker_env, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_files("from_celery", tmp_path)
    monkeypatch.setenv("CELERY_BROKER_URL", broker_env.url)
    worker = ("celery", "-A", "tasks", "worker", "--pool", "threads", "--concurrency", "4")

    with Program("-m", *worker, "--loglevel", "INFO", cwd=tmp_path) as program:
        program.wait_for_line("ready.", SOON)
        bought = run_program("buy_tasks.py", cwd=tmp_path)
        program.wait_for_line("ordered: nut", SOON)

    assert bought.stdout == PRINTED, bought.stderr


def test_the_program_after_does_the_same(broker_env, tmp_path: Path) -> None:
    save_files("from_celery", tmp_path)

    with service("warehouse:warehouse", tmp_path) as program:
        bought = run_program("buy.py", cwd=tmp_path)
        program.wait_for_line("ordered: nut", SOON)

    assert bought.stdout == PRINTED, bought.stderr
