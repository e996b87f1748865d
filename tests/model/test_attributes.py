"""Each public attribute of a component has a rule, or is checked where it is used."""

from __future__ import annotations

from typing import Any

import pytest

from postage import attributes, green
from postage.exchange import _RULES as EXCHANGE
from postage.exchange import Exchange
from postage.settings import _RULES as SETTINGS
from postage.settings import Settings
from postage.values import Rule, check_values

CHECKED_ELSEWHERE = {"hup", "vhost", "eqk", "next_action", "host", "port", "addresses", "embedded"}


def attributes_of(cls: type) -> set[str]:
    """Return the names of the public attributes that a user may set on *cls*."""
    return {
        name
        for name, value in vars(cls).items()
        if not name.startswith("_") and not hasattr(value, "__get__")
    }


@pytest.mark.parametrize(
    ("cls", "rules"),
    [
        (green.GenericProducer, attributes.PRODUCER),
        (green.GenericConsumer, attributes.CONSUMER),
        (green.MessageProcessor, attributes.PROCESSOR),
        (green.GenericApplication, attributes.APPLICATION),
        (Exchange, EXCHANGE),
        (Settings, SETTINGS),
    ],
)
def test_each_attribute_has_a_rule_that_its_default_obeys(cls: Any, rules: dict[str, Rule]) -> None:
    assert attributes_of(cls) - CHECKED_ELSEWHERE <= set(rules)
    check_values(cls, rules)
