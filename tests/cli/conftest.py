"""The shipped fixtures lead to the broker of the suite, as the commands of these tests do."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def postage_url(broker_env: Any) -> str:
    """The URL of the module's virtual host, which is also in the environment."""
    return str(broker_env.url)


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Write a file into the working directory, a new folder; no variable of Postage is set."""
    for name in [name for name in os.environ if name.startswith("POSTAGE_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)

    def write_file(text: str, name: str = "postage.toml") -> Path:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return path

    return write_file
