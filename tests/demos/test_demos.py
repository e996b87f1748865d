"""The demos run as a reader would run them: as programs, in shells of their own."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gevent.server
import pytest

from postage import messaging
from postage.testing.polling import wait_until
from tests.support.endpoints import exchange
from tests.support.programs import ROOT, Program, run_program
from tests.support.raw import raw_to

DEMOS = ROOT / "demos"
ECHOES = ("basic_echo", "advanced_echo", "rpc_echo")
PROGRAMS = [
    *(f"{echo}/echo_{end}.py" for echo in ECHOES for end in ("receive", "send")),
    "many_components/many_components.py",
    "pipeline/pipeline_run.py",
    "retry/retry_run.py",
    "fleet/fleet.py",
]
SECRET = "not-the-password"
READY = "waiting for messages"
#: Seconds for a Python program to start, connect and print a line, on a busy machine.
SOON = 20.0


def path(name: str) -> str:
    return str(DEMOS / name)


@contextmanager
def receiver(echo: str, **options: Any) -> Iterator[Program]:
    with Program(path(f"{echo}/echo_receive.py"), **options) as program:
        program.wait_for_line(READY, SOON)
        yield program


def send(echo: str, **options: Any) -> str:
    """Run the sender of *echo*; return what it printed."""
    ended = run_program(path(f"{echo}/echo_send.py"), **options)
    assert (ended.code, ended.stderr) == (0, ""), ended
    return ended.stdout


def lines(program: Program) -> list[str]:
    return program.stdout.splitlines()


@pytest.fixture(autouse=True)
def _empty_queue(broker_env: Any) -> Iterator[None]:
    """Delete the queue that all echoes share, with the messages that a test left in it."""
    yield
    with raw_to(broker_env.hup, broker_env.vhost) as raw:
        raw.channel.queue_delete("echo-queue")


# --- what the demos show


@pytest.mark.behaviour("package-and-version", "demos")
def test_basic_echo_prints_what_was_sent(broker_env):
    with receiver("basic_echo") as program:
        assert send("basic_echo") == "sent\n"
        program.wait_for_line("A test message")
        ended = program.terminate()

    assert (ended.code, ended.stderr) == (0, "")


@pytest.mark.behaviour("shared-queues")
def test_basic_echo_finds_what_was_sent_while_nobody_received(broker_env):
    with receiver("basic_echo") as program:
        program.terminate()
    send("basic_echo")

    with receiver("basic_echo") as program:
        program.wait_for_line("A test message")


@pytest.mark.behaviour("handler-decorators", "several-handlers", "round-robin-and-fan-out", "demos")
def test_advanced_echo_serves_receivers_in_turn_and_all_at_once(broker_env):
    with receiver("advanced_echo") as one, receiver("advanced_echo") as other:
        for _ in range(4):
            send("advanced_echo")
        fan_out, single = "A fanout test message", "A single test message"
        wait_until(lambda: all(lines(each).count(fan_out) == 4 for each in (one, other)), SOON)
        wait_until(lambda: lines(one).count(single) + lines(other).count(single) == 4, SOON)

        assert lines(one).count(single) == lines(other).count(single) == 2
        wait_until(lambda: one.stdout.count("Message fingerprint: ") == 6, SOON)
        assert "'name': 'echo_send', 'type': 'application'" in one.stdout


@pytest.mark.behaviour("rpc-call", "handler-decorators", "demos")
def test_rpc_echo_prints_the_answer(broker_env):
    with receiver("rpc_echo") as program:
        assert send("rpc_echo") == "RPC message received\n"
        program.wait_for_line("RPC test message")


@pytest.mark.behaviour("rpc-immediate-failures")
def test_rpc_echo_says_at_once_that_no_server_runs(broker_env):
    ended = run_program(path("rpc_echo/echo_send.py"), within=SOON)

    assert ended.code == 1
    assert re.fullmatch(r"RPC failed: NoRoute: .*\n", ended.stderr)


def test_many_components_prints_a_line_a_second(broker_env):
    with Program(path("many_components/many_components.py"), "--seconds", "60") as program:
        wait_until(lambda: program.stdout.count("\n") >= 3, 3 * SOON)
        ended = program.terminate()

    assert ended.stderr == ""
    for line in ended.stdout.splitlines()[:3]:
        assert re.fullmatch(
            r"[1-9]\d* calls, [1-9]\d* messages, 0 errors this second; 2 connections", line
        )


def test_many_components_ends_by_itself(broker_env):
    ended = run_program(path("many_components/many_components.py"), "--seconds", "0.5")

    assert (ended.code, ended.stderr) == (0, "")


PIPELINE = ("suppliers:everybody", "ship", "quote", "check")
WAYS = {
    "as a program": ((path("pipeline/pipeline_run.py"),), "waiting for orders"),
    "by postage run": (("-m", "postage", "run", *PIPELINE), "Running 6 components"),
}


@pytest.mark.behaviour("filters", "filter-errors")
@pytest.mark.parametrize(("arguments", "ready"), WAYS.values(), ids=WAYS)
def test_the_pipeline_ships_what_can_be_had_where_it_is_cheapest(
    broker_env, arguments: tuple[str, ...], ready: str
):
    with Program(*arguments, cwd=DEMOS / "pipeline") as program:
        program.wait_for_line(ready, SOON)
        assert run_program(path("pipeline/pipeline_send.py")).stdout == "sent\n"
        wait_until(lambda: len(lines(program)) >= 3 + program.stdout.startswith("waiting"), SOON)
        ended = program.terminate()

    assert (ended.code, sorted(ended.stdout.splitlines()[-3:])) == (0, SHIPPED)
    assert "Traceback" not in ended.stderr


SHIPPED = [
    "10 bolt from bolts-r-us: 30",
    "100 nut from nuts-and-more: 100",
    "7 screw from nuts-and-more: 28",
]


PAID = """\
landlord: trying
landlord: trying
landlord: trying
landlord: trying
landlord: trying
landlord: paid
nobody: trying
tax office: trying
tax office: trying
tax office: trying
tax office: trying
tax office: trying
tax office: trying
parked, tries: 1: nobody has the account 'nobody'
parked, tries: 6: the bank does not answer
tax office: trying
tax office: paid
replayed: 1, still parked: 1
"""


def test_retry_pays_when_the_bank_is_back(broker_env):
    ended = run_program(path("retry/retry_run.py"), within=SOON)

    assert (ended.code, ended.stderr) == (0, "")
    # The replayed payment may be made before the replay has returned.
    *before, last, but_one, final = ended.stdout.splitlines()
    shown = [*before, *sorted((last, but_one, final), reverse=True)]
    assert shown == PAID.splitlines()
    listed = run_program("-m", "postage", "dlq", "ls", "payments")
    assert (listed.code, "builtins.LookupError" in listed.stdout) == (0, True), listed


def ps(*key: str) -> list[dict[str, Any]]:
    """Return what ``postage ps`` reports about the applications behind *key*."""
    ended = run_program("-m", "postage", "ps", *key, "--json")
    assert (ended.code, ended.stderr) == (0, ""), ended
    found: list[dict[str, Any]] = json.loads(ended.stdout)
    return found


@pytest.mark.behaviour("application-arguments", "application-keys", "application-groups")
def test_fleet_is_seen_at_work(broker_env):
    with Program(path("fleet/fleet.py")) as program:
        program.wait_for_line("the post office is open", SOON)
        found, in_the_north = ps(), ps("courier#north")
        ended = program.terminate()

    assert (ended.code, ended.stderr) == (0, "")
    assert [(each["fingerprint"]["name"], each["groups"]) for each in found] == [
        *[("clerk", [])] * 3,
        *(("courier", groups) for groups in (["north"], ["south"], ["north", "south"])),
    ]
    assert [each["key"] for each in in_the_north] == [found[3]["key"], found[5]["key"]]
    assert sum(each["rate"] for each in found) > 0
    assert all(each["statistics"]["failed"] == 0 for each in found + in_the_north)
    assert all(each["statistics"]["handled"] > each["inquiries"] for each in in_the_north)


@pytest.mark.parametrize("echo", ECHOES)
def test_they_run_from_any_directory(broker_env, tmp_path: Path, echo: str):
    with receiver(echo, cwd=tmp_path) as program:
        send(echo, cwd=tmp_path)
        program.wait_for_line("test message")


# --- how the demos end


class Controller(messaging.GenericProducer):
    eks = ((exchange("echo-exchange"), "echo-rk"),)


@pytest.mark.behaviour("quit-and-restart", "demos")
@pytest.mark.parametrize("echo", ECHOES)
def test_the_command_quit_ends_a_receiver(broker_env, echo: str):
    with receiver(echo) as program:
        Controller().message_quit()
        ended = program.wait()

    assert ended.code == 0
    (told,) = ended.stderr.splitlines()  # a warning: a program that sets up no log shows it
    assert " obeys the command quit of user None" in told


@pytest.mark.behaviour("quit-and-restart")
def test_the_code_after_the_loop_runs_when_the_receiver_has_quit(broker_env):
    with receiver("basic_echo") as program:
        Controller().message_quit()
        assert program.wait().stdout.endswith("the receiver has quit\n")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("echo", ECHOES)
def test_signals_end_a_receiver(broker_env, echo: str, number: int):
    with receiver(echo) as program, raw_to(broker_env.hup, broker_env.vhost) as raw:
        wait_until(lambda: raw.consumers("echo-queue"), SOON)  # its loop handles signals
        program.popen.send_signal(number)
        ended = program.wait()

    assert (ended.code, ended.stderr) == (0, "")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_end_many_components(broker_env, number: int):
    with Program(path("many_components/many_components.py")) as program:
        program.wait_for_line("2 connections", SOON)
        program.popen.send_signal(number)
        ended = program.wait()

    assert (ended.code, ended.stderr) == (0, "")
    assert [line for line in ended.stdout.splitlines() if " 0 errors " not in line] == []


# --- brokers that cannot be used


def assert_one_clear_line(name: str, error: str, env: dict[str, str]) -> str:
    """Check that the demo *name* ends with one clear line in *env*; return the line."""
    ended = run_program(path(name), env=env, within=SOON)
    assert ended.code == 3, ended
    assert ended.stdout == ""
    assert re.fullmatch(rf"{error}: [^\n]+\n", ended.stderr), ended.stderr
    assert SECRET not in ended.stderr
    assert "pika" not in ended.stderr
    return ended.stderr


@pytest.mark.behaviour("login-failure", "demos")
class TestBrokerProblems:
    """Each demo has one of the five problems: all of them would take a minute."""

    @pytest.mark.parametrize("name", PROGRAMS[0::5])
    def test_nobody_listens_there(self, broker_env, name: str):
        env = broker_env.environment() | {"POSTAGE_PORT": "1"}

        assert "127.0.0.1:1 " in assert_one_clear_line(name, "BrokerUnreachable", env)

    @pytest.mark.parametrize("name", PROGRAMS[1::5])
    def test_the_host_does_not_exist(self, broker_env, name: str):
        env = broker_env.environment() | {"POSTAGE_HOST": "no-such-host.invalid"}

        assert "no-such-host.invalid" in assert_one_clear_line(name, "BrokerUnreachable", env)

    @pytest.mark.parametrize("name", PROGRAMS[2::5])
    def test_the_password_is_wrong(self, broker_env, name: str):
        env = broker_env.environment() | {"POSTAGE_PASSWORD": SECRET}

        assert "POSTAGE_PASSWORD" in assert_one_clear_line(name, "AuthenticationFailed", env)

    @pytest.mark.parametrize("name", PROGRAMS[3::5])
    def test_the_vhost_is_unknown(self, broker_env, name: str):
        env = broker_env.environment() | {"POSTAGE_VHOST": "nowhere"}

        assert "'nowhere'" in assert_one_clear_line(name, "VhostRefused", env)

    @pytest.mark.parametrize("name", PROGRAMS[4::5])
    def test_it_is_no_amqp_broker(self, broker_env, name: str):
        with http_server() as port:
            env = broker_env.environment() | {"POSTAGE_PORT": str(port)}
            assert f":{port} " in assert_one_clear_line(name, "BrokerUnreachable", env)


@contextmanager
def http_server() -> Iterator[int]:
    """Run a server that answers like an HTTP server; give its port."""

    def answer(sock: Any, _address: Any) -> None:
        sock.recv(1000)
        sock.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")

    server = gevent.server.StreamServer(("127.0.0.1", 0), answer)
    server.start()
    try:
        yield server.server_port
    finally:
        server.stop()


def test_a_port_that_is_no_number_is_a_mistake_in_usage(broker_env):
    env = broker_env.environment() | {"POSTAGE_PORT": "five"}
    ended = run_program(path("rpc_echo/echo_send.py"), env=env)

    expected = "SettingsError: POSTAGE_PORT: port must be a number from 1 to 65535, not 'five'\n"
    assert (ended.code, ended.stderr) == (2, expected)


@pytest.mark.behaviour("shared-queues")
def test_a_queue_with_other_flags_is_one_clear_line(broker_env):
    with raw_to(broker_env.hup, broker_env.vhost) as raw:
        raw.declare("echo-queue", auto_delete=True)
    ended = run_program(path("basic_echo/echo_receive.py"))

    assert ended.code == 5
    assert re.fullmatch(r"TopologyMismatch: queue 'echo-queue' [^\n]+\n", ended.stderr)


@pytest.mark.behaviour("demos")
def test_demo_files_are_short():
    files = sorted(DEMOS.rglob("*.py"))
    long = [str(file) for file in files if len(file.read_text().splitlines()) >= 40]

    assert len(files) >= len(PROGRAMS)
    assert not long
