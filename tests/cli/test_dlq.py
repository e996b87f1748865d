"""``postage dlq ls``, ``show`` and ``replay``."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from postage import parking
from postage.cli.parked import PARKED_COMMANDS
from postage.testing.polling import wait_until
from tests.cli.support import in_process, postage, running
from tests.support.raw import Raw, raw_to

QUEUE, PARKED = "cli-dlq", "cli-dlq.parked"
TRACEBACK = 'Traceback:\n  File "/shop/orders.py", line 10, in order\n    \x1b[2Jsend()\nValueError'
BODY = b'{"type": "command", "name": "order", "content": {"parameters": 17}}'


def headers(number: int, **others: Any) -> dict[str, Any]:
    told = {
        "why": "failed", "queue": QUEUE, "processor": "Orders", "handler": "Orders.order",
        "exchange": "shop", "routing-key": "order", "exception": "builtins.ValueError",
        "text": "no\x1b[31m", "traceback": TRACEBACK, "send-id": f"id {number}", "attempt": 3,
        "parked-ms": 1_700_000_000_000, **others,
    }  # fmt: skip
    return {f"x-postage-{name}": value for name, value in told.items()}


@pytest.fixture
def raw(broker_env: Any) -> Iterator[Raw]:
    """Both queues: four messages have failed, one of them in another way."""
    with raw_to(broker_env.hup, broker_env.vhost) as raw:
        for each in (QUEUE, PARKED):
            raw.declare(each)
        for number in range(3):
            raw.put(PARKED, BODY, headers=headers(number))
        raw.put(PARKED, b"\xff\x1b", headers=headers(3, exception="builtins.KeyError"))
        wait_until(lambda: raw.count(PARKED) == 4)
        yield raw
        for each in (QUEUE, PARKED):
            raw.channel.queue_delete(each)


def test_groups_are_listed_the_largest_first(raw, capsys):
    ended = in_process(capsys, "dlq", "ls", QUEUE)

    assert (ended.code, ended.stderr) == (0, "")
    head, columns, *rows = ended.stdout.splitlines()
    assert head == f"{PARKED}: 4 messages"
    assert columns.split()[:2] == ["GROUP", "COUNT"]
    assert [row.split()[1] for row in rows] == ["3", "1"]
    assert "builtins.ValueError  /shop/orders.py:10  Orders.order" in rows[0]


def test_messages_of_a_group_are_listed_and_shown(raw, capsys):
    group, *_ = parking.groups(parking.look(PARKED))

    listed = in_process(capsys, "dlq", "ls", PARKED, "--group", group.id)

    rows = listed.stdout.splitlines()[2:]
    assert [row.split()[0] for row in rows] == ["1", "2", "3"]
    assert "command order" in rows[0]
    id_ = rows[1].split()[1]
    shown = in_process(capsys, "dlq", "show", QUEUE, id_)
    assert shown.code == 0
    assert re.search(r"^attempts +3$", shown.stdout, re.MULTILINE)
    assert '  File "/shop/orders.py", line 10, in order\n' in shown.stdout
    assert '    "parameters": 17\n' in shown.stdout


def test_what_peers_wrote_is_escaped(raw, capsys):
    printed = [
        in_process(capsys, "dlq", *arguments).stdout
        for arguments in (
            ("ls", QUEUE, "-m"), ("ls", QUEUE, "--json"), ("show", QUEUE, "1"),
            ("show", QUEUE, "4"), ("show", QUEUE, "4", "--json"),
        )
    ]  # fmt: skip

    for text in printed:
        assert text
        assert "\x1b" not in text


def test_a_foreign_body_is_shown_as_it_is(raw, capsys):
    raw.put(PARKED, "ä text".encode(), content_type="text/plain")
    wait_until(lambda: raw.count(PARKED) == 5)

    shown = in_process(capsys, "dlq", "show", QUEUE, "5")

    assert shown.stdout.endswith("7 bytes, text: ä text\n")
    assert re.search(r"^content type +text/plain$", shown.stdout, re.MULTILINE)


def test_json_has_everything(raw, capsys):
    (listed,) = json.loads(in_process(capsys, "dlq", "ls", QUEUE, "--limit", "3", "--json").stdout)
    shown = json.loads(in_process(capsys, "dlq", "show", QUEUE, "1", "--json").stdout)

    assert (listed["queue"], listed["more"], len(listed["messages"])) == (PARKED, 1, 3)
    assert listed["groups"][0]["count"] == 3
    assert {**listed["messages"][0], "redelivered": True} | {"body": shown["body"]} == shown
    assert shown["body"]["content"] == {"parameters": 17}
    assert shown["dossier"]["traceback"] == TRACEBACK


def test_messages_that_were_not_read_are_told(raw, capsys):
    ended = in_process(capsys, "dlq", "ls", QUEUE, "--limit", "1")

    assert ended.stdout.startswith(f"{PARKED}: 4 messages, of which 1 were read\n")


def test_the_queues_of_a_module_are_listed(raw, capsys):
    """Those in which something has failed; nothing is run."""
    raw.declare("cli-echo.parked")

    with running("dlq", "ls", "--of", "fleet") as program:
        ended = program.wait(20)

    assert ended.code == 0, ended.stderr
    assert ended.stdout == "cli-echo.parked: 0 messages\n"


def test_some_are_replayed(raw, capsys):
    first = parking.look(PARKED)[0]
    group = parking.groups(parking.look(PARKED))[-1]

    one = in_process(capsys, "dlq", "replay", QUEUE, first.id)
    by_group = in_process(capsys, "dlq", "replay", QUEUE, "--group", group.id, "--json")

    assert one.stdout == f"1 replayed to {QUEUE}\n1 replayed, 3 left in {PARKED}\n"
    assert (one.code, one.stderr) == (0, "")
    assert json.loads(by_group.stdout)["count"] == 1
    assert raw.count(QUEUE) == 2


def test_all_are_replayed_after_a_dry_run(raw, capsys):
    tried = in_process(capsys, "dlq", "replay", QUEUE, "--all", "--dry-run")
    limited = in_process(capsys, "dlq", "replay", QUEUE, "--all", "--limit", "1", "--rate", "100")
    done = in_process(capsys, "dlq", "replay", PARKED, "--all")

    assert tried.stdout.startswith(f"4 would be replayed to {QUEUE}\n")
    assert limited.stdout.endswith(f"1 replayed, 3 left in {PARKED}\n")
    assert (done.code, raw.count(QUEUE), raw.count(PARKED)) == (0, 4, 0)


def test_a_queue_that_is_gone_is_told(raw, capsys):
    raw.channel.queue_delete(QUEUE)

    ended = in_process(capsys, "dlq", "replay", QUEUE, "--all")

    assert ended.code == 5
    assert f"4 messages stay where they are: there is no queue '{QUEUE}' (4)" in ended.stderr
    one = in_process(capsys, "dlq", "replay", QUEUE, parking.look(PARKED)[0].id)
    assert f"1 message stays where it is: there is no queue '{QUEUE}' (1)" in one.stderr
    assert raw.count(PARKED) == 4


REFUSED = {
    ("ls",): (2, "name a queue"),
    ("ls", "cli-nothing"): (5, "there is no queue 'cli-nothing'"),
    ("ls", QUEUE, "--limit", "0"): (2, "Invalid value for '--limit'"),
    ("show", QUEUE): (2, "Missing argument 'ID'"),
    ("show", QUEUE, "zz"): (2, "no message has it"),
    ("show", "cli-nothing", "1"): (5, "there is no queue"),
    ("replay", QUEUE): (2, "say which messages"),
    ("replay", QUEUE, "abcdef", "--all"): (2, "say which messages"),
    ("replay", QUEUE, "1"): (2, "at least 6 digits"),
    ("replay", QUEUE, "abcdef12"): (2, "no message has it"),
    ("replay", QUEUE, "--group", "zz"): (2, "no message of"),
    ("replay", QUEUE, "--all", "--rate", "0"): (2, "Invalid value for '--rate'"),
    ("replay", QUEUE, "--all", "--to", PARKED): (2, "cannot be replayed to this queue itself"),
    ("replay", QUEUE, "--all", "--to", "x" * 300): (2, "255 bytes"),
    ("ls", QUEUE, "--url", "embedded://"): (2, "is a broker inside one process"),
    ("ls", QUEUE, "--url", "amqp://127.0.0.1:1"): (3, "no AMQP 0-9-1 broker answered"),
}


def test_what_cannot_be_done_is_told(raw, capsys):
    for arguments, (code, text) in REFUSED.items():
        ended = in_process(capsys, "dlq", *arguments)

        assert (ended.code, text in ended.stderr) == (code, True), (arguments, ended)
        assert ended.stderr.rstrip().count("\n") < 5
    assert raw.count(PARKED) == 4


def test_a_module_that_cannot_be_imported_is_named(raw):
    ended = postage("dlq", "ls", "--of", "no_such_module")

    assert (ended.code, "no_such_module" in ended.stderr) == (2, True)


def test_the_help_lists_its_commands(capsys):
    ended = in_process(capsys, "dlq", "--help")

    assert ended.code == 0
    assert all(text in ended.stdout for text in PARKED_COMMANDS.values())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_replay_after_the_message_in_hand(raw, number):
    with running("dlq", "replay", QUEUE, "--all", "--rate", "2") as program:
        wait_until(lambda: raw.count(QUEUE) >= 1, 20)
        program.popen.send_signal(number)
        ended = program.wait(20)

    assert ended.code == 130
    text = r"Stopped after (1 message|[23] messages); the others are still there.$"
    assert re.match(text, ended.stderr)
    assert raw.count(PARKED) + raw.count(QUEUE) == 4
    assert raw.count(PARKED) >= 1
