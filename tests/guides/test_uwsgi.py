"""docs/howto/uwsgi.md: the application of the page on Flask answers in workers of uWSGI."""

from __future__ import annotations

from pathlib import Path

import pytest

from postage.testing.polling import wait_until
from postage.testing.rabbitmq import free_ports
from tests.support.guide import SOON, Site, require, require_tool, save_files, service
from tests.support.programs import Program

require("flask", "msgspec")
UWSGI = require_tool("uwsgi")

pytestmark = pytest.mark.slow
#: What replaces the line with ``threads`` of the page.
WORKERS = {
    "threads": "threads = 8",
    "one": "enable-threads = true",
    "lazy": "threads = 8\nlazy-apps = true",
    "gevent": "gevent = 100\ngevent-monkey-patch = true",
}


@pytest.mark.parametrize("worker", WORKERS)
def test_the_application_calls_the_service(broker_env, tmp_path: Path, worker: str) -> None:
    save_files("flask", tmp_path)
    save_files("uwsgi", tmp_path)
    (port,) = free_ports(1)
    settings = tmp_path / "app.ini"
    text = settings.read_text().replace("8000", str(port)).replace("threads = 8", WORKERS[worker])
    settings.write_text(text)
    start = f"import os; os.execv({UWSGI!r}, ['uwsgi', 'app.ini'])"

    with (
        service("greeter", tmp_path),
        Program("-c", start, cwd=tmp_path) as program,
    ):
        site = Site(program, port)
        wait_until(site.answers, SOON)
        for name in ("ann", "bob", "eve"):
            assert site.get(f"/greet/{name}") == (200, {"text": f"hello {name}"})
        loaded = 2 if worker == "lazy" else 1  # each worker for itself, or the master for all
        wait_until(lambda: program.stderr.count("WSGI app 0 ") == loaded, SOON)
        ended = program.terminate(SOON)

    assert ended.code == 0, ended.stderr
    assert "Traceback" not in ended.stderr
