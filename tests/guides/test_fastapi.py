"""docs/howto/fastapi.md: endpoints call a service from native threads."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.guide import SOON, require, save_files, service, serving

require("fastapi", "uvicorn", "msgspec")

pytestmark = pytest.mark.slow


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_files("flask", tmp_path)
    save_files("fastapi", tmp_path)
    return tmp_path


@pytest.mark.parametrize("module", ["plain", "own_threads"])
def test_endpoints_call_the_service(broker_env, folder: Path, module: str) -> None:
    command = ("uvicorn", "--port", "{port}", f"{module}:app")

    with (
        service("greeter", folder),
        serving(folder, *command) as site,
        ThreadPoolExecutor(8) as visitors,
    ):
        paths = [f"/greet/visitor-{n}" for n in range(20)]
        answers = [each.result(SOON) for each in [visitors.submit(site.get, p) for p in paths]]

    assert [(status, answer["text"]) for status, answer in answers] == [
        (200, f"hello visitor-{n}") for n in range(20)
    ]
