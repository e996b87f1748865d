"""What callers learn of the exceptions of a server."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from postage import SERVER_ERROR, Encoder, messaging
from postage.errors import SettingsError
from tests.support.endpoints import Endpoint
from tests.support.raw import Raw
from tests.support.running import running

pytestmark = pytest.mark.usefixtures("broker_env")

SECRET = "/etc/s3cret"


class SecretError(Exception):
    """An exception whose name is a secret, too."""


class Refusal(messaging.RejectMessage):
    """A refusal of the program's own."""


@messaging.MessageFilter
def discard(_message: Any) -> Any:
    raise SecretError(SECRET)


class Server(messaging.MessageProcessor):
    @messaging.RpcHandler("command", "raise_")
    def raise_(self, _content: Any, _reply: Any) -> None:
        raise SecretError(SECRET)

    @messaging.RpcHandler("command", "open_")
    def open_(self, _content: Any, _reply: Any) -> None:
        open(SECRET + "/x")  # noqa: PTH123, SIM115 - it fails

    @messaging.RpcHandler("command", "reject")
    def reject(self, _content: Any, _reply: Any) -> None:
        raise Refusal(SECRET)

    @messaging.RpcHandler("command", "exit_")
    def exit_(self, _content: Any, _reply: Any) -> None:
        raise SystemExit(SECRET)

    @messaging.RpcHandler("command", "unsendable")
    def unsendable(self, _content: Any, _reply: Any) -> Any:
        return {SECRET: object()}

    @messaging.RpcHandler("command", "unsendable_later")
    def unsendable_later(self, _content: Any, reply: Any) -> None:
        reply.later()({SECRET: object()})

    @messaging.RpcHandler("command", "unrun")
    def unrun(self, _content: Any, _reply: Any) -> Any:
        return (each for each in SECRET)

    @messaging.RpcHandler("command", "meant")
    def meant(self, _content: Any, reply: Any) -> None:
        reply(messaging.MessageResultException("Meant", "for callers"))

    @discard
    @messaging.RpcHandler("command", "filtered")
    def filtered(self, _content: Any, _reply: Any) -> None:
        pass


CALLS = {
    "raise_": "SecretError",
    "open_": "FileNotFoundError",
    "reject": "Refusal",
    "exit_": "SystemExit",
    "unsendable": "EncodingError",
    "unsendable_later": "EncodingError",
    "unrun": "HandlerError",
    "filtered": "SecretError",
}
SIGNALS = {"reject": "RejectMessage", "unsendable": "EncodingError"}
SIGNALS["unsendable_later"] = "EncodingError"


def answer(endpoint: Endpoint, exposure: str, name: str, **attributes: Any) -> Any:
    made: Any = type("Exposed", (Server,), {"expose_exceptions": exposure, **attributes})
    with running(made(None, endpoint.eqk)):
        return endpoint.producer().call(name)


@pytest.mark.parametrize("name", CALLS)
def test_by_default_callers_get_name_and_text(endpoint: Endpoint, name: str) -> None:
    result = answer(endpoint, "text", name)

    assert (result.kind, result.value) == ("exception", CALLS[name])
    assert len(result.message) > 5


@pytest.mark.parametrize("name", CALLS)
def test_the_name_alone_tells_no_text(endpoint: Endpoint, name: str) -> None:
    result = answer(endpoint, "name", name)

    assert (result.kind, result.value) == ("exception", CALLS[name])
    assert SECRET not in str(result.body)
    assert result.message == "the log of the server says more"


@pytest.mark.parametrize("name", CALLS)
def test_an_id_is_in_the_log_beside_the_traceback(
    endpoint: Endpoint, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    result = answer(endpoint, "id", name)

    assert result.value == SIGNALS.get(name, SERVER_ERROR)
    assert SECRET not in str(result.body)
    if name not in SIGNALS:
        (id_,) = re.findall("error id ([0-9a-f]{16})$", result.message)
        (record,) = [each for each in caplog.records if id_ in each.getMessage()]
        assert record.exc_info
        assert type(record.exc_info[1]).__name__ == CALLS[name]


@pytest.mark.parametrize("exposure", ["text", "name", "id"])
def test_what_a_handler_sends_is_never_hidden(endpoint: Endpoint, exposure: str) -> None:
    result = answer(endpoint, exposure, "meant")

    assert (result.value, result.message) == ("Meant", "for callers")


class Broken(Encoder):
    content_type = "application/broken"

    @staticmethod
    def encode(body: Any) -> bytes:
        return json.dumps(body).encode()

    @staticmethod
    def decode(_data: bytes) -> Any:
        raise SecretError(SECRET)


class BrokenConsumer(messaging.GenericConsumer):
    encoder_class = Broken


@pytest.mark.parametrize("exposure", ["name", "id"])
def test_answers_to_malformed_requests_tell_no_text(
    endpoint: Endpoint, raw: Raw, exposure: str
) -> None:
    result = answer(endpoint, exposure, "raise_", consumer_class=BrokenConsumer)

    assert result.value == "MalformedMessage"
    assert SECRET not in str(result.body)


@pytest.mark.parametrize("exposure", ["name", "id"])
def test_an_error_of_postage_itself_is_hidden(
    endpoint: Endpoint, exposure: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_args: Any) -> None:
        raise SecretError(SECRET)

    monkeypatch.setattr(messaging.MessageProcessor, "_handlers_of", fail)
    result = answer(endpoint, exposure, "raise_")

    assert result.value == (SERVER_ERROR if exposure == "id" else "SecretError")
    assert SECRET not in str(result.body)


def test_each_fault_has_one_id_which_the_log_has(
    endpoint: Endpoint, caplog: pytest.LogCaptureFixture
) -> None:
    """The log has only some of many equal exceptions, so these share their id."""
    faults = [name for name in CALLS if name not in SIGNALS]
    made: Any = type("Exposed", (Server,), {"expose_exceptions": "id"})
    with running(made(None, endpoint.eqk)):
        producer = endpoint.producer()
        texts = {getattr(producer, f"rpc_{name}")().message for name in faults for _ in range(20)}

    assert len(texts) == len(faults)
    logged = " ".join(record.getMessage() for record in caplog.records)
    assert all(text.rpartition(" ")[2] in logged for text in texts)


@pytest.mark.parametrize("wrong", ["none", "", True, None, "TEXT"], ids=repr)
def test_other_exposures_are_refused(endpoint: Endpoint, wrong: Any) -> None:
    with pytest.raises(SettingsError, match="expose_exceptions"):
        type("Wrong", (Server,), {"expose_exceptions": wrong})(None, endpoint.eqk)
