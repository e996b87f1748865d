"""The states of a worker of ``postage run``: every move that is legal, and no other."""

from __future__ import annotations

import itertools

import pytest

from postage.cli.running.workers import WorkerEvent, WorkerProcess, WorkerState

LEGAL = {
    (WorkerState.DUE, WorkerEvent.START): WorkerState.RUNNING,
    (WorkerState.DUE, WorkerEvent.CHANGE): WorkerState.DUE,
    (WorkerState.DUE, WorkerEvent.STOP): WorkerState.ENDED,
    (WorkerState.RUNNING, WorkerEvent.CHANGE): WorkerState.OUTDATED,
    (WorkerState.RUNNING, WorkerEvent.STOP): WorkerState.STOPPING,
    (WorkerState.RUNNING, WorkerEvent.RESTART): WorkerState.DUE,
    (WorkerState.RUNNING, WorkerEvent.END): WorkerState.ENDED,
    (WorkerState.OUTDATED, WorkerEvent.CHANGE): WorkerState.OUTDATED,
    (WorkerState.OUTDATED, WorkerEvent.STOP): WorkerState.STOPPING,
    (WorkerState.OUTDATED, WorkerEvent.RESTART): WorkerState.DUE,
    (WorkerState.OUTDATED, WorkerEvent.END): WorkerState.ENDED,
    (WorkerState.STOPPING, WorkerEvent.STOP): WorkerState.STOPPING,
    (WorkerState.STOPPING, WorkerEvent.END): WorkerState.ENDED,
    (WorkerState.ENDED, WorkerEvent.CHANGE): WorkerState.DUE,
    (WorkerState.ENDED, WorkerEvent.STOP): WorkerState.ENDED,
}


@pytest.mark.parametrize(
    ("state", "event"),
    list(itertools.product(WorkerState, WorkerEvent)),
    ids=lambda value: value.name,
)
def test_a_legal_move_is_made_and_an_illegal_one_raises(
    state: WorkerState, event: WorkerEvent
) -> None:
    worker = WorkerProcess(0, state)

    if (state, event) in LEGAL:
        worker.record(event)
        assert worker.state is LEGAL[state, event]
    else:
        with pytest.raises(KeyError):
            worker.record(event)
        assert worker.state is state
