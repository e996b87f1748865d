"""``postage call`` and ``postage send``, against a running fleet."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from postage.testing.polling import wait_until
from tests.cli.support import SOON, answer_of, in_process, postage, running, together
from tests.support.programs import Program
from tests.support.raw import exchange_exists, raw_to

SECRET = "not-the-password"


@pytest.fixture(scope="module", autouse=True)
def fleet(broker_env) -> Iterator[Program]:
    with running("run", "fleet:Echo") as program:
        program.wait_for_line("Running 1 component: Echo.", SOON)
        yield program


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        (
            ("cli-fleet", "echo", "echo", "1", "two", "a=[3]"),
            {"args": [1, "two"], "kwds": {"a": [3]}},
        ),
        (("fleet:FleetExchange", "echo.any", "echo", "-7"), -7),
        (("cli-fleet", "echo", "echo", '"grüße 🙂 \\u001b"'), "grüße 🙂 \x1b"),
        (("cli-fleet", "echo", "echo", "--exchange-type", "topic", "--timeout", "9"), {}),
    ],
)
def test_the_answer_is_json(arguments, answer):
    assert answer_of("call", *arguments) == answer


def test_control_characters_are_not_printed():
    assert "\x1b" not in postage("call", "cli-fleet", "echo", "echo", '"\\u001b[31m"').stdout


def test_ascii_is_enough_for_every_answer():
    env = os.environ | {"PYTHONIOENCODING": "ascii"}

    ended = postage("call", "cli-fleet", "echo", "echo", "🙂", env=env)

    assert (ended.code, ended.stdout) == (0, '"\\ud83d\\ude42"\n')


def test_a_sent_command_arrives():
    sent = postage("send", "cli-fleet", "echo", "remember", "this=1")

    assert (sent.code, sent.stdout, sent.stderr) == (0, "", "")
    wait_until(lambda: answer_of("call", "cli-fleet", "echo", "heard") == [{"this": 1}], SOON)


ERRORS = {
    ("echo", "fail"): "Error: RejectMessage: not today",
    ("echo", "refuse"): "Error: ?[31mno",
    ("echo", "unheard-of"): "Error: UnknownCommand: nobody here handles 'unheard-of'",
    ("nobody", "echo"): "Error: NoRoute: no queue is bound to key 'nobody'",
    ("echo", "wait", "5", "--timeout", "0.1", "--retries", "1"): (
        "Error: TimeoutError: no reply within 0.1 s, 2 tries"
    ),
}


def test_an_error_as_the_answer_is_a_line_and_exit_code_4():
    ends = together(*(("call", "cli-fleet", *arguments) for arguments in ERRORS))

    for ended, line in zip(ends, ERRORS.values(), strict=True):
        assert (ended.code, ended.stdout) == (4, "")
        assert ended.stderr.startswith(line)
        assert ended.stderr.count("\n") == 1


def test_a_missing_exchange_is_not_created(broker_env):
    rest = ("cli-misspelt", "key", "name")
    line = "Error: there is no exchange 'cli-misspelt'; --exchange-type TYPE declares it\n"

    for ended in together(("call", *rest), ("send", *rest)):
        assert (ended.code, ended.stderr) == (5, line)
    with raw_to(broker_env.hup, broker_env.vhost) as raw:
        assert not exchange_exists(raw, "cli-misspelt")


def test_an_exchange_is_created_if_its_type_is_given(broker_env):
    sent = postage("send", "cli-new", "", "name", "--exchange-type", "fanout", "--transient")

    assert (sent.code, sent.stderr.partition(":")[0]) == (0, "Warning")  # it has no queue yet
    with raw_to(broker_env.hup, broker_env.vhost) as raw:
        assert exchange_exists(raw, "cli-new")


def test_an_exchange_of_another_type_is_left_alone():
    ended = postage("call", "cli-fleet", "echo", "echo", "--exchange-type", "fanout")

    assert ended.code == 5
    assert "exists with type = topic" in ended.stderr


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("call", "cli-fleet", "echo", "echo", "[1,"), "'[1,' is not JSON"),
        (("send", "cli-fleet", "echo", "echo", "NaN"), "NaN is no number that JSON has"),
        (("call", "cli-fleet", "echo", "echo", "--timout", "3"), "--timout"),
        (
            ("call", "cli-fleet", "echo", "echo", "--timeout", "NaN"),
            "'NaN' is no number of seconds",
        ),
        (("call", "cli-fleet", "echo"), "Missing argument 'NAME'"),
        (("call", "--url", f"http://me:{SECRET}@x/", "e", "k", "n"), "must begin with amqp://"),
        (("call", f"amqp://me:{SECRET}@x/", "k", "n"), "is a URL: write --url before it"),
        (
            ("call", "x", "k", "n", f"--x=amqp://me:{SECRET}@x/"),
            "--x=amqp://me:***@x/",
        ),
    ],
)
def test_mistakes_are_a_line_and_exit_code_2(capsys, monkeypatch, arguments, named):
    monkeypatch.setenv("POSTAGE_URL", "")

    ended = in_process(capsys, *arguments)

    assert (ended.code, ended.stdout) == (2, "")
    assert named in ended.stderr.splitlines()[-1]
    assert SECRET not in ended.stderr


def test_mistakes_in_modules_are_a_line_and_exit_code_2():
    mistakes = {
        "nowhere:Exchange": "Error: No module named 'nowhere' here",
        "fleet:Echo": "Error: fleet:Echo is no exchange class",
        "fleet:Lost": "Error: module 'fleet' has no 'Lost'",
        "raising:Exchange": "Error: module 'raising' cannot be imported: ValueError: this module",
    }
    ends = together(*(("call", exchange, "key", "name") for exchange in mistakes))

    assert [ended.code for ended in ends] == [2] * len(mistakes)
    for ended, line in zip(ends, mistakes.values(), strict=True):
        assert ended.stderr.splitlines()[-1].startswith(line)


def test_without_a_broker_call_and_send_fail_at_once():
    rest = ("--url", f"amqp://me:{SECRET}@127.0.0.1:1/", "exchange", "key", "name")

    for ended in together(("call", *rest), ("send", *rest)):
        assert ended.code == 3
        assert ended.stderr.startswith("BrokerUnreachable: no AMQP 0-9-1 broker answered at ")
        assert SECRET not in ended.stderr


def test_a_wrong_password_is_not_shown(broker_env):
    url = broker_env.url.replace("guest:guest", f"guest:{SECRET}")

    ended = postage("call", "--url", url, "cli-fleet", "echo", "echo")

    assert ended.code == 3
    assert ended.stderr.startswith("AuthenticationFailed: ")
    assert SECRET not in ended.stderr + ended.stdout


NO_QUEUE = "no queue is bound to exchange {exchange!r} for key {key!r}: "


@pytest.mark.parametrize(
    ("exchange", "key", "options"),
    [
        ("cli-fleet", "nobody", ()),
        ("amq.fanout", "", ()),
        ("fleet:FleetExchange", "no-one.at-all", ()),
        ("cli-unbound", "k", ("--exchange-type", "headers", "--transient")),
    ],
)
def test_a_message_without_a_queue_is_a_warning_or_code_4(exchange, key, options):
    arguments = ("send", exchange, key, "name", *options)
    warned, failed = together(arguments, (*arguments, "--mandatory"))
    text = NO_QUEUE.format(exchange=exchange.replace("fleet:FleetExchange", "cli-fleet"), key=key)

    assert (warned.code, warned.stdout, failed.code, failed.stdout) == (0, "", 4, "")
    assert warned.stderr == f"Warning: {text}the broker has dropped the message\n"
    assert failed.stderr == f"Error: {text}the message is lost\n"


def test_a_mandatory_message_that_has_a_queue_is_sent():
    sent = postage("send", "cli-fleet", "echo", "remember", "that=1", "--mandatory")

    assert (sent.code, sent.stdout, sent.stderr) == (0, "", "")
