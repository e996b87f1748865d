"""Log records have the ids of the message that is handled where they are made."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import gevent
import pytest

from postage import green, messaging
from postage.testing.polling import wait_until
from tests.support.endpoints import Endpoint
from tests.support.raw import Raw
from tests.support.running import SOON, running

pytestmark = pytest.mark.usefixtures("broker_env")

BODY = messaging.JsonEncoder.encode(messaging.MessageCommand("note").body).encode()
logger = logging.getLogger("shop")


class Kept(logging.Handler):
    """Keeps the records that it gets."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[Any] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    def ids(self, text: str) -> list[tuple[str, str]]:
        """Return the ids of the records that contain *text*."""
        found = (each for each in self.records if text in each.getMessage())
        return [(each.message_id, each.correlation_id) for each in found]


@pytest.fixture
def kept() -> Iterator[Kept]:
    handler = Kept()
    handler.addFilter(green.MessageIds())
    logging.getLogger().addHandler(handler)
    yield handler
    logging.getLogger().removeHandler(handler)


class Logging(messaging.MessageProcessor):
    @messaging.MessageHandler("command", "note")
    def note(self, content: Any) -> None:
        logger.warning("handler")
        gevent.spawn(logger.warning, "spawned").get()
        raise ValueError("failed")

    @messaging.RpcHandler("command", "ask")
    def ask(self, content: Any, reply: Any) -> Any:
        logger.warning("call")
        return green.message().correlation_id


def handle(endpoint: Endpoint, raw: Raw, **properties: Any) -> None:
    """Handle one message with these properties."""
    processor = Logging(None, endpoint.eqk)
    with running(processor):
        raw.put(endpoint.queue, BODY, **properties)
        wait_until(lambda: processor.counts["failed"], SOON)


def test_records_of_a_message(endpoint: Endpoint, raw: Raw, kept: Kept) -> None:
    handle(endpoint, raw, message_id="m", correlation_id="c")

    for text in ("handler", "spawned", "Logging.note failed"):
        assert kept.ids(text) == [("m", "c")]


def test_records_of_a_call(endpoint: Endpoint, kept: Kept) -> None:
    with running(Logging(None, endpoint.eqk)):
        id_ = endpoint.producer().rpc_ask().value

    assert kept.ids("call") == [("", id_)]


def test_records_elsewhere(endpoint: Endpoint, kept: Kept) -> None:
    logger.warning("elsewhere")
    gevent.spawn(logger.warning, "elsewhere").get()
    gevent.get_hub().threadpool.apply(logger.warning, ("elsewhere",))

    assert kept.ids("elsewhere") == [("", "")] * 3


def test_ids_of_peers_cannot_begin_a_line(endpoint: Endpoint, raw: Raw, kept: Kept) -> None:
    handle(endpoint, raw, message_id="a\nERROR forged", correlation_id="\x1b[2J")

    [(message_id, correlation_id)] = kept.ids("handler")
    assert "\n" not in message_id
    assert "\x1b" not in correlation_id
    assert message_id


def test_messages_without_ids(endpoint: Endpoint, raw: Raw, kept: Kept) -> None:
    handle(endpoint, raw)

    assert kept.ids("handler") == [("", "")]
