"""docs/howto/django.md: a service with models, and a view that calls it."""

from __future__ import annotations

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from postage.testing.polling import wait_until
from tests.support.guide import SOON, require, save_files, service, serving
from tests.support.programs import Program, run_program

require("django", "gunicorn", "msgspec")

pytestmark = pytest.mark.slow
GUNICORN = ("gunicorn", "--bind", "127.0.0.1:{port}", "wsgi")
ORDERS = 40


def open_files(program: Program, name: str) -> int:
    """Return how often *program* has the file *name* open."""
    folder = Path(f"/proc/{program.pid}/fd")
    return sum(str(link.resolve()).endswith(name) for link in folder.iterdir())


def test_the_view_calls_the_service(
    broker_env, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_files("django", tmp_path)
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "settings")
    made = run_program("-m", "django", "migrate", "--run-syncdb", "--pythonpath=.", cwd=tmp_path)
    assert made.code == 0, made.stderr

    with (
        service("worker:Orders", tmp_path) as orders,
        serving(tmp_path, *GUNICORN, "--worker-class", "gthread", "--threads", "8") as site,
        ThreadPoolExecutor(8) as customers,
    ):
        paths = [f"/orders/customer-{n}" for n in range(ORDERS)]
        answers = [each.result(SOON) for each in [customers.submit(site.get, p) for p in paths]]
        # The last reply may be here before the hook of its handler has ended.
        wait_until(lambda: not open_files(orders, "shop.sqlite3"), SOON)

    assert [status for status, _ in answers] == [200] * ORDERS
    assert sorted(answer["order"] for _, answer in answers) == list(range(1, ORDERS + 1))
    with sqlite3.connect(tmp_path / "shop.sqlite3") as database:
        assert database.execute("SELECT count(*) FROM shop_order").fetchone() == (ORDERS,)
    database.close()
