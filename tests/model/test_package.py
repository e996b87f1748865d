"""The package: its names and its version."""

from __future__ import annotations

import importlib
import re

import pytest

import postage
from tests.support.programs import run_program

#: What programs written for 1.2.1 import from each of the three modules.
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
    told = run_program("-m", "postage", "--version")

    assert (told.code, told.stdout) == (0, f"postage {postage.__version__}\n")


@pytest.mark.parametrize("name", postage.__all__)
def test_what_the_package_lists_is_there(name):
    assert hasattr(postage, name)
