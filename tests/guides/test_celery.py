"""docs/howto/celery.md: a task calls a service, and a handler starts a task."""

from __future__ import annotations

from pathlib import Path

import pytest

from postage import Exchange, GenericProducer
from tests.support.guide import SOON, require, save_files
from tests.support.programs import Program

require("celery", "msgspec")

pytestmark = pytest.mark.slow
POOLS = ("prefork", "threads", "gevent", "solo")


class Web(Exchange):
    name = "web-exchange"


class Visitor(GenericProducer):
    eks = ((Web, "web-signups"),)


@pytest.mark.parametrize("pool", POOLS)
def test_the_handler_starts_the_task(
    broker_env, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pool: str
) -> None:
    save_files("flask", tmp_path)
    save_files("celery", tmp_path)
    monkeypatch.setenv("CELERY_BROKER_URL", broker_env.url)
    worker = ("celery", "-A", "tasks", "worker", "--pool", pool, "--concurrency", "2")

    with (
        Program("-m", *worker, "--loglevel", "INFO", cwd=tmp_path) as tasks,
        Program("-m", "postage", "run", "greeter", "signups", cwd=tmp_path) as services,
    ):
        tasks.wait_for_line("ready.", SOON)
        services.wait_for_line("Running 2 components", SOON)
        visitor = Visitor({"name": "visitor"})
        for name in ("ann", "bob"):
            visitor.send("sign_up", name=name)
        for name in ("ann", "bob"):
            tasks.wait_for_line(f"hello {name}", SOON)
        assert services.terminate(SOON).code == 0
        tasks.terminate(SOON)
