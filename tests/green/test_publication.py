"""Which publish errors are retried, and what the final error says; no broker needed."""

from __future__ import annotations

import pytest

from postage.errors import (
    BrokerUnreachable,
    ChannelRefused,
    ConnectionClosed,
    ConnectionLost,
    EncodingError,
    NoRoute,
    NotAcknowledged,
    OperationTimeout,
    PostageError,
    PublishFailed,
    TopologyMismatch,
)
from postage.exchange import Exchange
from postage.green.amqp.properties import Properties
from postage.green.publishing import Publication


class Depot(Exchange):
    name = "depot"


MESSAGE = Publication(Depot, "rk", Properties(), b"x" * 100)
UNREACHABLE = BrokerUnreachable("no broker there", host="h", port=5672)


def refused(code: int, text: str) -> ChannelRefused:
    return ChannelRefused(code, text)


PASSING = {
    "a nack": NotAcknowledged("nack"),
    "a lost connection": ConnectionLost("gone"),
    "no answer": OperationTimeout("basic.publish", 1.0),
    "its exchange is gone": refused(404, "NOT_FOUND - no exchange 'depot' in vhost '/'"),
    "the exchange of others is gone": refused(404, "NOT_FOUND - no exchange 'other' in vhost '/'"),
    "others may not write": refused(403, "access to exchange 'other' in vhost '/' refused"),
    "one whose name ends alike": refused(403, "access to exchange 'my depot' in vhost '/' refused"),
    "others may not write by that key": refused(
        403, "access to topic 'secret' in exchange 'depot' in vhost '/' refused for user 'u'"
    ),
    "others send too much": refused(406, "message size 101 is larger than configured max size 100"),
    "others send far too much": refused(
        406, "message size 1000 is larger than configured max size"
    ),
}
FINAL = {
    "we may not write": refused(403, "access to exchange 'depot' in vhost '/' refused for user"),
    "we may not write by that key": refused(
        403, "access to topic 'rk' in exchange 'depot' in vhost '/' refused for user 'u'"
    ),
    "it is too large": refused(406, "message size 100 is larger than configured max size 99"),
    "the exchange is otherwise": TopologyMismatch(
        406, "", kind="exchange", name="depot", flag="type", ours="direct", theirs="fanout"
    ),
    "the passive exchange is gone": TopologyMismatch(
        404, "no exchange 'depot'", kind="exchange", name="depot", flag="passive", ours="true",
        theirs="missing",
    ),
    "no queue": NoRoute("depot", "rk"),
    "our own side closed": ConnectionClosed("closed"),
    "it cannot be encoded": EncodingError("no"),
    "no broker answers, and none ever did": UNREACHABLE,
}  # fmt: skip


@pytest.mark.parametrize("what", PASSING)
def test_a_passing_error_is_retried(what: str) -> None:
    assert MESSAGE.is_retryable(PASSING[what])


@pytest.mark.parametrize("what", FINAL)
def test_a_final_error_is_not_retried(what: str) -> None:
    assert not MESSAGE.is_retryable(FINAL[what])


REMEDIES: list[tuple[PostageError, str | None, str]] = [
    (NotAcknowledged("the nack"), None, "quorum queue without its majority"),
    (ConnectionLost("gone"), None, "is it running"),
    (UNREACHABLE, None, "is it running"),
    (PASSING["others send too much"], None, "keeps refusing messages of other publishers"),
    (OperationTimeout("basic.publish", 1.0), None, "overloaded"),
    (OperationTimeout("publish", 1.0), "low on disk", r"alarm .*low on disk.*rabbitmqctl status"),
]


@pytest.mark.parametrize(("cause", "alarm", "remedy"), REMEDIES, ids=str)
def test_the_error_at_the_limit_says_where_why_and_what_to_do(
    cause: PostageError, alarm: str | None, remedy: str
) -> None:
    error = MESSAGE.failed(2.5, cause, alarm)

    assert isinstance(error, PublishFailed)
    assert (error.exchange, error.key) == ("depot", "rk")
    for words in ("'depot'", "'rk'", "within 2.5 s", str(cause)):
        assert words in str(error)
    with pytest.raises(PublishFailed, match=remedy):
        raise error


def test_no_route_is_a_failed_publish_that_says_what_to_do() -> None:
    error = NoRoute("depot", "rk")

    assert isinstance(error, PublishFailed)
    assert (error.exchange, error.key) == ("depot", "rk")
    assert "start its receiver" in str(error)
