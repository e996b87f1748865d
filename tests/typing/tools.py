"""The tools of these tests, which the dependency group ``dev`` has."""

from __future__ import annotations

import os
from importlib.util import find_spec

import pytest


def demand(tool: str) -> None:
    """Skip the test if *tool* is not installed; fail if ``POSTAGE_REQUIRE_CHECKERS=1``."""
    if find_spec(tool) is None:
        reason = f"{tool} is in the dependency group `dev`"
        if os.environ.get("POSTAGE_REQUIRE_CHECKERS") == "1":
            pytest.fail(f"POSTAGE_REQUIRE_CHECKERS=1, but {reason}")
        pytest.skip(reason)
