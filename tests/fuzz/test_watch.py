"""The watch over a target sees exceptions, slow calls and growth, and goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.fuzz import watch as watch_module
from tests.fuzz.watch import Watch


def watched(target: Any, folder: Path, *inputs: bytes) -> Watch:
    watch = Watch(target, folder)
    watch.settle()
    for data in inputs:
        watch(data)
    return watch


def test_a_harmless_target_is_good(tmp_path: Path) -> None:
    watch = watched(len, tmp_path, b"one", b"two")

    text, is_good = watch.report()

    assert is_good, text
    assert text.startswith("2 executions in ")
    assert not list(tmp_path.iterdir())


def test_each_fault_is_kept_once_with_its_input(tmp_path: Path) -> None:
    def fail(data: bytes) -> None:
        if data[0] == 7:
            raise SystemExit
        data[9]

    watch = watched(fail, tmp_path, b"\x07", b"short", b"\x07\x07", b"long enough")

    assert sorted(watch.faults.values()) == [1, 2]
    assert {path.read_bytes() for path in tmp_path.iterdir()} == {b"\x07", b"short"}
    assert not watch.report()[1]


def test_a_slow_call_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch_module, "SLOW", 0.0005)
    watch = watched(lambda data: sum(range(len(data))), tmp_path, b"x", b"x" * 1_000_000)

    (kept,) = tmp_path.iterdir()
    assert kept.name.startswith("slow-")
    assert not watch.report()[1]


def test_growth_is_seen(tmp_path: Path) -> None:
    kept: list[bytes] = []
    watch = watched(lambda data: kept.append(data * (1 << 25)), tmp_path, b"x")

    text, is_good = watch.report()

    assert not is_good, text
