"""``postage run``: in one process, and in several under a parent."""

from __future__ import annotations

import itertools
import json
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from postage.cli.running.parent_pipe import ParentPipe
from postage.cli.running.workers import worker_command
from postage.testing.polling import wait_until
from tests.cli.support import (
    PROGRAMS,
    SOON,
    answer_of,
    children,
    in_process,
    postage,
    running,
    together,
    wait_for_end,
    with_url,
)
from tests.support.programs import Program
from tests.support.raw import raw_to
from tests.support.stopwatch import Stopwatch

SECRET = "not-the-password"


def process_of(answer: Any = None) -> int:
    return int((answer or answer_of("call", "cli-fleet", "echo", "process"))["pid"])


@pytest.fixture
def hangup() -> Iterator[None]:
    """Let SIGHUP end programs, also if the tests run under nohup, which has it ignored."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


# --- one process


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_module_runs_until_a_signal(broker_env, hangup, number: int):
    with running("run", "fleet") as program:
        program.wait_for_line("Running 2 components: Echo, Monitor.", SOON)
        assert process_of() == program.pid
        program.popen.send_signal(number)
        ended = program.wait(SOON)

    assert (ended.code, ended.stdout) == (0, "")
    assert "All components have ended." in ended.stderr


def test_a_name_is_a_class_an_instance_or_a_function(broker_env):
    targets = ("fleet:Echo", "variety", "variety:instance", "variety:generated", "fleet:two")
    with running("run", *targets) as program:
        line = program.wait_for_line("Running ", SOON)
        ended = program.terminate()

    kinds = "Echo, Made, Whole, Made, Whole, _Hidden, Monitor, Monitor"
    assert line.endswith(f"Running 8 components: {kinds}.")
    assert ended.code == 0


def test_options_reach_the_processors(broker_env):
    options = ("--concurrency", "7", "--shutdown-timeout", "1.5")
    with running("run", "fleet:Echo", *options) as program:
        answer = answer_of("call", "cli-fleet", "echo", "process", "--timeout", str(SOON))

        assert answer == {"pid": program.pid, "at_a_time": 7, "patience": 1.5}


def test_the_command_quit_ends_it(broker_env):
    with running("run", "fleet:Echo") as program:
        program.wait_for_line("Running", SOON)
        assert postage("send", "cli-fleet", "echo", "quit").code == 0

        ended = program.wait(SOON)

    assert ended.code == 7  # supervisors take it for a failure: a message must not end a service
    assert "obeys the command quit of user 'guest'" in ended.stderr


@pytest.mark.parametrize(
    "options",
    [("--no-remote-control",), ("--remote-control", "off"), ("--remote-control", "ops,deploy")],
    ids=" ".join,
)
def test_options_of_remote_control_beat_the_class(broker_env, options: tuple[str, ...]):
    with running("run", "fleet:Echo", *options) as program:
        program.wait_for_line("Running", SOON)
        assert postage("send", "cli-fleet", "echo", "quit").code == 0
        wait_until(lambda: "refused the command quit of user 'guest'" in program.stderr, SOON)

        assert program.terminate().code == 0


@pytest.mark.parametrize("rule", ["own-user", "ops,guest"])
def test_own_users_are_obeyed(broker_env, rule: str):
    with running("run", "fleet:Echo", "--remote-control", rule) as program:
        program.wait_for_line("Running", SOON)
        assert postage("send", "cli-fleet", "echo", "quit").code == 0

        assert program.wait(SOON).code == 7


@pytest.mark.parametrize("rule", ["", ",", "a,,b", "x" * 256])
def test_a_wrong_rule_of_remote_control_is_a_mistake(capsys, rule: str):
    assert in_process(capsys, "run", "fleet:Echo", "--remote-control", rule).code == 2


def test_two_rules_of_remote_control_are_a_mistake(capsys):
    options = ("--remote-control", "on", "--no-remote-control")

    assert in_process(capsys, "run", "fleet:Echo", *options).code == 2


def test_the_log_can_be_json(broker_env):
    with running("run", "fleet:Echo", "--log-json", "--log-level", "debug") as program:
        program.wait_for_line("Running", SOON)
        postage("call", "cli-fleet", "echo", "fail")
        ended = program.terminate()

    records = [json.loads(line) for line in ended.stderr.splitlines()]
    assert {record["pid"] for record in records} == {program.pid}
    failed = next(r for r in records if "Echo.fail rejected the message 'fail'" in r["message"])
    assert failed["message"].endswith(": not today")
    assert len(failed["correlation_id"]) == 32  # of the call in hand
    assert "correlation_id" not in records[0]


def test_the_log_names_the_message_in_hand(broker_env):
    with running("run", "fleet:Echo") as program:
        program.wait_for_line("Running", SOON)
        postage("call", "cli-fleet", "echo", "fail")
        postage("send", "cli-fleet", "echo", "quit")
        ended = program.wait(SOON)

    ids = [re.search(r" postage\S+ \[(\w+) (\S+)\]: ", line) for line in ended.stderr.splitlines()]
    names = [match[1] for match in ids if match]
    assert names == ["correlation_id", "message_id"]
    assert "postage.dispatch [correlation_id " in ended.stderr
    assert re.search(r" INFO postage\S+: Running", ended.stderr)


def test_embedded_needs_no_broker_and_others_can_reach_it():
    env = with_url("amqp://127.0.0.1:1/")
    with running("run", "fleet:Echo", "--embedded", env=env) as program:
        url = program.wait_for_line("--url", SOON).split()[-1]
        ended = postage("call", "--url", url, "cli-fleet", "echo", "echo", "hello", env=env)

    assert (ended.code, ended.stdout) == (0, '"hello"\n')


def test_it_waits_for_the_broker():
    from postage.broker import BrokerThread

    with BrokerThread() as first:
        port = first.port
    env = with_url(f"amqp://guest:guest@127.0.0.1:{port}/")
    with running("run", "fleet:Echo", env=env) as program:
        program.wait_for_line("No connection for consuming", SOON)
        with BrokerThread(port=port):
            program.wait_for_line("Running 1 component: Echo.", SOON)


def test_a_signal_ends_the_waiting():
    with running("run", "fleet:Echo", env=with_url("amqp://127.0.0.1:1/")) as program:
        program.wait_for_line("No connection for consuming", SOON)
        ended = program.terminate()

    assert ended.code == 0
    assert "Traceback" not in ended.stderr


# --- several processes


@pytest.fixture
def parent(broker_env, hangup) -> Iterator[Program]:
    with running("run", "fleet:Echo", "--workers", "2") as program:
        wait_until(lambda: program.stderr.count("Running 1 component") == 2, SOON)
        pids = list(children(program.pid))
        yield program
    wait_for_end(pids)
    with raw_to(broker_env.hup, broker_env.vhost) as raw:
        raw.channel.queue_delete("cli-echo")  # with what was not handled


def test_sigterm_drains_all_workers(parent: Program):
    pids = list(children(parent.pid))
    ended = parent.terminate(SOON)

    assert ended.code == 0
    assert ended.stderr.count("All components have ended.") == 2
    wait_for_end(pids)


@pytest.mark.parametrize(
    ("number", "how"),
    [
        (signal.SIGKILL, "by SIGKILL"),
        (signal.SIGTERM, "by SIGTERM"),
        (signal.SIGINT, "by SIGINT"),
        (signal.SIGHUP, "by SIGHUP"),
    ],
)
def test_a_killed_worker_is_replaced_and_leaves_no_zombie(parent: Program, number: int, how: str):
    os.kill(victim := min(children(parent.pid)), number)
    watch = Stopwatch()
    wait_until(lambda: parent.stderr.count("Running 1 component") == 3, SOON)
    assert watch.own < 2
    after = children(parent.pid)
    assert victim not in after
    assert len(after) == 2
    assert "Z" not in after.values()
    assert f"has ended {how} and is started again" in parent.stderr
    ended = parent.terminate(SOON)
    assert ended.code == 0
    assert ended.stderr.count("has ended, as it was told to.") == 2
    assert "exit code" not in ended.stderr


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGHUP, signal.SIGINT])
def test_no_worker_outlives_its_parent(parent: Program, number: int):
    pids = list(children(parent.pid))
    os.kill(parent.pid, number)
    parent.wait()

    wait_for_end(pids)
    assert parent.stderr.count("All components have ended.") == 2


def test_a_worker_that_restarts_remains_one(parent: Program):
    pids = set(children(parent.pid))
    assert postage("send", "cli-fleet", "echo", "restart").code == 0
    wait_until(lambda: parent.stderr.count("Running 1 component") == 3, SOON)

    assert set(children(parent.pid)) == pids
    parent.kill()
    wait_for_end(list(pids))


def test_a_second_signal_kills(parent: Program):
    waiting = ("call", "cli-fleet", "echo", "wait", "60", "--timeout", "60")
    with running(*waiting), running(*waiting):
        answers = (answer_of("call", "cli-fleet", "echo", "waiting") for _ in itertools.count())
        wait_until(lambda: sum(itertools.islice(answers, 2)) == 2, SOON)
        parent.popen.terminate()
        wait_until(lambda: parent.stderr.count("finishing what is running") == 2, SOON)
        ended = parent.terminate()

    assert ended.code == 1
    assert ended.stderr.count("has ended by SIGKILL") == 2


def test_workers_that_all_quit_end_the_parent(parent: Program):
    for _ in range(2):
        assert postage("send", "cli-fleet", "echo", "quit").code == 0

    ended = parent.wait(SOON)
    assert ended.code == 7
    assert ended.stderr.count("was told to quit, and is not started again") == 2


def test_sigterm_after_a_worker_has_quit_is_a_clean_end(parent: Program):
    assert postage("send", "cli-fleet", "echo", "quit").code == 0
    wait_until(lambda: "was told to quit" in parent.stderr, SOON)

    assert parent.terminate().code == 0


@pytest.mark.slow
def test_it_gives_up_on_a_worker_that_ends_again_and_again(broker_env):
    with running("run", "crashing", "--workers", "1") as program:
        ended = program.wait(SOON)

    assert ended.code == 6
    assert ended.stderr.count("has ended with exit code 9 and is started again") == 5
    assert "Traceback" not in ended.stderr


def test_an_error_that_no_restart_cures_ends_all_at_once(broker_env):
    ended = postage("run", "faulty:nobody", "--workers", "2")

    assert ended.code == 2
    assert "module 'faulty' has no 'nobody'" in ended.stderr
    assert "started again" not in ended.stderr


def test_the_command_of_a_worker_is_ours_plus_its_pipe():
    whole = ["python", "-W", "error", "-m", "postage", "run", "a", "--workers", "2"]
    command = worker_command(whole, ["/x/postage/__main__.py", *whole[5:]], ParentPipe(1, 7))

    assert command[1:] == [*whole[1:6], "--worker", "1:7", *whole[6:]]


@pytest.mark.parametrize("url", [["--url", "amqp://u:p@h"], ["--url=amqp://u:p@h"]], ids=len)
def test_the_command_of_a_worker_has_no_url(url: list[str]):
    whole = ["python", "-m", "postage", "run", "a", *url, "--workers", "2", "--", "--url"]
    command = worker_command(whole, ["/x/postage/__main__.py", *whole[3:]], ParentPipe(1, 7))

    assert command[4:] == ["--worker", "1:7", "a", "--workers", "2", "--", "--url"]


def test_workers_get_the_url_by_their_environment(broker_env):
    env = with_url("amqp://127.0.0.1:1/")
    options = ("--workers", "2", "--url", str(broker_env.url))
    with running("run", "fleet:Echo", *options, env=env) as program:
        wait_until(lambda: program.stderr.count("Running 1 component") == 2, SOON)
        workers = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in children(program.pid)]

    assert len(workers) == 2
    assert not any(b"amqp" in each for each in workers)


# --- what cannot be run


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("fleet.py",), "Error: 'fleet.py' is a file; give the module, as fleet"),
        ((":Echo",), "Error: ':Echo' is no MODULE or MODULE:NAME"),
        ((f"amqp://me:{SECRET}@x/",), "Error: amqp://... is a URL: write --url before it"),
        ((), "Error: Missing argument 'MODULE[:NAME]...'"),
        (("fleet", "--workers", "0"), "Error: Invalid value for '--workers'"),
        (("fleet", "--url", "amqp://x/", "--embedded"), "Error: --url and --embedded name two"),
        (("fleet", "--shutdown-timeout", "nan"), "Error: Invalid value for '--shutdown-timeout'"),
        (("fleet", "--shutdown-timeout", "-1"), "Error: Invalid value for '--shutdown-timeout'"),
    ],
)
def test_a_mistake_in_usage_is_a_line_and_exit_code_2(capsys, arguments, line):
    ended = in_process(capsys, "run", *arguments)

    assert (ended.code, ended.stdout) == (2, "")
    assert ended.stderr.splitlines()[-1].startswith(line)
    assert SECRET not in ended.stderr


CANNOT_RUN = {
    "nowhere": (2, "Error: No module named 'nowhere' here"),
    "nowhere.at.all": (2, "Error: No module named 'nowhere' here"),
    "exiting": (2, "Error: module 'exiting' ended the program when it was imported"),
    "plain": (2, "Error: module plain defines no processor; name one: plain:NAME"),
    "fleet:Nobody": (2, "Error: module 'fleet' has no 'Nobody'"),
    "faulty:VALUE": (2, "Error: faulty:VALUE: 5 is no processor, nor makes one"),
    "fleet:FleetExchange": (2, "Error: fleet:FleetExchange: FleetExchange is no processor"),
    "faulty:junk": (2, "Error: faulty:junk: junk returned 'junk', and no processor"),
    "faulty:nothing": (2, "Error: faulty:nothing: nothing returned [], and no processor"),
    "faulty:Demanding": (2, "Error: Demanding cannot be made: missing a required argument"),
    "faulty:Mismatching": (5, "TopologyMismatch: queue 'cli-mismatch' exists with"),
}


def test_a_target_that_cannot_be_run_is_a_line_and_a_code(broker_env):
    ends = together(*(("run", target) for target in CANNOT_RUN))

    for ended, (code, line) in zip(ends, CANNOT_RUN.values(), strict=True):
        assert (ended.code, ended.stdout) == (code, ""), ended
        assert ended.stderr.splitlines()[-1].startswith(line)
        assert "Traceback" not in ended.stderr


def test_a_second_process_of_one_identity_is_exit_code_5(broker_env):
    with running("run", "twin") as program:
        program.wait_for_line("Running", SOON)
        ended = postage("run", "twin")

    assert (ended.code, ended.stdout) == (5, "")
    told = "IdentityTaken: another process has the queue '1@x', which this application needs"
    assert ended.stderr.splitlines()[-1].startswith(told)
    assert "Traceback" not in ended.stderr


FAILS = {
    "raising": (2, "module 'raising' cannot be imported: ValueError: this", "    fail()"),
    "importing": (2, "module 'importing' cannot be imported: ModuleNot", "    import not_instal"),
    "faulty:Unmakeable": (1, "Unmakeable cannot be made: RuntimeError: no luck", "    raise Runt"),
}


def test_a_failure_in_user_code_has_its_traceback(broker_env):
    ends = together(*(("run", target) for target in FAILS))

    for ended, (code, last, first) in zip(ends, FAILS.values(), strict=True):
        lines = ended.stderr.splitlines()
        assert ended.code == code
        assert lines[0] == "Traceback (most recent call last):"
        assert lines[2].startswith(first)
        assert lines[-1].startswith(f"Error: {last}")
        assert "postage/cli" not in ended.stderr.replace(str(PROGRAMS), "")


@pytest.mark.parametrize("level", ["info", "warning", "debug"])
def test_the_log_says_each_thing_once_and_not_as_pika_does(broker_env, level: str):
    url = broker_env.url.replace("guest:guest", f"guest:{SECRET}")
    login, queue = together(
        ("run", "fleet:Echo", "--no-wait", "--log-level", level, "--url", url),
        ("run", "faulty:Mismatching", "--no-wait", "--log-level", level),
    )

    assert (login.code, queue.code) == (3, 5)
    for ended in (login, queue):
        assert " pika." not in ended.stderr


def test_no_broker_and_no_waiting_is_exit_code_3():
    url = f"amqp://me:{SECRET}@127.0.0.1:1/"

    ended = postage("run", "fleet:Echo", "--no-wait", "--url", url)

    assert ended.code == 3
    assert ended.stderr.splitlines()[-1].startswith("BrokerUnreachable: no AMQP 0-9-1 broker")
    assert SECRET not in ended.stderr


def test_a_wrong_password_ends_it_at_once_and_is_not_shown(broker_env):
    url = broker_env.url.replace("guest:guest", f"guest:{SECRET}")

    ended = postage("run", "fleet:Echo", "--url", url, "--workers", "2")

    assert ended.code == 3
    assert "AuthenticationFailed: " in ended.stderr
    assert SECRET not in ended.stderr
