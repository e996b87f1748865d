"""docs/howto/flask.md: the application answers under each worker of gunicorn."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.guide import require, save_files, service, serving

require("flask", "gunicorn", "msgspec")

pytestmark = pytest.mark.slow
GUNICORN = ("gunicorn", "--bind", "127.0.0.1:{port}", "app:app")
WORKERS = {
    "gevent": ("--worker-class", "gevent"),
    "gthread": ("--worker-class", "gthread", "--threads", "8"),
    "sync": ("--worker-class", "sync"),
    "gevent-preload": ("--worker-class", "gevent", "--preload"),
    "gthread-preload": ("--worker-class", "gthread", "--threads", "8", "--preload"),
    "two-preload": ("--workers", "2", "--preload"),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_files("flask", tmp_path)
    return tmp_path


@pytest.mark.parametrize("worker", WORKERS)
def test_the_application_calls_the_service(broker_env, folder: Path, worker: str) -> None:
    with service("greeter", folder), serving(folder, *GUNICORN, *WORKERS[worker]) as site:
        for name in ("ann", "bob", "eve"):
            assert site.get(f"/greet/{name}") == (200, {"text": f"hello {name}"})
        ended = site.program.terminate(30)

    assert ended.code == 0, ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_client_made_before_the_fork_works(broker_env, folder: Path) -> None:
    app = folder / "app.py"
    app.write_text(app.read_text() + "\n\ngreeter()\n")

    with service("greeter", folder), serving(folder, *GUNICORN, *WORKERS["two-preload"]) as site:
        assert {site.get("/greet/ann")[0] for _ in range(6)} == {200}


def test_the_application_starts_without_a_broker(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POSTAGE_URL", "amqp://127.0.0.1:1/?connect_timeout=2")

    with serving(folder, *GUNICORN) as site:
        status, answer = site.get("/greet/ann")

    assert status == 503
    assert "no AMQP 0-9-1 broker answered" in answer["error"]
