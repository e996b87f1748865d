"""The parameters that the words of a command line stand for (``producer-builders``)."""

from __future__ import annotations

import re

import pytest

from postage.cli.arguments import parameters_of
from postage.errors import SettingsError


@pytest.mark.behaviour("producer-builders")
@pytest.mark.parametrize(
    ("words", "parameters"),
    [
        ([], {}),
        (["1"], 1),
        (["hello"], "hello"),
        (["1", "hello", "null"], [1, "hello", None]),
        (["[1, 2]"], [1, 2]),
        (['{"a": 1}'], {"a": 1}),
        (["a=1", "b=x=y"], {"a": 1, "b": "x=y"}),
        (["a="], {"a": ""}),
        (["7", "a=true"], {"args": [7], "kwds": {"a": True}}),
        (["parameters=[3]"], [3]),
        (["parameters=3", "a=4"], {"parameters": 3, "a": 4}),
        (["größe=3"], {"größe": 3}),
        (["-1.5e3"], -1500.0),
        (['"1"'], "1"),
        (['"a=b"'], "a=b"),
        (["1=2"], "1=2"),
        (["2026-11-24"], "2026-11-24"),
        ([""], ""),
    ],
)
def test_words_become_parameters(words, parameters):
    assert parameters_of(words) == parameters


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (['{"a": '], "'{\"a\": ' is not JSON"),
        (["a=[1,"], "'[1,' is not JSON"),
        (['"open'], "is not JSON"),
        (["NaN"], "NaN is no number that JSON has"),
        (["a=-Infinity"], "-Infinity is no number"),
        (["[NaN]"], "NaN is not JSON"),
        (["1e999"], "cannot send this as JSON: the number 1e999 is too large"),
        (["a=-1.5E+999"], "cannot send this as JSON: the number -1.5E+999 is too large"),
        (["1" * 5000], "cannot send this as JSON: "),
        (["a=1", "a=2"], "a is given twice"),
        (["[" * 1000 + "]" * 1000], "is nested deeper than 200 levels"),
    ],
)
def test_words_that_cannot_be_sent_are_refused(words, named):
    with pytest.raises(SettingsError, match=re.escape(named)):
        parameters_of(words)
