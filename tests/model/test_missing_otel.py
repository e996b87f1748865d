"""OpenTelemetry is loaded by the first `Tracing` only, which says so if it is not installed."""

from __future__ import annotations

from tests.support.programs import run_program

BLOCKED = "import sys; sys.modules['opentelemetry'] = None\n"
TRACES = """
from postage import MessageProcessor, SettingsError, Tracing
try:
    class Traced(MessageProcessor):
        around = [Tracing()]
except SettingsError as exc:
    print(exc)
"""
EVERYTHING = """
import sys
import postage
from postage import *
print(sorted(name for name in sys.modules if name.startswith("opentelemetry")))
"""


def test_the_missing_extra_is_named_when_a_hook_is_made():
    finished = run_program("-c", BLOCKED + TRACES)

    assert (finished.code, finished.stderr) == (0, "")
    assert finished.stdout == (
        "Tracing needs opentelemetry-api: install it, or Postage with its extra `otel`\n"
    )


def test_no_import_loads_opentelemetry():
    finished = run_program("-c", EVERYTHING)

    assert (finished.code, finished.stdout) == (0, "[]\n"), finished.stderr
