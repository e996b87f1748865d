"""Every error survives pickle, copy and a pool of processes, with its data and its text."""

from __future__ import annotations

import copy
import importlib
import inspect
import pickle
import pkgutil
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import pytest

import postage
from postage.errors import PostageError


def _classes() -> Iterator[type[BaseException]]:
    """Yield every exception class that a module of Postage defines."""
    found: set[type[BaseException]] = set()
    for module in pkgutil.walk_packages(postage.__path__, "postage."):
        if module.name.endswith(("__main__", "testing.plugin")):
            continue
        for value in vars(importlib.import_module(module.name)).values():
            is_error = isinstance(value, type) and issubclass(value, BaseException)
            if is_error and value.__module__.startswith("postage.") and value not in found:
                found.add(value)
                yield value


CLASSES = sorted(_classes(), key=lambda cls: (cls.__module__, cls.__name__))
VALUES = {"code": 404, "limit": 2.5, "port": 5672, "seconds": 1.5, "restarts": 3, "period": 60.0}


def made(cls: type[BaseException]) -> BaseException:
    """Return an error of *cls* with a value for each parameter of its constructor."""
    values: dict[str, Any] = {}
    arguments = []
    # Some versions of Python find no signature for a class without a constructor of its own.
    constructor: Any = cls.__init__
    has_own = inspect.isfunction(constructor)
    parameters = list(inspect.signature(constructor).parameters.items())[1:] if has_own else []
    for name, each in parameters:
        if each.kind in (each.VAR_POSITIONAL, each.VAR_KEYWORD):
            continue
        value = VALUES.get(name, f"the {name}")
        if each.kind is each.KEYWORD_ONLY:
            values[name] = value
        else:
            arguments.append(value)
    return cls(*arguments, **values)


def as_data(error: BaseException) -> tuple[Any, ...]:
    return type(error), error.args, str(error), vars(error)


COPIES: dict[str, Callable[[BaseException], BaseException]] = {
    **{
        f"pickle {protocol}": lambda error, protocol=protocol: pickle.loads(  # noqa: S301 - our own
            pickle.dumps(error, protocol)
        )
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1)
    },
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
}


def test_the_whole_tree_is_tested():
    tree = [PostageError]
    for each in tree:
        tree += [child for child in each.__subclasses__() if child.__module__[:8] == "postage."]

    assert len(CLASSES) > 30
    assert set(tree) <= set(CLASSES)


@pytest.mark.parametrize("way", COPIES)
@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_every_error_is_the_same_after_a_copy(cls, way):
    error = made(cls)

    assert as_data(COPIES[way](error)) == as_data(error)


class Users(PostageError):
    """An error of a user, whose constructor takes other arguments than `Exception`."""

    def __init__(self, first, *, second):
        super().__init__(f"{first} and {second}")
        self.second = second


def test_errors_of_users_are_the_same_after_a_copy():
    error = Users(1, second=[2])

    for way in COPIES.values():
        assert as_data(way(error)) == as_data(error)


def fail(name: str) -> None:
    """Raise the error of that name; runs in another process."""
    raise made(next(each for each in CLASSES if each.__name__ == name))


def test_errors_come_out_of_a_pool_of_processes():
    errors = [each for each in CLASSES if issubclass(each, PostageError)]
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        futures = [pool.submit(fail, each.__name__) for each in errors]
        raised = [future.exception(30) for future in futures]

    assert [as_data(each)[:3] for each in raised] == [as_data(made(cls))[:3] for cls in errors]
