"""tools/unpack_*.sh where they have nothing to do, and where they cannot do anything."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.programs import ROOT


def unpack(cache: Path, version: str, what: str = "rabbitmq") -> subprocess.CompletedProcess[str]:
    """Run the script with an empty mirror, and without a network."""
    empty = {"XDG_CACHE_HOME": str(cache), "MIRROR": f"file:{cache}/no-mirror"}
    return subprocess.run(
        [ROOT / "tools" / f"unpack_{what}.sh", version],
        env=os.environ | empty,
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )


@pytest.mark.parametrize("version", ["4", "4.3", "4.3.6"])
def test_what_is_unpacked_is_not_fetched_again(tmp_path: Path, version: str) -> None:
    (tmp_path / "postage" / "rabbitmq-4.3.6").mkdir(parents=True)

    assert unpack(tmp_path, version).returncode == 0


@pytest.mark.skipif(shutil.which("apt-get") is None, reason="the script needs apt")
@pytest.mark.parametrize("version", ["4", "4.30", "4.3.60"])
def test_a_version_that_no_mirror_has_is_an_error(tmp_path: Path, version: str) -> None:
    (tmp_path / "postage" / "rabbitmq-3.10.8").mkdir(parents=True)

    ended = unpack(tmp_path, version)

    assert ended.returncode == 1
    assert f"RabbitMQ {version} cannot be unpacked here: no Debian at file:" in ended.stderr
    assert [each.name for each in (tmp_path / "postage").iterdir()] == ["rabbitmq-3.10.8"]


def test_a_python_that_is_unpacked_is_not_fetched_again(tmp_path: Path) -> None:
    (tmp_path / "postage" / "python-3.14").mkdir(parents=True)

    assert unpack(tmp_path, "3.14", "python").returncode == 0


@pytest.mark.skipif(shutil.which("apt-get") is None, reason="the script needs apt")
def test_a_python_that_no_mirror_has_is_an_error(tmp_path: Path) -> None:
    ended = unpack(tmp_path, "3.14", "python")

    assert ended.returncode == 1
    assert "Python 3.14 cannot be unpacked here: Debian sid at file:" in ended.stderr
    assert not [*(tmp_path / "postage").iterdir()]
