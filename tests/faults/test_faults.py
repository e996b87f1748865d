"""Each fault, under load, on RabbitMQ and on the embedded broker: nothing lost, nothing hung."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.faults.catalogue import BOTH, FAULTS, Fault
from tests.faults.fault_env import FaultEnv
from tests.faults.fault_run import run_with_fault
from tests.faults.report import check


def cases(kind: str) -> Iterator[Any]:
    """Yield the faults that this *kind* of broker can have; `make soak` runs the long ones."""
    for fault in FAULTS:
        marks = [pytest.mark.slow] if kind in fault.quick else [pytest.mark.soak]
        if kind in fault.brokers:
            yield pytest.param(kind, fault, id=f"{fault.name}-{kind}", marks=marks)


@pytest.mark.limit(120)
@pytest.mark.parametrize(("kind", "fault"), [case for kind in BOTH for case in cases(kind)])
def test_nothing_is_lost_and_nothing_hangs(
    kind: str, fault: Fault, env: FaultEnv, record: Any
) -> None:
    report = run_with_fault(env, f"{fault.name} ({kind})", fault.inject, fault.settings)
    record(report)
    check(report, fault.limits)
