"""Parameters: the shapes in which messages bring arguments, and what does not fit."""

from __future__ import annotations

from typing import Any

import pytest

from postage import BadParameters
from tests.services.samples import Line, Row, Tree, signature


def one(self, item: str) -> None: ...
def two(self, item: str, count: int = 1) -> None: ...
def named(self, item: str, *, count: int = 1) -> None: ...
def placed(self, item: str, /, count: int = 1) -> None: ...
def none(self) -> None: ...
def numbers(self, numbers: list[int]) -> None: ...
def names(self, names: list[str], count: int = 1) -> None: ...
def line(self, line: Line) -> None: ...
def row(self, row: Row) -> None: ...
def urgent(self, line: Line, urgent: bool = False) -> None: ...
def anything(self, value: Any) -> None: ...
def anything_more(self, value: Any, count: int = 1) -> None: ...
def table(self, table: dict[str, int]) -> None: ...
def maybe(self, value: int | None) -> None: ...


@pytest.mark.parametrize(
    ("function", "given", "args", "kwds"),
    [
        (one, "bolt", ("bolt",), {}),
        (one, ["bolt"], ("bolt",), {}),
        (one, {"item": "bolt"}, ("bolt",), {}),
        (two, "bolt", ("bolt", 1), {}),
        (two, ["bolt", 3], ("bolt", 3), {}),
        (two, {"count": 3, "item": "bolt"}, ("bolt", 3), {}),
        (two, {"args": ["bolt"], "kwds": {"count": 3}}, ("bolt", 3), {}),
        (named, {"item": "bolt", "count": 3}, ("bolt",), {"count": 3}),
        (named, "bolt", ("bolt",), {"count": 1}),
        (placed, {"item": "bolt", "count": 3}, ("bolt", 3), {}),
        (none, {}, (), {}),
        (none, None, (), {}),
        (none, [], (), {}),
        (numbers, [1, 2], ([1, 2],), {}),
        (numbers, [[1, 2]], ([1, 2],), {}),
        (numbers, [], ([],), {}),
        (numbers, {"numbers": [1]}, ([1],), {}),
        (names, ["a", "b"], (["a", "b"], 1), {}),
        (names, [["a"], 2], (["a"], 2), {}),
        (line, {"item": "bolt"}, (Line("bolt"),), {}),
        (line, {"line": {"item": "bolt", "count": 2}}, (Line("bolt", 2),), {}),
        (line, {"item": "bolt", "later": "unknown"}, (Line("bolt"),), {}),
        (row, ["bolt", 2], (Row("bolt", 2),), {}),
        (urgent, {"item": "bolt"}, (Line("bolt"), False), {}),
        (urgent, {"line": {"item": "bolt"}, "urgent": True}, (Line("bolt"), True), {}),
        (anything, {"a": 1}, ({"a": 1},), {}),
        (anything, {"value": 1}, (1,), {}),
        (anything, [1, 2], ([1, 2],), {}),
        (anything_more, [1, 2], (1, 2), {}),
        (table, {"a": 1}, ({"a": 1},), {}),
        (table, {"table": {"a": 1}}, ({"a": 1},), {}),
        (table, {"table": 1}, ({"table": 1},), {}),
        (maybe, None, (None,), {}),
    ],
)
def test_each_shape_of_parameters_is_understood(function, given, args, kwds):
    assert signature(function).arguments(given) == (args, kwds)


@pytest.mark.parametrize(
    ("function", "given", "path", "reason"),
    [
        (one, 5, "item", "Expected `str`, got `int`"),
        (one, None, "item", "Expected `str`, got `null`"),
        (one, {}, "item", "is missing"),
        (one, [], "item", "is missing"),
        (one, ["a", "b"], "parameters", "there are at most 1 without a name, not 2"),
        (two, {"item": "a", "cuont": 2}, "'cuont'", "is no parameter: it takes item, count"),
        (two, {"item": "a", "\n\x1b[2J" + "x" * 999: 2}, None, "is no parameter"),
        (two, {"item": "a", "count": True}, "count", "Expected `int`, got `bool`"),
        (two, {"item": "a", "count": 1.0}, "count", "Expected `int`, got `float`"),
        (two, {"item": "a", "count": "1"}, "count", "Expected `int`, got `str`"),
        (two, {"args": ["a"], "kwds": {"item": "b"}}, "item", "is given twice"),
        (two, {"args": "a", "kwds": {}}, "parameters", "args must be a list, and kwds an object"),
        (named, ["a", 2], "parameters", "there are at most 1 without a name"),
        (none, 5, "parameters", "there is none without a name"),
        (none, {"a": 1}, "'a'", "is no parameter: it takes none"),
        (names, [["a", 5]], "names[1]", "Expected `str`, got `int`"),
        (line, {"line": {"item": "bolt", "count": None}}, "line.count", "Expected `int`"),
        (line, {"item": 5}, "line.item", "Expected `str`"),
        (line, {"line": 5}, "line", "Expected `object`"),
        (anything_more, {"value": 1, "cuont": 2}, "'cuont'", "is no parameter"),
        (table, {"a": "b"}, None, ""),
    ],
)
def test_what_does_not_fit_is_told_with_its_place(function, given, path, reason):
    with pytest.raises(BadParameters) as raised:
        signature(function).arguments(given)
    error = raised.value
    assert path in (None, error.path)
    assert reason in error.reason
    assert str(error) == f"{error.path}: {error.reason}"
    assert str(error).isprintable()
    assert len(str(error)) < 2500


def nameless(self, item: str, count: int = 1, /, more: int = 2) -> None: ...


@pytest.mark.parametrize(
    ("function", "args", "kwds", "sent"),
    [
        (two, ("bolt",), {}, {"item": "bolt"}),
        (two, ("bolt",), {"count": 2}, {"item": "bolt", "count": 2}),
        (none, (), {}, {}),
        (nameless, ("bolt",), {}, "bolt"),
        (nameless, ("bolt", 3), {}, ["bolt", 3]),
        (nameless, ("bolt",), {"more": 3}, {"args": ["bolt"], "kwds": {"more": 3}}),
        (line, (Line("bolt"),), {}, {"line": {"item": "bolt", "count": 1}}),
    ],
)
def test_arguments_of_clients_are_sent_so_that_handlers_get_them(function, args, kwds, sent):
    found = signature(function)
    assert found.sent(args, kwds) == sent
    got, _ = found.arguments(sent)
    assert got[: len(args)] == args


def test_an_event_is_the_content_itself():
    def on(self, event: Line) -> None: ...

    assert signature(on).only({"item": "bolt"}) == ((Line("bolt"),), {})
    with pytest.raises(BadParameters, match=r"^event.count: Expected `int`, got `str`$"):
        signature(on).only({"item": "bolt", "count": "2"})


def test_values_that_nest_too_deep_do_not_fit():
    def handler(self, tree: Tree) -> Tree:
        return tree

    given: dict[str, Any] = {"value": 1}
    for _ in range(10_000):
        given = {"value": 1, "below": [given]}
    with pytest.raises(BadParameters, match="nest too deep"):
        signature(handler).arguments(given)
    loop = Tree(1, [])
    loop.below.append(loop)
    with pytest.raises(RecursionError):
        signature(handler).result(loop)
