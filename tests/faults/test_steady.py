"""The steady run finds memory that each message leaves behind."""

from __future__ import annotations

from typing import Any

import pytest

from tests.faults import steady
from tests.faults.fault_env import on_embedded
from tests.faults.journal import Journal
from tests.faults.load import LoadSettings

SMALL = LoadSettings(publishers=5, callers=5, processors=4, pause=0.02)
LEAK = 10_000


@pytest.mark.slow
def test_what_each_message_leaves_behind_is_found(monkeypatch: Any, capsys: Any) -> None:
    kept: list[bytes] = []
    handle = Journal.handle

    def leaks(self: Journal, *arguments: Any) -> None:
        handle(self, *arguments)
        kept.append(bytes(LEAK))

    monkeypatch.setattr(Journal, "handle", leaks)
    monkeypatch.setattr(steady, "STALL", 0.01)
    monkeypatch.setattr(steady, "LEVELS", 10)
    with on_embedded(direct=True) as env:
        wrong = steady.run_steady(env, minutes=0.03, settings=SMALL)

    printed = capsys.readouterr().out
    assert printed.count(" min  ") == 2
    assert any(fault.startswith("bytes of malloc grow by") for fault in wrong)
    assert not any("sockets" in fault for fault in wrong)
