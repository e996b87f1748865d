"""The package: its names and its version."""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path

import pytest

import postage
from tests.support.programs import run_program

#: The names that programs written for 1.2.1 import from each of the three modules.
CLASSIC = {
    "messaging": [
        *("Exchange", "Fingerprint", "Encoder", "JsonEncoder", "Message", "MessageCommand"),
        *("RpcCommand", "MessageStatus", "MessageResult", "MessageResultError"),
        *("MessageResultException", "GenericProducer", "GenericConsumer", "MessageProcessor"),
        *("MessageHandler", "MessageHandlerFullBody", "RpcHandler", "MessageFilter", "Handler"),
        *("RejectMessage", "FilterError", "AckAndRestart", "TimeoutError"),
        *("global_vhost", "global_user", "global_password", "global_hup"),
    ],
    "microthreads": ["MicroThread", "MicroScheduler", "ExitScheduler"],
    "generic_application": ["GenericApplication", "GenericApplicationExchange"],
}


@pytest.mark.behaviour("package-and-version")
def test_the_three_modules_are_imported_from_the_package():
    from postage import generic_application, messaging, microthreads

    assert messaging.MessageProcessor
    assert microthreads.MicroScheduler
    assert generic_application.GenericApplication


@pytest.mark.behaviour("package-and-version")
@pytest.mark.parametrize(
    ("module", "name"), [(m, n) for m, names in CLASSIC.items() for n in names]
)
def test_classic_names_are_where_they_were(module, name):
    found = importlib.import_module(f"postage.{module}")

    assert hasattr(found, name)
    assert name in found.__all__


@pytest.mark.behaviour("package-and-version")
def test_a_classic_name_and_the_new_one_are_the_same_object():
    from postage import green, messaging

    assert messaging.MessageProcessor is green.MessageProcessor
    assert messaging.Message is postage.Message


@pytest.mark.behaviour("package-and-version")
def test_versions_are_three_numbers_and_begin_with_2():
    assert re.fullmatch(r"2\.\d+\.\d+(\.dev\d+)?", postage.__version__)


@pytest.mark.behaviour("package-and-version")
def test_the_command_line_tells_the_version():
    finished = run_program("-m", "postage", "--version")

    assert (finished.code, finished.stdout) == (0, f"postage {postage.__version__}\n")


@pytest.mark.parametrize("name", postage.__all__)
def test_every_listed_name_exists(name):
    assert hasattr(postage, name)
    assert name in dir(postage)


def test_the_package_lists_each_name_once():
    assert len(postage.__all__) == len(set(postage.__all__))


def test_every_error_is_listed():
    from postage import errors

    assert set(errors.__all__) <= set(postage.__all__)


def test_names_are_the_same_objects_in_green():
    from postage import green

    shared = set(green.__all__) & set(postage.__all__)

    assert set(green.__all__) - shared == {"MicroScheduler", "message", "MessageIds"}, (
        "the classic name of Scheduler, that of a module, and what only a log needs"
    )
    assert all(getattr(green, name) is getattr(postage, name) for name in shared)


def test_type_checkers_and_python_find_the_same_names():
    tree = ast.parse(Path(postage.__file__).read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    imports = {
        alias.name: node.module
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }

    assert {*imports, "__version__"} == set(postage.__all__)
    for name, module in imports.items():
        assert getattr(importlib.import_module(str(module)), name) is getattr(postage, name)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'Producer'"):
        _ = postage.Producer


def test_importing_the_package_loads_nothing_else():
    code = (
        "import sys, postage; print([m for m in sys.modules if m.startswith('postage.')]);"
        "postage.Message; print('gevent' in sys.modules, 'pika' in sys.modules)"
    )
    finished = run_program("-c", code)

    assert finished.stdout == "['postage._version']\nFalse False\n", finished.stderr


def test_importing_all_names_gives_all_names():
    code = "from postage import *; print(run, MessageProcessor, NoRoute)"
    finished = run_program("-c", code)

    assert finished.code == 0, finished.stderr
