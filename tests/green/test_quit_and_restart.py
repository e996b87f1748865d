"""Programs that are told to quit or to restart."""

from __future__ import annotations

import signal
from typing import Any

import pytest

from postage.testing.polling import wait_until
from tests.support.endpoints import Endpoint
from tests.support.programs import Program
from tests.support.running import SOON

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("broker_env")]

SCRIPT = "tests/green/programs/component.py"


@pytest.fixture
def component(endpoint: Endpoint):
    """The program, ready, and a producer for its first processor."""
    producer = endpoint.producer(eks=[(endpoint.exchange, "one")])
    with Program("-B", SCRIPT, endpoint.queue, "an argument", "--flag") as program:
        program.wait_for_line("run 1 of")
        yield program, producer


def quit_both(producer: Any) -> None:
    producer.message_quit(_key="one")
    producer.message_quit(_key="two")


@pytest.mark.behaviour("quit-and-restart")
def test_code_after_the_loop_runs_after_the_last_quit(component):
    program, producer = component
    producer.message_quit()
    assert producer.rpc_echo("still here", _key="two").value == "still here"
    assert program.running

    producer.message_quit(_key="two")
    finished = program.wait()

    assert finished.code == 0, finished.stderr
    assert finished.stdout.splitlines()[-1] == "after the loop"
    told = finished.stderr.splitlines()  # warnings: a program that sets up no log shows them
    assert [" obeys the command quit of user None" in line for line in told] == [True, True], told


@pytest.mark.behaviour("quit-and-restart")
def test_restart_runs_the_same_program_and_arguments_once(component, raw, endpoint):
    program, producer = component
    first = program.wait_for_line("run 1 of")

    producer.message_restart()

    second = program.wait_for_line("run 2 of")
    assert second == first.replace("run 1", "run 2")  # pid, arguments, interpreter's options
    assert producer.rpc_echo("anew").value == "anew"
    assert (
        raw.count(endpoint.sub("one")) == 0
    )  # the command is acknowledged, it does not come again
    quit_both(producer)
    finished = program.wait()
    assert finished.code == 0, finished.stderr
    assert "run 3" not in finished.stdout


@pytest.mark.behaviour("quit-and-restart")
def test_a_restart_waits_for_the_messages_of_other_processors(component, raw, endpoint):
    program, producer = component
    for _ in range(3):
        producer.message_work(0.4, _key="two")
    wait_until(lambda: program.stdout.count("began") == 3, SOON)

    producer.message_restart()
    program.wait_for_line("run 2 of")

    assert raw.count(endpoint.sub("two")) == 0
    before, _, _ = program.stdout.partition("run 2 of")
    assert before.count("finished") == 3  # and nothing that was printed is lost


@pytest.mark.behaviour("quit-and-restart")
def test_restart_works_for_a_program_run_as_a_module(endpoint):
    producer = endpoint.producer(eks=[(endpoint.exchange, "one")])
    module = SCRIPT.removesuffix(".py").replace("/", ".")
    with Program("-m", module, endpoint.queue) as program:
        program.wait_for_line("run 1 of")
        producer.message_restart()
        program.wait_for_line("run 2 of")
        quit_both(producer)
        assert program.wait().code == 0


@pytest.mark.behaviour("quit-and-restart")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_loop_after_the_running_messages(component, raw, endpoint, number):
    program, producer = component
    producer.message_work(0.4)
    program.wait_for_line("began")

    program.popen.send_signal(number)
    finished = program.wait()

    assert finished.code == 0, finished.stderr
    assert finished.stdout.splitlines()[-2:] == ["finished", "after the loop"]
    assert raw.count(endpoint.sub("one")) == 0


@pytest.mark.behaviour("quit-and-restart")
def test_a_second_signal_ends_at_once_and_requeues(component, raw, endpoint):
    program, producer = component
    producer.message_work(30)
    program.wait_for_line("began")

    program.popen.send_signal(signal.SIGTERM)
    wait_until(lambda: not raw.consumers(endpoint.sub("one")), SOON)  # it drains
    program.popen.send_signal(signal.SIGTERM)
    finished = program.wait(5)

    assert finished.code == 128 + signal.SIGTERM
    assert "finished" not in finished.stdout
    wait_until(lambda: raw.count(endpoint.sub("one")) == 1, SOON)
