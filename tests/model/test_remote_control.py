"""The rule that says from whom a component takes remote commands."""

from __future__ import annotations

from typing import Any

import pytest

from postage.errors import SettingsError
from postage.remote_control import (
    RemoteControl,
    check_remote_control,
    objection,
    spoken,
    user_of,
)
from postage.settings import Settings

SENDERS = (None, "me", "ops", "mallory")
OBEYED: dict[Any, set[str | None]] = {
    True: {*SENDERS},
    "on": {*SENDERS},
    RemoteControl.ON: {*SENDERS},
    False: set(),
    "off": set(),
    RemoteControl.OFF: set(),
    "own-user": {"me"},
    RemoteControl.OWN_USER: {"me"},
    ("ops",): {"ops"},
    ("ops", "me"): {"ops", "me"},
    frozenset({"on"}): set(),
}


@pytest.mark.parametrize(("rule", "obeyed"), OBEYED.items(), ids=map(str, OBEYED))
def test_each_rule_and_each_sender(rule: Any, obeyed: set[str | None]) -> None:
    check_remote_control("rule", rule)

    assert {each for each in SENDERS if not objection(rule, each, "me")} == obeyed


@pytest.mark.parametrize("sender", SENDERS)
def test_nobody_is_the_own_user_if_that_is_unknown(sender: str | None) -> None:
    assert objection("own-user", sender, None)


def test_a_message_without_user_is_told_what_is_missing() -> None:
    assert "send_user_id" in objection(["ops"], None, "me")
    assert objection(["ops"], "mallory", "me") == "its remote_control is for ops"


WRONG = [None, 2, "no", "", "own_user", [], [""], ["x" * 256], [1], [[]], {"a": 1}, 1.5, b"on"]


@pytest.mark.parametrize("rule", WRONG, ids=repr)
def test_anything_else_is_no_rule(rule: Any) -> None:
    with pytest.raises(SettingsError, match="rule"):
        check_remote_control("rule", rule)


def test_rules_as_the_log_says_them() -> None:
    rules = (True, "own-user", ["b", "a"])

    assert [spoken(each) for each in rules] == ["on", "own-user", "for a, b"]


def test_the_own_user_with_each_way_to_log_in() -> None:
    certificate = {"auth_mechanism": "EXTERNAL", "tls": True}

    assert user_of(Settings(user="me")) == "me"
    assert user_of(Settings(**certificate)) is None
    assert user_of(Settings(user="CN=me", **certificate)) == "CN=me"
