"""docs/howto/processes.md: programs, a pool of processes and native threads do the work."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from hashlib import pbkdf2_hmac
from pathlib import Path

import pytest

from postage import client, later, options
from tests.support.guide import SOON, require, save_files, service

require("msgspec")

pytestmark = pytest.mark.slow


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    save_files("processes", tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in ("workshop", "numbers_of"):
        sys.modules.pop(name, None)


def test_others_are_served_while_it_works(broker_env, folder: Path) -> None:
    with service("workshop", folder) as program:
        import workshop

        shop = client(workshop.Workshop)
        with options(shop, timeout=SOON):
            assert shop.primes(100) == 25
            assert shop.lines("a\nb\n") == 2
            assert shop.digest("x", 2) == pbkdf2_hmac("sha256", b"x", b"salt", 2).hex()
            work = [later(shop.primes)(20_000_000), later(shop.digest)("x", 6_000_000)]
            assert shop.ping() == "pong"
            assert not any(each.ready() for each in work)
            assert work[0].get() == 1_270_607
            assert len(work[1].get()) == 64
        ended = program.terminate(SOON)

    assert ended.code == 0, ended.stderr
    assert "No other greenlet" not in ended.stderr
