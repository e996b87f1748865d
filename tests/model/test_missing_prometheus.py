"""`PostageCollector` says so if prometheus_client is not installed."""

from __future__ import annotations

from tests.support.programs import run_program

BLOCKED = "import sys; sys.modules['prometheus_client'] = None\n"
COLLECTS = """
from postage import SettingsError
from postage.metrics import PostageCollector
try:
    PostageCollector([])
except SettingsError as exc:
    print(exc)
"""


def test_the_missing_extra_is_named_when_a_collector_is_made():
    finished = run_program("-c", BLOCKED + COLLECTS)

    assert (finished.code, finished.stderr) == (0, "")
    assert finished.stdout == (
        "PostageCollector needs prometheus_client: install it, or Postage with its extra "
        "`metrics`\n"
    )
