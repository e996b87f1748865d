"""The pytest plugin, as users see it: in runs of pytest of their own."""

from __future__ import annotations

import os
import re
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest

from postage.testing.installations import VARIABLE
from postage.testing.rabbitmq import RabbitMQNode
from tests.support.programs import ROOT, Finished, run_program
from tests.support.pytest_options import WITHOUT

#: The page whose test users copy.
PAGE = (ROOT / "docs" / "testing.md").read_text()
USERS_TEST = re.search(r"```python\n(from postage import .*?)```", PAGE, re.DOTALL)
DELAYS = re.search(r"```python\n(from postage import [^`]*postage_clock.*?)```", PAGE, re.DOTALL)
SENDS = """
def test_sends(received):
    inbox = received(Echo, "key")
    Client().message_hello("x")
    assert [body["name"] for body in inbox.wait()] == ["hello"]
"""
FAST = 0.1
TURNS = 5
"""How often it may try: a busy machine is no slow test."""
LONGEST = 15


@pytest.fixture
def users_test() -> str:
    assert USERS_TEST is not None, "docs/testing.md has no test to copy"
    return USERS_TEST[1]


def run(folder: Path, text: str, *options: str, patched: bool = False) -> Finished:
    """Run pytest on a file with *text*, in a process without any of our configuration."""
    (folder / "test_users.py").write_text(text)
    (folder / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")
    known = entry_points(group="pytest11", name="postage")
    plugin = [] if known else ["-p", "postage.testing.plugin"]
    program = ["-m", "gevent.monkey", "--module", "pytest"] if patched else ["-m", "pytest"]
    always = ["-rs", *WITHOUT, "--durations=0", "-vv"]
    kept = [key for key in os.environ if not key.startswith("POSTAGE_") or key == VARIABLE]
    clean = {key: os.environ[key] for key in kept}
    return run_program(*program, *always, *plugin, *options, env=clean, cwd=folder, within=60.0)


def passed(finished: Finished, count: int) -> None:
    assert finished.code == 0, finished.stdout + finished.stderr
    assert f"{count} passed" in finished.stdout


def seconds(finished: Finished, phase: str, test: str) -> float:
    """Return how long the set-up, the call or the tear-down of *test* took."""
    found = re.search(rf"([\d.]+)s {phase} +\S*::{test}", finished.stdout)
    assert found is not None, finished.stdout
    return float(found[1])


def all_seconds(finished: Finished, test: str) -> float:
    """Return how long the whole of *test* took."""
    return sum(seconds(finished, phase, test) for phase in ("setup", "call", "teardown"))


@pytest.mark.parametrize("patched", [False, True])
def test_a_users_test_has_15_lines_and_takes_under_100_ms(
    tmp_path: Path, users_test: str, patched: bool
) -> None:
    lines = [line for line in users_test.splitlines() if line]
    function = users_test[users_test.index("def test_") :]
    again = [function.replace("def test_", f"\n\ndef test_{turn}_") for turn in range(TURNS)]

    finished = run(tmp_path, users_test + "".join(again) + SENDS, patched=patched)

    assert len(lines) <= LONGEST
    passed(finished, TURNS + 2)
    took = [all_seconds(finished, f"test_{turn}_echo") for turn in range(TURNS)]
    assert min(took) < FAST, took


def test_the_same_test_on_a_running_broker(
    tmp_path: Path, users_test: str, broker_env: Any
) -> None:
    finished = run(tmp_path, users_test + SENDS, f"--postage-broker={broker_env.url}")

    passed(finished, 2)


@pytest.mark.parametrize(
    ("chosen", "version"),
    [("embedded", "4.3.6"), ("embedded-4.3", "4.3.6"), ("embedded-3.10", "3.10.8")],
)
def test_the_embedded_broker_is_like_a_version(tmp_path: Path, chosen: str, version: str) -> None:
    text = f"""
def test_it(postage_broker, postage_url):
    assert postage_broker.broker.node.likeness.version == {version!r}
"""
    passed(run(tmp_path, text, f"--postage-broker={chosen}"), 1)


def test_each_test_has_a_virtual_host_of_its_own(tmp_path: Path) -> None:
    text = """
import os
import pytest

seen = set()

@pytest.mark.parametrize("number", range(3))
def test_it(postage_vhost, postage_url, postage_broker, number):
    assert postage_vhost not in seen
    assert os.environ["POSTAGE_URL"] == postage_url == f"{postage_broker.url}/{postage_vhost}"
    assert set(postage_broker.broker.node.vhosts) == {"/", postage_vhost}
    seen.add(postage_vhost)
"""
    passed(run(tmp_path, text), 3)


def test_a_url_in_a_file_does_not_disturb_the_tests(tmp_path: Path) -> None:
    text = """
import os

os.environ["POSTAGE_URL_FILE"] = "of-production"

def test_it(postage_url):
    from postage import Settings

    assert str(Settings.resolve().port) in postage_url
"""
    passed(run(tmp_path, text), 1)


@pytest.mark.parametrize(
    "kind",
    [
        "postage_broker",
        pytest.param("postage_rabbitmq", marks=pytest.mark.needs_rabbitmq("nodes")),
    ],
)
def test_each_process_of_xdist_has_its_own_broker(
    tmp_path: Path, users_test: str, kind: str
) -> None:
    told = f"""
@pytest.mark.parametrize("number", range(2))
def test_where({kind}, postage_url, number):
    with open({str(tmp_path / "ports")!r}, "a") as ports:
        ports.write(f"{{{kind}.port}}\\n")
    assert f":{{{kind}.port}}/" in postage_url
"""
    chosen = f"--postage-broker={kind.removeprefix('postage_').replace('broker', 'embedded')}"

    finished = run(tmp_path, "import pytest\n" + users_test + told, "-n", "2", chosen)

    passed(finished, 3)
    assert len(set((tmp_path / "ports").read_text().split())) == 2


FAILING = """
from postage import messaging

class Exchange(messaging.Exchange):
    name = "e"

class Server(messaging.MessageProcessor):
    @messaging.RpcHandler("command", "fail")
    def fail(self, content, reply):
        raise ValueError("on purpose")

class Client(messaging.GenericProducer):
    eks = [(Exchange, "key")]

def test_it(run_processor):
    run_processor(Server, eqk=[(Exchange, [("queue", "key")])])
    assert Client().rpc_fail().value == "ValueError"
"""


def test_a_handler_that_fails_fails_the_test(tmp_path: Path) -> None:
    finished = run(tmp_path, FAILING)

    assert finished.code == 1
    assert "1 passed, 1 error" in finished.stdout
    assert "a processor had errors" in finished.stdout
    assert "ValueError: on purpose" in finished.stdout


def test_an_expected_error_does_not_fail_the_test(tmp_path: Path) -> None:
    expected = "    assert 'on purpose' in run_processor.errors.pop()\n"

    passed(run(tmp_path, FAILING + expected), 1)


def test_the_error_that_ends_a_processor_is_raised(tmp_path: Path) -> None:
    closing = "    green.close()\n    wait_until(lambda: not server.consumer.consuming)\n"
    text = FAILING + closing
    text = text.replace("    run_processor(", "    server = run_processor(", 1)
    text = "from postage import green\nfrom postage.testing import wait_until\n" + text
    text += "    run_processor.errors.clear()\n"

    finished = run(tmp_path, text)

    assert "ConnectionClosed" in finished.stdout, finished.stdout
    assert "1 passed, 1 error" in finished.stdout


def test_an_inbox_reports_missing_and_surplus_messages(tmp_path: Path, users_test: str) -> None:
    few = SENDS.replace("inbox.wait()", "inbox.wait(2, within=0.2)")

    finished = run(tmp_path, users_test + few)

    assert finished.code == 1
    assert "not 2 after 0.2 s" in finished.stdout
    assert "<Inbox with [{" in finished.stdout


HANGING = """
import gevent

import pytest

def lonely_greenlet():
    gevent.sleep(60)

@pytest.mark.postage_timeout(0.5)
def test_it():
    gevent.spawn(lonely_greenlet).join()

def test_another():
    pass
"""


@pytest.mark.parametrize("options", [(), ("-n", "2")], ids=["one process", "shared"])
def test_a_test_that_hangs_ends_with_all_stacks(tmp_path: Path, options: tuple[str, ...]) -> None:
    finished = run(tmp_path, HANGING, *options)

    assert finished.code != 0
    assert "1 failed" in finished.stdout
    assert "hung for more than 0.5 s" in finished.stdout + finished.stderr
    assert "in lonely_greenlet" in finished.stderr


def test_other_tests_are_left_alone(tmp_path: Path) -> None:
    """No signal handler, thread, gevent or patching for a test without a fixture of ours."""
    text = """
import signal, sys, threading

def test_it():
    from postage.testing.hang_detector import SIGNAL
    assert not {"gevent", "greenlet", "pika"} & set(sys.modules)
    assert signal.getsignal(SIGNAL) is signal.SIG_DFL
    assert threading.active_count() == 1
"""
    passed(run(tmp_path, text), 1)


def test_the_fixtures_patch_nothing(tmp_path: Path) -> None:
    text = """
def test_it(run_processor, received):
    import gevent.monkey
    assert not gevent.monkey.is_anything_patched()
"""
    passed(run(tmp_path, text), 1)


def test_a_test_about_the_embedded_broker_is_skipped_elsewhere(tmp_path: Path) -> None:
    text = "def test_it(postage_broker): pass\n"

    finished = run(tmp_path, text, "--postage-broker=amqp://localhost")

    assert finished.code == 0
    assert "it needs the embedded broker, and this run uses amqp://localhost" in finished.stdout


def test_a_delay_is_over_when_the_clock_is_turned(tmp_path: Path) -> None:
    assert DELAYS is not None, "docs/testing.md has no test of a delay"
    passed(run(tmp_path, DELAYS[1]), 1)


def test_only_the_clock_of_the_embedded_broker_can_be_turned(tmp_path: Path) -> None:
    finished = run(
        tmp_path,
        "def test_it(postage_clock): pass",
        "--postage-broker=amqp://guest:guest@127.0.0.1:1/x",
    )
    assert finished.code == 0, finished.stdout
    assert "only the embedded broker has a clock that a test can turn" in finished.stdout


def test_an_unknown_broker_is_a_usage_error(tmp_path: Path) -> None:
    finished = run(tmp_path, "def test_it(postage_url): pass\n", "--postage-broker=kafka")

    assert finished.code != 0
    assert "not 'kafka'" in finished.stdout + finished.stderr


@pytest.mark.parametrize(
    "chosen", ["rabbitmq-9.9", "rabbitmq-", "rabbitmq-new", "rabbitmq4", "embedded-9.9"]
)
def test_a_version_that_is_not_here_is_a_usage_error(tmp_path: Path, chosen: str) -> None:
    finished = run(tmp_path, "def test_it(): pass\n", f"--postage-broker={chosen}")

    assert finished.code == pytest.ExitCode.USAGE_ERROR
    reasons = "9.9 is not installed (found: ", f"not {chosen!r}", "embedded-9.9 is none of 4"
    assert any(reason in finished.stderr for reason in reasons)


def test_the_same_test_on_a_private_node_of_a_chosen_version(
    tmp_path: Path, users_test: str, rabbitmq: RabbitMQNode
) -> None:
    version = rabbitmq.ctl("version").strip()
    chosen = f"""
from postage.testing import RabbitMQNode

def test_it(postage_rabbitmq):
    assert postage_rabbitmq.ctl("version").strip() == {version!r}
    with RabbitMQNode() as another:
        assert another.ctl("version").strip() == {version!r}
"""
    text = users_test + SENDS + chosen
    passed(run(tmp_path, text, f"--postage-broker=rabbitmq-{version}"), 3)


def test_plain_pika_works_in_the_same_unpatched_process(tmp_path: Path) -> None:
    text = """
import pika

def test_it(postage_url):
    with pika.BlockingConnection(pika.URLParameters(postage_url)) as connection:
        channel = connection.channel()
        channel.queue_declare("q", durable=True)
        channel.basic_publish("", "q", b"body")
        assert channel.basic_get("q", auto_ack=True)[2] == b"body"
"""
    passed(run(tmp_path, text), 1)


MARKED = """
import pytest

@pytest.mark.postage_timeout(seconds=0.2)
def test_named():
    import time
    time.sleep(30)
"""
WRONGLY_MARKED = """
import pytest

@pytest.mark.postage_timeout
def test_nothing(): pass

@pytest.mark.postage_timeout("soon")
def test_text(): pass

@pytest.mark.postage_timeout(-1)
def test_negative(): pass

@pytest.mark.postage_timeout(limit=5)
def test_other_name(): pass
"""


def test_the_marker_takes_its_seconds_by_name(tmp_path: Path) -> None:
    finished = run(tmp_path, MARKED)

    assert "test_named hung for more than 0.2 s" in finished.stdout + finished.stderr


def test_a_marker_without_a_limit_fails_its_test(tmp_path: Path) -> None:
    finished = run(tmp_path, WRONGLY_MARKED)

    assert "4 failed" in finished.stdout
    assert finished.stdout.count("the marker is postage_timeout(SECONDS)") >= 4
    assert "plugin.py" not in finished.stdout


@pytest.mark.parametrize("limit", ["-1", "nan", "inf", "soon"])
def test_an_option_that_is_no_limit_is_refused(tmp_path: Path, limit: str) -> None:
    finished = run(tmp_path, MARKED, f"--postage-timeout={limit}")

    assert finished.code == pytest.ExitCode.USAGE_ERROR
    assert f"argument --postage-timeout: invalid seconds value: '{limit}'" in finished.stderr
