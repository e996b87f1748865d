"""Errors of TLS name the remedy."""

from __future__ import annotations

import re
import ssl
from dataclasses import replace

import pytest

from postage.errors import ConnectionFailed, SettingsError, TlsFailed
from postage.green.amqp.connection import Connection
from postage.green.amqp.error_translation import tls_advice
from postage.green.amqp.pair import Pair
from postage.settings import Settings
from postage.testing.rabbitmq import RabbitMQNode
from tests.support.certificates import Certificates


def distrusted(code: int) -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, "verify failed")
    error.verify_code, error.verify_message = code, "as OpenSSL puts it"
    return error


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (distrusted(62), "server_name_indication"),
        (distrusted(64), "server_name_indication"),
        (distrusted(10), "clock"),
        (distrusted(20), "as OpenSSL puts it.*cacertfile"),
        (ssl.SSLError(1, "WRONG_VERSION_NUMBER"), "5671"),
        (ConnectionResetError(104, "reset"), "5671"),
        (EOFError("SSLError: CERTIFICATE_REQUIRED"), "certfile and keyfile"),
    ],
)
def test_the_advice_names_the_remedy(error: BaseException, says: str) -> None:
    assert re.search(says, tls_advice(error, tls=True) or "")


@pytest.mark.parametrize("error", [ConnectionResetError(104, "reset"), EOFError(), OSError()])
def test_other_errors_get_no_tls_advice(error: BaseException) -> None:
    assert tls_advice(error, tls=False) is None


def failing(settings: Settings) -> ConnectionFailed:
    with pytest.raises(ConnectionFailed) as failed:
        Connection(settings, "a test", lambda *_: None)
    return failed.value


# --- on a real broker, through the whole way


on_a_node = pytest.mark.needs_rabbitmq("TLS and EXTERNAL")


@pytest.fixture
def where(rabbitmq: RabbitMQNode, certificates: Certificates) -> Settings:
    port = rabbitmq.tls_port
    return Settings(host="localhost", port=port, tls=True, cacertfile=str(certificates.ca))


@on_a_node
def test_a_stranger_and_a_wrong_name(where: Settings, certificates: Certificates) -> None:
    stranger = failing(replace(where, cacertfile=str(certificates.stranger)))
    assert isinstance(stranger, TlsFailed)
    assert "cacertfile" in str(stranger)
    other = failing(replace(where, server_name_indication="rabbit.example.org"))
    assert isinstance(other, TlsFailed)
    assert "server_name_indication" in str(other)


@on_a_node
def test_a_certificate_that_is_no_user(where: Settings, certificates: Certificates) -> None:
    certfile = str(certificates.nobody_both)
    nobody = failing(replace(where, auth_mechanism="EXTERNAL", certfile=certfile))
    assert "rabbitmq_auth_mechanism_ssl" in str(nobody)


@on_a_node
def test_a_file_that_cannot_be_used_is_not_tried_again(where: Settings) -> None:
    pair = Pair(replace(where, cacertfile="/no/such/file", wait_for_broker=True))
    with pytest.raises(SettingsError, match="cacertfile"):
        pair.publishing.get(5)
