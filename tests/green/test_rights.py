"""The rights that docs/security.md gives to each role are enough, and none is too much."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import pytest

from postage import messaging
from postage.errors import PostageError
from postage.green import GenericApplication, GenericApplicationExchange
from postage.settings import Settings
from postage.testing.polling import wait_until
from tests.support.broker_commands import control
from tests.support.programs import ROOT, Program, run_program
from tests.support.raw import Raw
from tests.support.running import SOON, running

pytestmark = [
    pytest.mark.usefixtures("broker_env"),
    pytest.mark.needs_rabbitmq("permissions"),
]

PASSWORD = "pw"


class Role(NamedTuple):
    """A role, and the patterns of its rights."""

    name: str
    configure: str
    write: str
    read: str

    @property
    def user(self) -> str:
        return self.name.replace(" ", "-").lower()


def documented() -> list[Role]:
    """Return the roles in the table of docs/security.md."""
    text = (ROOT / "docs" / "security.md").read_text()
    lines = text.partition("role  ")[2].partition("```")[0].splitlines()[1:]
    return [Role(*re.split(r"\s{2,}", line.strip())) for line in lines if line.strip()]


ROLES = {role.name: role for role in documented()}
#: Roles that lack one right, which they need.
LACKING = [
    (name, role._replace(name=f"{name} without {right}", **{right: "^$"}))
    for name, role in ROLES.items()
    for right in ("configure", "write", "read")
    if getattr(role, right) != "^$" and name not in {"caller with queues", "operator"}
]


class Shop(messaging.Exchange):
    name = "shop"
    passive = True


class Orders(messaging.GenericProducer):
    eks = ((Shop, "order"),)
    rpc_timeout = publish_timeout = 3
    max_retry = 0


class Desk(messaging.MessageProcessor):
    eqk = ((Shop, [("shop-orders", "order")]),)

    @messaging.MessageHandler("command", "note")
    def note(self, content):
        self.seen = content["parameters"]

    @messaging.RpcHandler("command", "echo")
    def echo(self, content, reply):
        reply(content["parameters"])


class Worker(Desk):
    eqk = ((Shop, [({"name": "shop-orders", "flags": {"passive": True}}, None)]),)


class Fleet(GenericApplicationExchange):
    passive = True


class Monitor(GenericApplication):
    exchange_class = Fleet


class Asking(messaging.GenericProducer):
    eks = ((Fleet, "monitor/rr"),)
    rpc_timeout = 3
    max_retry = 0


class Case:
    """The shop, and what works in it: as a user with few rights, or as guest with all."""

    def __init__(self, raw: Raw, guest: Settings, mine: Settings) -> None:
        self.raw, self.guest, self.mine = raw, guest, mine
        for each in ("shop-orders", "monitor", "monitor#blue"):
            raw.channel.queue_delete(each)
        raw.channel.exchange_declare("shop", "direct", durable=True)
        raw.channel.exchange_declare("generic-application-exchange", "direct", durable=True)

    def make_queue(self) -> None:
        self.raw.declare("shop-orders")
        self.raw.channel.queue_bind("shop-orders", "shop", "order")

    def producer(self) -> None:
        self.make_queue()
        Orders(settings=self.mine).message_note("x")
        assert self.raw.take("shop-orders").value["name"] == "note"

    def caller(self) -> None:
        with running(Desk(settings=self.guest)):
            producer = Orders(settings=self.mine)
            for number in range(3):
                assert producer.rpc_echo(number).value == number

    def processor(self) -> None:
        desk = Desk(settings=self.mine)
        with running(desk):
            Orders(settings=self.guest).message_note("x")
            wait_until(lambda: getattr(desk, "seen", "") == "x", SOON)

    def server(self, kind: type[Desk] = Desk) -> None:
        with running(kind(settings=self.mine)):
            producer = Orders(settings=self.guest)
            for number in range(3):
                assert producer.rpc_echo(number).value == number

    def worker(self) -> None:
        self.make_queue()
        self.server(Worker)

    def application(self) -> None:
        fingerprint = {"name": "monitor", "type": "application"}
        with running(Monitor(fingerprint, groups=["blue"], settings=self.mine)):
            asking = Asking(settings=self.guest)
            assert asking.rpc_ping().value["name"] == "monitor"
            assert asking.rpc_ping(_key="monitor#blue").value["name"] == "monitor"

    def operator(self) -> None:
        with (
            running(Desk(settings=self.guest)),
            running(Monitor({"name": "monitor"}, settings=self.guest)),
        ):
            at = self.mine
            url = f"amqp://{at.user}:{at.password}@{at.host}:{at.port}/{at.vhost}"
            env = os.environ | {"POSTAGE_URL": url}
            with Program("-m", "postage", "tail", "shop", "order", "--count", "1", env=env) as tail:
                tail.wait_for_line("Listening", SOON)
                for command, expected in {
                    ("call", "shop", "order", "echo", "1"): "1",
                    ("send", "shop", "order", "note", "x=1"): "",
                    ("ps", "monitor"): "monitor",
                }.items():
                    ended = run_program("-m", "postage", *command, env=env)
                    assert ended.code == 0, ended
                    assert expected in ended.stdout
                assert '"echo"' in tail.wait(SOON).stdout


CHECKS: dict[str, Callable[[Case], None]] = {
    "producer": Case.producer,
    "caller": Case.caller,
    "caller with queues": Case.caller,
    "processor": Case.processor,
    "RPC server": Case.server,
    "worker": Case.worker,
    "generic application": Case.application,
    "operator": Case.operator,
}


@pytest.fixture(scope="module")
def login(broker_env: Any, rabbitmq: Any) -> Callable[[Role], Settings]:
    """Returns the settings of a user with the rights of a role."""
    # One command for all users: each takes a second.
    control(rabbitmq, "eval", users_of(broker_env.vhost))
    return partial(settings_of, broker_env)


def users_of(vhost: str) -> str:
    """Return Erlang that makes a user for each role and each lacking one."""
    made = []
    for role in (*ROLES.values(), *(lacking for _, lacking in LACKING)):
        made.append(f'rabbit_auth_backend_internal:add_user(<<"{role.user}">>, <<"pw">>, <<"t">>)')
        rights = ", ".join(
            '<<"{}">>'.format(each.replace("\\", "\\\\"))
            for each in (role.user, vhost, role.configure, role.write, role.read, "t")
        )
        made.append(f"rabbit_auth_backend_internal:set_permissions({rights})")
    return ", ".join(made) + "."


def settings_of(env: Any, role: Role | None) -> Settings:
    login = {} if role is None else {"user": role.user, "password": PASSWORD}
    where = {"host": env.host, "port": env.port, "vhost": env.vhost, "operation_timeout": 5.0}
    return Settings(**where, **login)


@pytest.mark.parametrize("name", ROLES)
def test_the_rights_of_a_role_are_enough(
    name: str, raw: Raw, broker_env: Any, login: Callable[[Role], Settings]
) -> None:
    CHECKS[name](Case(raw, settings_of(broker_env, None), login(ROLES[name])))


@pytest.mark.parametrize(("name", "lacking"), LACKING, ids=lambda each: getattr(each, "user", ""))
def test_a_role_needs_each_of_its_rights(
    name: str, lacking: Role, raw: Raw, broker_env: Any, login: Callable[[Role], Settings]
) -> None:
    case = Case(raw, settings_of(broker_env, None), login(lacking))

    with pytest.raises((PostageError, AssertionError)):
        CHECKS[name](case)
