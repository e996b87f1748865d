"""Exchanges: classes whose attributes are the arguments of their declaration."""

from __future__ import annotations

import pytest

from postage.exchange import Exchange

DEFAULTS = {
    "exchange": "noname",
    "exchange_type": "direct",
    "passive": False,
    "durable": True,
    "auto_delete": False,
    "arguments": {},
}


class Lamps(Exchange):
    name = "lamps"
    exchange_type = "topic"


class Delayed(Lamps):
    durable = False
    arguments = {"alternate-exchange": "unrouted"}  # noqa: RUF012 - as users write it


@pytest.mark.behaviour("exchange-attributes")
def test_the_defaults():
    assert Exchange.parameters == DEFAULTS


@pytest.mark.behaviour("exchange-attributes")
@pytest.mark.parametrize(
    ("attribute", "keyword", "value"),
    [
        ("name", "exchange", "other"),
        ("exchange_type", "exchange_type", "fanout"),
        ("passive", "passive", True),
        ("durable", "durable", False),
        ("auto_delete", "auto_delete", True),
        ("arguments", "arguments", {"x": 1}),
    ],
)
def test_each_class_attribute_is_one_parameter(attribute, keyword, value):
    changed = type("Changed", (Exchange,), {attribute: value})

    assert changed.parameters == DEFAULTS | {keyword: value}


@pytest.mark.behaviour("exchange-attributes")
def test_subclasses_inherit_attributes():
    assert Lamps.parameters == DEFAULTS | {"exchange": "lamps", "exchange_type": "topic"}
    assert Delayed.parameters == Lamps.parameters | {
        "durable": False,
        "arguments": {"alternate-exchange": "unrouted"},
    }


@pytest.mark.behaviour("exchange-attributes")
def test_parameters_follow_the_attributes(monkeypatch):
    monkeypatch.setattr(Lamps, "name", "renamed")

    assert Delayed.parameters["exchange"] == "renamed"


@pytest.mark.behaviour("exchange-attributes")
@pytest.mark.parametrize("kind", [Exchange, Lamps, Delayed])
def test_an_instance_has_the_parameters_of_its_class(kind):
    assert kind().parameters == kind.parameters


@pytest.mark.behaviour("exchange-attributes")
def test_changed_parameters_do_not_change_the_class():
    Delayed.parameters["arguments"]["left"] = "behind"

    assert "left" not in Delayed.parameters["arguments"]
