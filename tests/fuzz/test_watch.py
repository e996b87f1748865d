"""The watch over a target sees exceptions, slow calls and growth, and goes on."""

from __future__ import annotations

import mmap
from pathlib import Path
from typing import Any

from tests.fuzz.watch import Watch


def watched(target: Any, folder: Path, *inputs: bytes) -> Watch:
    watch = Watch(target, folder)
    watch.settle()
    for data in inputs:
        watch(data)
    return watch


def test_a_harmless_target_is_good(tmp_path: Path) -> None:
    watch = watched(lambda _: 0.1, tmp_path, b"one", b"two")

    text, is_good = watch.report()

    assert is_good, text
    assert text.startswith("2 executions in ")
    assert not list(tmp_path.iterdir())


def test_each_fault_is_kept_once_with_its_input(tmp_path: Path) -> None:
    def fail(data: bytes) -> float:
        if data[0] == 7:
            raise SystemExit
        return 0.0 * data[9]

    watch = watched(fail, tmp_path, b"\x07", b"short", b"\x07\x07", b"long enough")

    assert sorted(watch.faults.values()) == [1, 2]
    assert {path.read_bytes() for path in tmp_path.iterdir()} == {b"\x07", b"short"}
    assert not watch.report()[1]


def test_a_slow_turn_is_kept_if_it_is_slow_again(tmp_path: Path) -> None:
    seconds = iter((0.2, 0.01, 0.2, 0.3))
    watch = watched(lambda _: next(seconds), tmp_path, b"once", b"twice")

    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"twice"]
    text, is_good = watch.report()
    assert not is_good
    assert "slowest turn 200 ms" in text


def test_growth_is_seen(tmp_path: Path) -> None:
    kept: list[mmap.mmap] = []

    def grow(data: bytes) -> float:
        # A bytes object might take memory that the process has already, from an earlier test.
        kept.append(mmap.mmap(-1, 1 << 25))
        kept[-1].write(data * (1 << 25))
        return 0.0

    watch = watched(grow, tmp_path, b"x")

    text, is_good = watch.report()

    assert not is_good, text
