"""`PostageCollector` says so if prometheus_client is not installed."""

from __future__ import annotations

from tests.support.programs import run_program

BLOCKED = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "prometheus_client":
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Blocked())
"""
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
