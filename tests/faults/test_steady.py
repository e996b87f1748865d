"""The steady run finds what each message leaves behind."""

from __future__ import annotations

from typing import Any

import pytest

from tests.faults import steady
from tests.faults.ledger import Ledger
from tests.faults.load import Shape
from tests.faults.scene import on_embedded

SMALL = Shape(publishers=5, callers=5, processors=4, pause=0.02)
LEAK = 10_000


@pytest.mark.slow
def test_what_each_message_leaves_behind_is_found(monkeypatch: Any, capsys: Any) -> None:
    kept: list[bytes] = []
    handle = Ledger.handle

    def leaks(self: Ledger, *arguments: Any) -> None:
        handle(self, *arguments)
        kept.append(bytes(LEAK))

    monkeypatch.setattr(Ledger, "handle", leaks)
    monkeypatch.setattr(steady, "HELD", 0.01)
    monkeypatch.setattr(steady, "LEVELS", 10)
    with on_embedded(straight=True) as scene:
        wrong = steady.run(scene, minutes=0.03, shape=SMALL)

    told = capsys.readouterr().out
    assert told.count("MB resident") == 3
    assert any(fault.startswith("bytes of malloc grow by") for fault in wrong)
    assert not any("sockets" in fault for fault in wrong)
