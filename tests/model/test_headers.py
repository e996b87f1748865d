"""Bindings of headers exchanges: `Headers` in the place of the key."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest

from postage import Exchange, Headers, SettingsError, green
from postage.addressing import Binding, bindings_of


class Papers(Exchange):
    name = "papers"
    exchange_type = "headers"


def test_headers_are_the_arguments_of_the_binding() -> None:
    wanted = Headers({"content-type": "pdf", "n": 1}, match="any", pages=3, signed=None)

    assert wanted.arguments == {
        "x-match": "any",
        "content-type": "pdf",
        "n": 1,
        "pages": 3,
        "signed": None,
    }
    assert Headers().arguments == {"x-match": "all"}
    assert Headers({"x-a": 1}, match="all-with-x").arguments == {"x-match": "all-with-x", "x-a": 1}


@pytest.mark.parametrize(
    ("given", "more", "told"),
    [
        ({}, {"match": "some"}, "any-with-x"),
        ({}, {"match": 1}, "any-with-x"),
        ({}, {"match": []}, "any-with-x"),
        ({}, {"price": 1.5}, "price"),
        ({}, {"price": object()}, "price"),
        ({1: 2}, {}, "a key of headers"),
        ({"x-match": "any"}, {}, "match='any'"),
        ({"x-a": 1}, {}, "all-with-x"),
        ([("a", 1)], {}, "a mapping"),
        ("a", {}, "a mapping"),
    ],
)
def test_what_no_header_can_be_is_refused(given: Any, more: Any, told: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Headers(given, **more)

    assert told in str(caught.value)


def test_equal_headers_make_one_binding() -> None:
    assert Headers(a=1, b=2) == Headers({"b": 2}, a=1)
    assert hash(Headers(a=1, b=2)) == hash(Headers({"b": 2}, a=1))
    for other in (Headers(a=1), Headers(a=1, b=2, match="any"), Headers(a=True, b=2), "a"):
        assert Headers(a=1, b=2) != other


def test_they_can_be_copied_shown_and_not_changed() -> None:
    part = [1, 2]
    wanted = Headers({"c-t": "x"}, match="any", part=part)
    part.append(3)

    assert wanted.arguments["part"] == [1, 2]
    assert pickle.loads(pickle.dumps(wanted)) == wanted  # noqa: S301 - our own pickle
    assert copy.deepcopy(wanted) == wanted
    assert eval(repr(wanted)) == wanted  # noqa: S307 - our own text
    with pytest.raises(AttributeError):
        wanted.match = "all"  # type: ignore[attr-defined]


def test_they_stand_in_the_place_of_a_key() -> None:
    wanted = Headers(type="pdf")

    assert [*bindings_of([(Papers, [("q", wanted)])])] == [Binding(Papers, "q", wanted)]
    assert Binding(Papers, "q", wanted).is_bound
    assert green.Headers is Headers


@pytest.mark.parametrize("kind", ["direct", "fanout", "topic"])
def test_exchanges_that_ignore_headers_refuse_them(kind: str) -> None:
    ignoring = type("Ignoring", (Exchange,), {"name": "e", "exchange_type": kind})

    with pytest.raises(SettingsError, match='exchange_type = "headers"'):
        [*bindings_of([(ignoring, [("q", Headers(a=1))])])]


def test_exchanges_of_plugins_may_take_them() -> None:
    plugin = type("Plugin", (Exchange,), {"name": "e", "exchange_type": "x-special"})

    assert [*bindings_of([(plugin, [("q", Headers(a=1))])])]
