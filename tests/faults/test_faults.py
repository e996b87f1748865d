"""Each fault, under load, on RabbitMQ and on the embedded broker: nothing lost, nothing hung."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.faults.account import Keep, judge
from tests.faults.every import FAULTS
from tests.faults.exam import examined
from tests.faults.fault import EVERYWHERE, Fault
from tests.faults.scene import Scene


def cases(kind: str) -> Iterator[Any]:
    """Yield the faults that can happen on this kind of scene; long ones wait for `make soak`."""
    for fault in FAULTS:
        marks = [pytest.mark.slow] if kind in fault.brief else [pytest.mark.soak]
        if kind in fault.on:
            yield pytest.param(kind, fault, id=f"{fault.name}-{kind}", marks=marks)


@pytest.mark.limit(120)
@pytest.mark.parametrize(("kind", "fault"), [case for kind in EVERYWHERE for case in cases(kind)])
def test_nothing_is_lost_and_nothing_hangs(
    kind: str, fault: Fault, scene: Scene, keep: Keep
) -> None:
    account = examined(scene, f"{fault.name} ({kind})", fault.strike, fault.shape)
    keep(account)
    judge(account, fault.limits)
