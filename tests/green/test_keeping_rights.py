"""Users who may not park or delay: messages stay unacknowledged, and nobody else is disturbed."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import gevent
import pytest

from postage import Retry, green, messaging
from postage.settings import Settings
from postage.testing.polling import wait_until
from tests.support.broker_commands import control
from tests.support.endpoints import Endpoint
from tests.support.raw import Raw
from tests.support.recorder import Handles, Recorder
from tests.support.running import SOON, running
from tests.support.stopwatch import Stopwatch
from tests.support.undisturbed import Bystander

pytestmark = [
    pytest.mark.usefixtures("broker_env"),
    pytest.mark.needs_rabbitmq("permissions"),
]

MESSAGES = 250
WATCHED = 2.0
"""Seconds for which a processor that can keep nothing is watched."""


class Lack(NamedTuple):
    """The rights of a user, all but one."""

    user: str
    delays: tuple[float, ...]
    configure: str = ".*"
    write: str = ".*"
    read: str = ".*"


def all_but(pattern: str) -> str:
    return f"^(?!{pattern}).*"


LACKS = [
    Lack("parks-not", (), configure=all_but(r".*\.parked$")),
    Lack("writes-no-default", (), write=all_but(r"amq\.default$")),
    Lack("delays-not", (0.1,), configure=all_but(r"postage\.delay")),
    Lack("writes-no-delay", (0.1,), write=all_but(r"postage\.delay")),
    Lack("reads-no-delay", (0.1,), read=all_but(r"postage\.delay")),
]


@pytest.fixture(scope="module")
def login(broker_env: Any, rabbitmq: Any) -> Callable[[str], Settings]:
    """Returns the settings of a user of `LACKS`."""
    vhost, made = broker_env.vhost, []
    for user, _, *rights in LACKS:
        made.append(f'rabbit_auth_backend_internal:add_user(<<"{user}">>, <<"pw">>, <<"t">>)')
        words = ", ".join(f"<<{json.dumps(each)}>>" for each in (user, vhost, *rights, "t"))
        made.append(f"rabbit_auth_backend_internal:set_permissions({words})")
    control(rabbitmq, "eval", ", ".join(made) + ".")
    at = {"host": broker_env.host, "port": broker_env.port, "vhost": vhost}
    return lambda user: Settings(user=user, password="pw", **at)


class Failing(Recorder):
    shutdown_timeout = 1.0

    @Handles("command", "work")
    def work(self, content: Any) -> None:
        self.seen.append(green.message().attempt)
        raise ConnectionError


@pytest.mark.parametrize("lack", LACKS, ids=lambda lack: lack.user)
def test_without_a_right_messages_stay(
    lack: Lack, endpoint: Endpoint, raw: Raw, login: Any, caplog: Any
) -> None:
    settings = login(lack.user)
    retry = Retry(delays=lack.delays) if lack.delays else None
    failing = type("Failing", (Failing,), {"retry": retry})({}, endpoint.eqk, settings=settings)
    other = Endpoint(endpoint.sub("other"))
    bystander = Bystander({}, other.eqk, settings=settings)
    known = {"eks": other.eks, "rpc_timeout": 5, "max_retry": 0}
    caller = type("Caller", (messaging.GenericProducer,), known)(settings=settings)
    sender = endpoint.producer()  # as guest
    with running(bystander), caplog.at_level(logging.WARNING):
        with running(failing):
            for number in range(MESSAGES):
                sender.message_work(number)
            wait_until(lambda: failing.counts["failed"] == MESSAGES, SOON)
            wait_until(lambda: "stays unacknowledged" in caplog.text, SOON)
            computed, end = time.process_time(), time.monotonic() + WATCHED
            answered = 0
            while time.monotonic() < end:
                caller.message_hello()
                if lack.user != "writes-no-default":  # without it nobody can reply
                    assert caller.rpc_echo(answered).value == answered
                answered += 1
                gevent.sleep(0.05)
            computed = time.process_time() - computed
            watch = Stopwatch()
        assert watch.own < failing.shutdown_timeout + 1.0
        assert bystander.counts["unhandled"] == answered
    said = [each.getMessage() for each in caplog.records]
    assert answered > WATCHED / 0.05 / 4
    assert computed < WATCHED / 4
    assert len(said) < 10, said
    assert any("403" in each and "set_permissions" in each for each in said)
    assert (len(failing.seen), failing.counts["parked"], failing.counts["delayed"]) == (
        MESSAGES,
        0,
        0,
    )
    wait_until(lambda: raw.count(endpoint.queue) == MESSAGES, SOON)
