"""The run of long streams finds nothing wrong, and would find what is."""

from __future__ import annotations

from typing import Any

import pytest

from postage.services import stream_protocol
from tests.faults import stream_load
from tests.faults.fault_env import on_embedded


@pytest.mark.slow
def test_a_short_run_of_streams(monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.setattr(stream_load, "GROWTH", 64.0)  # it has no time to settle
    with on_embedded(direct=True):
        with stream_load.served() as server:
            assert stream_load.long_stream(server, 500) == []
            monkeypatch.setattr(stream_load, "GROWTH", -64.0)
            wrong = stream_load.long_stream(server, 500)
        assert [each[:16] for each in wrong] == ["the server grows", "the client grows"]
        assert stream_load.client_stops() == []
    printed = capsys.readouterr().out
    assert printed.count("read ") == 20
    assert "handler ended after" in printed
    assert stream_protocol.PULSE < stream_load.LIMIT
