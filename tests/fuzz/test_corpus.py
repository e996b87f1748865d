"""Each input of the corpus, and inputs near to it, pass their target; `make fuzz` draws more."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.__main__ import CORPUS, seeds_of
from tests.fuzz.mutation import Mutator
from tests.fuzz.targets import TARGETS

FILES = sorted(path for path in CORPUS.rglob("*") if path.is_file())
SEEDS = {name: seeds_of(name) for name in TARGETS}

every_target = pytest.mark.parametrize("name", TARGETS)


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}-{file.name}")
def test_no_input_of_the_corpus_does_harm(file: Path) -> None:
    TARGETS[file.parent.name](file.read_bytes())


@every_target
@given(data=st.data(), seed=st.integers(0, 2**32))
@settings(max_examples=50, suppress_health_check=list(HealthCheck))
def test_no_input_near_the_corpus_does_harm(name: str, data: st.DataObject, seed: int) -> None:
    original = data.draw(st.sampled_from(SEEDS[name]))

    TARGETS[name](Mutator(name, SEEDS[name]).mutate(original, seed))
