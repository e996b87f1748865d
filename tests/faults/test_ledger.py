"""The ledger of handlers in other processes, and what follows from it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.faults.ledger import Ledger, counts, told
from tests.support.metrics_pages import sums


def tried(id_: str, kind: str, *, is_done: bool) -> dict[str, Any]:
    return {"id": id_, "kind": kind, "is_done": is_done}


def put(id_: str, delay: float | None, kept: float | None) -> dict[str, Any]:
    return {"id": id_, "delay": delay, "kept": kept}


LINES = [
    tried("1", "fine", is_done=True),
    tried("2", "once", is_done=False),
    tried("2", "once", is_done=True),
    *(tried("3", "late", is_done=False), put("3", 0.5, None), put("3", 0.5, 1.0)),
    *(tried("4", "late", is_done=False), put("4", 0.5, None)),  # in doubt
    *(tried("5", "bad", is_done=False), put("5", None, None), put("5", None, 2.0)),
    *(put("6", None, None), put("6", None, 3.0)),  # malformed
]
PAGE = """\
# TYPE postage_handler_received_total counter
postage_handler_received_total{worker="0",class="C",processor="p",handler="fine"} 1
postage_handler_received_total{worker="0",class="C",processor="p",handler="once"} 1
postage_handler_received_total{worker="0",class="C",processor="p",handler="late"} 2
postage_handler_received_total{worker="1",class="C",processor="p",handler="bad"} 1
postage_handler_seconds_count{worker="0",class="C",processor="p",handler="fine"} 1
postage_handler_seconds_count{worker="0",class="C",processor="p",handler="once"} 2
postage_handler_seconds_count{worker="0",class="C",processor="p",handler="late"} 2
postage_handler_seconds_count{worker="1",class="C",processor="p",handler="bad"} 1
postage_handler_retried_total{worker="0",class="C",processor="p",handler="once"} 1
postage_handler_failed_total{worker="0",class="C",processor="p",handler="once"} 0
postage_handler_failed_total{worker="0",class="C",processor="p",handler="late"} 2
postage_handler_failed_total{worker="1",class="C",processor="p",handler="bad"} 1
postage_handler_delayed_total{worker="0",class="C",processor="p",handler="late"} 1
postage_handler_parked_total{worker="1",class="C",processor="p",handler="bad"} 1
postage_processor_messages_total{worker="0",class="C",processor="p",outcome="handled"} 4
postage_processor_messages_total{worker="1",class="C",processor="p",outcome="handled"} 1
postage_processor_messages_total{worker="1",class="C",processor="p",outcome="malformed"} 1
postage_processor_messages_total{worker="1",class="C",processor="p",outcome="stale"} 5
postage_publish_confirms_total{worker="0",result="ack"} 1
postage_publish_confirms_total{worker="1",result="ack"} 2
postage_greenlets{worker="0"} 12
"""


def test_lines_of_the_ledger_become_counts() -> None:
    assert counts(LINES) == told(sums(PAGE))


def test_a_ledger_reads_whole_lines_once(tmp_path: Path) -> None:
    ledger, file = Ledger(tmp_path), tmp_path / "worker-7"
    texts = [json.dumps(line) for line in LINES]
    file.write_text(f"{texts[0]}\n{texts[1][:5]}")
    assert ledger.read() == LINES[:1]
    file.write_text("".join(f"{text}\n" for text in texts[:3]))
    assert ledger.read() == LINES[1:3]
    assert (ledger.read(), dict(ledger.lines)) == ([], {7: LINES[:3]})
