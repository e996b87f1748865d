"""Fixtures of the tests of settings: an empty environment, and variables in it."""

from __future__ import annotations

import os

import pytest

from postage import messaging
from postage.settings import live


@pytest.fixture(autouse=True)
def bare(monkeypatch):
    """No variable of Postage is set, and nothing was assigned to the globals."""
    for name in [name for name in os.environ if name.startswith("POSTAGE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(live, "overrides", {})
    monkeypatch.setattr(messaging.global_hup, "_assigned", {})


@pytest.fixture
def env(monkeypatch):
    """A function that sets environment variables, given without their prefix."""

    def set_them(**variables):
        for name, value in variables.items():
            monkeypatch.setenv(f"POSTAGE_{name}", value)

    return set_them
