"""Remote commands from senders that may and may not give them, and the groups they change."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import gevent
import gevent.event
import pytest

from postage import messaging
from postage.errors import SettingsError
from postage.generic_application import GenericApplication, GenericApplicationExchange
from postage.testing.polling import wait_until
from tests.support.programs import Program
from tests.support.running import SOON, running

pytestmark = pytest.mark.usefixtures("broker_env")


class Anonymous(messaging.GenericProducer):
    """Sends commands to applications."""

    eks = ((GenericApplicationExchange, "nowhere"),)


class Named(Anonymous):
    send_user_id = True


def app(endpoint: Any, rule: Any = True, suffix: str = "", **kwds: Any) -> GenericApplication:
    made = GenericApplication({"name": endpoint.queue + suffix}, **kwds)
    made.remote_control = rule
    return made


def queue(endpoint: Any, group: str) -> str:
    return f"{endpoint.queue}#{group}"


COMMANDS = ("quit", "restart", "join_group", "leave_group")


@pytest.mark.parametrize("rule", ["off", ["other"], "own-user"], ids=str)
@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_follows_the_rule(endpoint, caplog, rule: Any, command: str):
    member = app(endpoint, rule, groups=["mine"])
    with running(member):
        Anonymous().send(command, group_name="g", _key=endpoint.queue)
        wait_until(lambda: f"refused the command {command} of user None" in caplog.text, SOON)
        assert Anonymous().rpc_ping(_key=endpoint.queue)

    assert member.groups == ["mine"]


@pytest.mark.parametrize("rule", [True, "own-user", ["guest"]], ids=str)
def test_a_user_that_may_is_obeyed(endpoint, caplog, rule: Any):
    member = app(endpoint, rule)
    with running(member):
        Named().message_join_group(group_name="g", _key=endpoint.queue)
        wait_until(lambda: member.groups == ["g"], SOON)

    assert "obeys the command join_group of user 'guest'" in caplog.text


def pickled(producer: Any) -> Any:
    return pickle.loads(pickle.dumps(producer))  # noqa: S301 - our own


@pytest.mark.parametrize("duplicate", [copy.copy, pickled])
def test_a_copy_names_the_user_as_the_original_does(endpoint, duplicate: Any):
    original = Anonymous()
    original.send_user_id = True
    member = app(endpoint, "own-user")
    with running(member):
        duplicate(original).message_join_group(group_name="g", _key=endpoint.queue)
        wait_until(lambda: member.groups == ["g"], SOON)


def test_a_fingerprint_is_no_proof(endpoint, caplog):
    member = app(endpoint, "own-user")
    with running(member):
        Anonymous({**member.fingerprint, "user": "guest"}).message_quit(_key=endpoint.queue)
        wait_until(lambda: "refused the command quit" in caplog.text, SOON)
        assert Anonymous().rpc_ping(_key=endpoint.queue)


def test_the_sender_in_the_log_is_cut_and_on_one_line(endpoint, caplog):
    fingerprint = {"name": "x\n2026-01-01 CRITICAL forged\x1b[31m" + "y" * 10_000}
    with running(app(endpoint, "off")):
        Anonymous(fingerprint).message_quit(_key=endpoint.queue)
        wait_until(lambda: "refused the command quit" in caplog.text, SOON)

    (told,) = (each.getMessage() for each in caplog.records if "refused" in each.getMessage())
    assert told.isprintable()
    assert len(told) < 2000


def test_the_start_says_the_rule_once_for_each_class(endpoint, caplog):
    class Careful(GenericApplication):
        remote_control = "own-user"

    caplog.set_level("INFO")
    with running(*(Careful({"name": endpoint.queue}) for _ in range(3))):
        pass

    assert caplog.text.count("Careful: remote control is own-user.") == 1


def test_a_method_called_by_the_program_itself_has_no_sender(endpoint):
    assert not app(endpoint, "own-user")._obeys("quit")
    assert app(endpoint, "on")._obeys("quit")


# --- groups

WRONG = ["", "x" * 101, "a#b", "a*", "blue/rr", "a\nb", "\x1b[31m", None, 7, ["g"], {"a": 1}]


@pytest.mark.parametrize("name", WRONG, ids=[repr(each)[:20] for each in WRONG])
@pytest.mark.parametrize("command", ["join_group", "leave_group"])
def test_no_command_has_a_wrong_group(endpoint, caplog, name: Any, command: str):
    member = app(endpoint)
    with running(member):
        Anonymous().send(command, {"group_name": name}, _key=endpoint.queue)
        wait_until(lambda: member.counts["handled"] == 1, SOON)

    assert (member.groups, member.counts["failed"]) == ([], 0)
    assert f"refused the command {command}" in caplog.text
    assert caplog.text.count("group_name must be") == 1


@pytest.mark.parametrize("parameters", [None, 5, "g", [], {}, {"group": "g"}], ids=repr)
def test_commands_without_a_group_are_refused(endpoint, parameters: Any):
    member = app(endpoint)
    with running(member):
        Anonymous().send("join_group", parameters, _key=endpoint.queue)
        wait_until(lambda: member.counts["handled"] == 1, SOON)

    assert (member.groups, member.counts["failed"]) == ([], 0)


@pytest.mark.parametrize("name", ["", "a#b", "x" * 101])
def test_a_program_is_told_of_a_wrong_group(endpoint, name: str):
    with pytest.raises(SettingsError, match="name of a group"):
        app(endpoint).join_group(name)


def test_the_groups_that_commands_add_have_a_limit(endpoint, raw, caplog):
    member, marker = app(endpoint, groups=["own"]), Anonymous()
    most = member.max_remote_groups
    names = [f"g{number}" for number in range(most + 5)]
    with running(member):
        for name in names:
            marker.message_join_group(group_name=name, _key=endpoint.queue)
        wait_until(lambda: member.counts["handled"] == len(names), SOON)

    assert len(member.groups) == most + 1
    assert sum(raw.exists(queue(endpoint, name)) for name in names) == most
    assert f"commands have made it join {most} groups already" in caplog.text


def test_leaving_makes_no_room_for_other_groups(endpoint, raw):
    class Two(GenericApplication):
        concurrency = 1
        max_remote_groups = 2

    member, marker = Two({"name": endpoint.queue}), Anonymous()
    with running(member):
        for number in range(9):
            for command in ("join_group", "leave_group"):
                marker.send(command, group_name=f"g{number}", _key=endpoint.queue)
        for name in ("g8", "g1"):  # g1 again: its queue is there already
            marker.message_join_group(group_name=name, _key=endpoint.queue)
        wait_until(lambda: member.counts["handled"] == 20, SOON)

    assert member.groups == ["g1"]
    assert [raw.exists(queue(endpoint, f"g{number}")) for number in range(9)] == [
        *(True, True),
        *[False] * 7,
    ]


def test_a_restart_makes_no_room_for_other_groups(endpoint, raw):
    marker, key = Anonymous(), endpoint.queue
    with Program("tests/green/programs/restarting_member.py", key) as program:
        for run in range(3):
            wait_until(lambda run=run: program.stdout.count("runs") == run + 1, SOON)
            for name in ("mine", f"g{run}"):  # the first one may be joined again: its queue exists
                marker.message_join_group(group_name=name, _key=key)
            groups = marker.rpc_describe(_key=key).value["groups"]
            assert groups == (["mine"] if run else ["mine", "g0"])
            (marker.message_restart if run < 2 else marker.message_quit)(_key=key)
        assert program.wait(SOON).code == 0, program.stderr

    found = [raw.exists(queue(endpoint, name)) for name in ("mine", "g0", "g1", "g2")]
    assert found == [True, True, False, False]


def test_a_program_joins_as_many_groups_as_it_likes(endpoint):
    class Careful(GenericApplication):
        max_remote_groups = 0

    names = [f"g{number}" for number in range(3)]
    member = Careful({"name": endpoint.queue}, groups=names)
    member.join_group("more")

    assert member.groups == [*names, "more"]


def test_commands_at_the_same_time_are_obeyed_one_by_one(endpoint):
    member, marker = app(endpoint), Anonymous()
    with running(member):
        for number in range(100):
            for command in ("join_group", "leave_group"):
                marker.send(command, group_name=f"g{number % 7}", _key=endpoint.queue)
        wait_until(lambda: member.counts["handled"] == 200, SOON)
        keys = [key for _, key in member.consumer.qk_list if "#" in key]
        assert sorted(keys) == sorted(
            f"{endpoint.queue}#{group}{end}" for group in member.groups for end in ("", "/rr")
        )


def test_a_group_keeps_its_messages_when_all_have_left(endpoint, raw):
    member = app(endpoint, groups=["g"])  # it does not consume yet
    Anonymous().message_mark(_key=f"{endpoint.queue}#g/rr")

    member.leave_group("g")

    wait_until(lambda: raw.count(queue(endpoint, "g")) == 1, SOON)


def test_a_message_returns_after_the_last_member_has_left(endpoint, raw):
    class Busy(GenericApplication):
        shutdown_timeout = 0.1
        began = gevent.event.Event()

        @messaging.MessageHandler("command", "work")
        def work(self, content):
            self.began.set()
            gevent.sleep(SOON)

    holder, other = Busy({"name": endpoint.queue}), app(endpoint)
    with running(holder, other):
        Anonymous().message_join_group(group_name="g", _key=endpoint.queue)
        wait_until(lambda: holder.groups == other.groups == ["g"], SOON)
        other.leave_group("g")
        Anonymous().message_work(_key=f"{endpoint.queue}#g/rr")
        assert Busy.began.wait(SOON)
        other.join_group("g")
        holder.leave_group("g")  # it holds the message, but consumes no longer
        other.leave_group("g")

    wait_until(lambda: raw.count(queue(endpoint, "g")) == 1, SOON)
