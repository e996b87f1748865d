"""``postage ps``, ``describe``, ``health``: looking at running applications."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import re
import socket
import time
from collections.abc import Iterator

import gevent
import pytest

from postage import generic_application, messaging
from postage.cli.fleet.descriptions import COLUMNS
from postage.cli.output import as_json, table
from postage.cli.running.probes import readiness
from postage.settings import Settings
from postage.statistics_types import ConnectionStatistics
from postage.testing.polling import wait_until
from postage.testing.processors import RunProcessor
from tests.cli.support import SOON, answer_of, children, postage, running, together
from tests.support.programs import Program

HOST = socket.gethostname()
PORTS = re.compile(r"http://\S*:(\d+)/livez")


@pytest.fixture(scope="module", autouse=True)
def fleet(broker_env) -> Iterator[Program]:
    with running("run", "fleet:Echo", "fleet:two", "--health", "0", "--workers", "2") as program:
        wait_until(lambda: program.stderr.count("Running 3 components") == 2, SOON)
        yield program


def port_of(program: Program) -> str:
    return PORTS.findall(program.stderr)[0]


# --- ps


def test_ps_lists_all_applications_that_a_key_reaches(fleet: Program):
    keys = [("monitor",), (f"monitor@{HOST}",), ("monitor#blue",)]
    pids = sorted([*children(fleet.pid)] * 2)

    for ended in together(*(("ps", "--json", "--wait", "2", *key) for key in keys)):
        found = json.loads(ended.stdout)
        assert sorted(int(each["fingerprint"]["pid"]) for each in found) == pids
        assert {each["class"] for each in found} == {"fleet.Monitor"}
        assert all(each["groups"] == ["blue"] and each["uptime"] > 0 for each in found)


def test_ps_lists_all_processors_of_a_machine(fleet: Program):
    asked = ((), ("*",), ("echo",))
    here, everywhere, echo = (
        json.loads(ended.stdout)
        for ended in together(*(("ps", "--json", "--wait", "2", *key) for key in asked))
    )

    for found in (here, everywhere):
        kinds = sorted(each["kind"] for each in found)
        assert kinds == ["application"] * 4 + ["processor"] * 2
    assert [each["class"] for each in echo] == ["fleet.Echo"] * 2
    assert {each["fingerprint"]["pid"] for each in echo} == set(map(str, children(fleet.pid)))


def test_ps_prints_a_table(fleet: Program):
    pid = min(children(fleet.pid))

    ended = postage("ps", f"{pid}@{HOST}")

    assert (ended.code, ended.stderr) == (0, "")
    head, echo, *rows = ended.stdout.splitlines()
    assert re.match(rf"echo +{pid}-\d+@{HOST}  0\.0 ", echo)
    assert " ".join(head.split()) == " ".join(COLUMNS)
    # Messages that only ask for this are not counted.
    assert [row.split()[:5] for row in rows] == [
        ["monitor", f"{pid}.{number}@{HOST}", "0.0", "0", "0"] for number in (0, 1)
    ]
    assert [row.split()[5:10] for row in rows] == [["0", "0", "0", "0", "-"]] * 2
    assert [row.split()[11:] for row in rows] == [["consuming", "blue", "fleet.Monitor"]] * 2


class Old(generic_application.GenericApplication):
    """Answers only ``ping``, as applications of Postage 1.2.1 do."""

    answer_unknown = False

    def __init__(self, fingerprint):
        settings = dataclasses.replace(Settings.resolve(), discovery=False)
        super().__init__(fingerprint, settings=settings)


Old.msg_describe = None


def test_ps_lists_an_application_that_only_answers_ping(run_processor: RunProcessor):
    fingerprint = messaging.Fingerprint("old\x1b", "application").as_dict()
    run_processor(Old, fingerprint)
    row = postage("ps", "old\x1b").stdout.splitlines()[1].split()

    assert row[0] == "old?"
    assert row[2:] == ["-"] * (len(COLUMNS) - 2)


class Busy(generic_application.GenericApplication):
    """Does something."""

    @messaging.MessageHandler("command", "work")
    def work(self, content):
        """Do it."""


class Boss(messaging.GenericProducer):
    eks = ((generic_application.GenericApplicationExchange, "busy"),)


def keep_busy(boss: Boss, times: list[float]) -> None:
    while True:
        times.append(time.monotonic())
        boss.message_work()
        gevent.sleep(0.01)


def test_ps_shows_messages_per_second(run_processor: RunProcessor):
    times: list[float] = []
    run_processor(Busy, {"name": "busy"})
    driver = gevent.spawn(keep_busy, Boss(), times)
    try:
        (found,) = answer_of("ps", "busy", "--json")
    finally:
        driver.kill()

    sent = (len(times) - 1) / (times[-1] - times[0])
    assert found["statistics"]["handled"] > 0
    assert sent / 3 < found["rate"] < sent * 3  # over another, shorter time


def test_ps_without_an_answer(fleet: Program):
    asked = ("ps", "nobody", "--wait", "0.2")
    ended, as_json_ = together(asked, (*asked, "--json"))

    assert (ended.code, ended.stdout, ended.stderr) == (0, "", "Nobody has answered.\n")
    assert (as_json_.code, as_json_.stdout, as_json_.stderr) == (0, "[]\n", "")


def test_ps_and_describe_create_nothing_on_the_broker(broker_env):
    from postage.broker import BrokerThread

    with BrokerThread() as broker:
        where = ("--url", f"{broker.url}/%2F", "--wait", "0.2")
        ended, described = together(("ps", *where), ("describe", "monitor", *where))
        statistics = broker.statistics()

    assert (ended.code, ended.stderr) == (0, "Nobody has answered.\n")
    assert (described.code, described.stderr.partition(":")[2][:9]) == (4, " NoRoute:")
    assert not statistics.queues


# --- describe


def test_describe_shows_handlers_with_their_docstrings():
    ended = postage("describe", "monitor")

    assert (ended.code, ended.stderr) == (0, "")
    assert "  load\n      Answer with the load of the machine.\n\n      It is that" in ended.stdout
    assert "  monitor by monitor/rr\n" in ended.stdout


def test_describe_as_json(fleet: Program):
    pid = min(children(fleet.pid))
    described = answer_of("describe", f"{pid}.1@{HOST}", "--json")

    handlers = {(each["category"], each["name"]) for each in described["handlers"]}
    assert described["key"] == f"{pid}.1@{HOST}"
    assert {("rpc", "load"), ("rpc", "describe"), ("message", "quit")} <= handlers


def test_describe_without_an_answer_is_exit_code_4():
    ended = postage("describe", "nobody")

    assert (ended.code, ended.stdout) == (4, "")
    assert ended.stderr.startswith("Error: NoRoute: no queue is bound to key 'nobody'")


def test_without_a_broker_each_command_is_exit_code_3():
    where = ("--url", "amqp://me:secret@127.0.0.1:1/")

    for ended in together(("ps", *where), ("describe", "x", *where), ("tail", "x", *where)):
        assert (ended.code, ended.stdout) == (3, "")
        assert ended.stderr.startswith("BrokerUnreachable: ")
        assert "secret" not in ended.stderr


# --- health


def test_health_of_a_process_that_consumes(fleet: Program):
    assert answer_of("health", port_of(fleet)) == {
        "ready": True,
        "processors": 3,
        "idle": [],
        "paused": [],
        "tripped": [],
        "connections": [],
    }
    assert answer_of("health", port_of(fleet), "--live") == {"live": True}


def test_health_of_a_process_that_waits_for_its_broker():
    options = ("--health", "0", "--url", "amqp://127.0.0.1:1/")
    with running("run", "fleet:Echo", *options) as program:
        program.wait_for_line("Probes are at", SOON)
        port = port_of(program)
        assert postage("health", port, "--live").code == 0
        ended = postage("health", port)

    assert ended.code == 4
    assert ended.stderr == "Error: the process is alive, but not ready (503)\n"


@pytest.mark.parametrize(
    ("given", "served", "asked"),
    [
        (":0", "0.0.0.0", ["", "127.0.0.1:", "127.0.0.2:", ":"]),
        ("127.0.0.2:0", "127.0.0.2", ["127.0.0.2:"]),
        ("localhost:0", "localhost", ["", "localhost:"]),
    ],
)
def test_probes_are_served_where_they_are_wanted(given: str, served: str, asked: list[str]):
    options = ("--health", given, "--url", "amqp://127.0.0.1:1/")
    with running("run", "fleet:Echo", *options) as program:
        line = program.wait_for_line("Probes are at", SOON)
        port = port_of(program)
        ends = together(*(("health", f"{host}{port}", "--live") for host in asked))

    assert f"http://{served}:{port}/livez" in line
    assert [ended.code for ended in ends] == [0] * len(asked), ends


@pytest.mark.parametrize("where", ["127.0.0.2:", "127.0.0.3:"])
def test_probes_are_for_this_machine_unless_a_host_is_given(where: str):
    """Another address of the machine stands for its address in the network."""
    options = ("--health", "0", "--url", "amqp://127.0.0.1:1/")
    with running("run", "fleet:Echo", *options) as program:
        program.wait_for_line("Probes are at http://127.0.0.1:", SOON)
        ended = postage("health", where + port_of(program), "--live")

    assert ended.code == 3
    assert "Connection refused" in ended.stderr


@contextlib.contextmanager
def listening() -> Iterator[int]:
    """Give a port that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        yield silent.getsockname()[1]


def test_health_of_a_process_that_does_not_answer():
    with listening() as port:
        ended = postage("health", str(port), "--timeout", "0.2")

    assert ended.code == 3
    assert f"nothing at 127.0.0.1:{port} answers /livez as it should: timed out" in ended.stderr


def test_a_port_that_is_taken_is_exit_code_2(broker_env):
    with listening() as port:
        ended = postage("run", "fleet:Echo", "--health", str(port))

    assert ended.code == 2
    assert "Address already in use" in ended.stderr.splitlines()[-1]


class Consumer:
    def __init__(self, *, consuming: bool) -> None:
        self.consuming = consuming


class Processor:
    def __init__(self, *, consuming: bool, is_paused: bool = False, is_tripped: bool = False):
        self.consumer = Consumer(consuming=consuming)
        self.is_paused, self.is_tripped = is_paused, is_tripped


def connection(role: str, state: str) -> ConnectionStatistics:
    return ConnectionStatistics(role=role, vhost="/", state=state, losses=0, waiting=0)


@pytest.mark.parametrize(
    ("processors", "connections", "ready"),
    [
        ([True, True], [("consuming", "open"), ("publishing", "idle")], True),
        ([True], [("consuming", "open"), ("publishing", "lost")], True),
        ([True], [("consuming", "open"), ("consuming", "waiting")], False),
        ([True], [("consuming", "lost")], False),
        ([True, False], [("consuming", "open")], False),
        ([], [], False),
    ],
)
def test_ready_means_consuming_over_an_open_connection(processors, connections, ready):
    made = [Processor(consuming=each) for each in processors]

    assert readiness(made, [connection(*each) for each in connections])["ready"] is ready


def test_a_paused_processor_is_ready_and_a_tripped_one_is_not():
    paused = Processor(consuming=False, is_paused=True)
    tripped = Processor(consuming=False, is_tripped=True)
    probing = Processor(consuming=True, is_tripped=True)
    found = readiness([paused], [connection("consuming", "open")])
    assert (found["ready"], found["paused"], found["idle"]) == (True, [repr(paused)], [])
    for each in (tripped, probing):
        found = readiness([each, paused], [connection("consuming", "open")])
        assert (found["ready"], found["tripped"]) == (False, [repr(each)])


# --- what is printed


def test_tables_are_aligned_and_have_no_control_characters():
    assert table(("A", "LONG"), [(1, "x\x1b[2J"), ("two", None)]) == [
        "A    LONG",
        "1    x?[2J",
        "two  None",
    ]


@pytest.mark.parametrize(
    ("value", "encoding", "text"),
    [("ä", "utf-8", '"ä"'), ("ä", "ascii", '"\\u00e4"'), ("\x9b", "utf-8", '"\\u009b"')],
)
def test_json_is_readable_where_it_can_be(value, encoding, text):
    assert as_json(value, encoding) == text
