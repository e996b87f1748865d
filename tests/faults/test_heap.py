"""The memory in use follows what the process holds, however fragmented the heap is."""

from __future__ import annotations

import gc
from sys import getallocatedblocks as blocks

import pytest

from tests.support.measures import malloced, memory


@pytest.mark.parametrize("size", [1_000, 10_000, 1_000_000])
def test_malloced_memory_is_what_is_held(size: int) -> None:
    before = malloced()
    held = [bytes(size) for _ in range(20_000_000 // size)]
    # Slightly less if something else was freed meanwhile.
    assert 19_900_000 <= malloced() - before < 22_000_000
    del held
    assert abs(malloced() - before) < 1_000_000


def test_holes_are_resident_but_not_in_use() -> None:
    held = [bytes(1_000) for _ in range(40_000)]
    resident, used = memory(), malloced()
    del held[::2]
    assert memory() - resident > -2_000_000
    assert malloced() - used < -19_000_000


def test_blocks_are_counted_one_by_one() -> None:
    gc.collect()
    before = blocks()
    held = [object() for _ in range(10_000)]
    assert abs(blocks() - before - 10_000) < 100  # others come and go meanwhile
    del held
    assert blocks() - before < 100
