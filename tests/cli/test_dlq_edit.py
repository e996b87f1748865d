"""`postage dlq edit`: another body for a message, and the old one kept, whatever happens."""

from __future__ import annotations

import json
import os
import shlex
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from postage import parking
from postage.encoding import JsonEncoder
from postage.errors import NotAcknowledged
from postage.message import MessageCommand
from postage.parking import replaying
from postage.parking.versions import queue_of_versions
from postage.testing.polling import wait_until
from tests.cli.support import SOON, running
from tests.support.programs import Finished, Program
from tests.support.raw import Raw, raw_to
from tests.support.terminal import OnTerminal

QUEUE, OLD = "cli-edit.parked", "cli-edit.parked.edited"
HEADERS = {"x-tenant": "a", "x-postage-why": "failed", "x-postage-queue": "cli-edit"}
#: An editor that does what a line of Python says with the `text` of the file at `path`.
EDITOR = "import sys, os, pathlib; path = pathlib.Path(sys.argv[1]); text = path.read_text()\n"


@pytest.fixture
def raw(broker_env: Any) -> Iterator[Raw]:
    with raw_to(broker_env.hup, broker_env.vhost) as raw:
        raw.declare(QUEUE)
        yield raw
        for each in (QUEUE, OLD):
            raw.channel.queue_delete(each)


def body(count: int) -> bytes:
    return json.dumps(MessageCommand("order", {"count": count}).body).encode()


def put(raw: Raw, *bodies: bytes) -> None:
    for number, each in enumerate(bodies):
        raw.put(QUEUE, each, headers=HEADERS, message_id=f"m{number}", expiration="600000")


def editing(tmp_path: Path, line: str, *, on_terminal: bool = False) -> Any:
    """Return ``postage dlq edit`` with an editor that does *line*, and its own folder for files."""
    editor = tmp_path / "editor.py"
    editor.write_text(f"{EDITOR}{line}\n")
    scratch = tmp_path / "scratch"
    scratch.mkdir(exist_ok=True)
    command = f"{shlex.quote(sys.executable)} {shlex.quote(str(editor))}"
    env = {**os.environ, "EDITOR": command, "VISUAL": "", "TMPDIR": str(scratch)}
    kind = OnTerminal if on_terminal else Program
    return kind("-m", "postage", "dlq", "edit", QUEUE, "1", env=env, cwd=tmp_path)


def edit(tmp_path: Path, line: str) -> Finished:
    with editing(tmp_path, line) as program:
        ended: Finished = program.wait(SOON)
    assert list((tmp_path / "scratch").iterdir()) == []
    return ended


def counts(raw: Raw) -> tuple[int, int]:
    """Return how many messages are in the queue, and how many old versions."""
    return raw.count(QUEUE), raw.count(OLD) if raw.exists(OLD) else 0


def test_a_body_is_edited_and_the_old_one_is_kept(tmp_path, raw):
    put(raw, body(1), body(2))

    ended = edit(tmp_path, "path.write_text(text.replace('\"count\": 1', '\"count\": 5'))")

    assert (ended.code, ended.stderr) == (0, "")
    first, second = parking.look(QUEUE)
    assert first.body == body(2)
    assert second.body == JsonEncoder.encode_bytes(json.loads(body(5)))
    assert f"{second.id} is the new version, the last in {QUEUE}" in ended.stdout
    assert second.dossier.queue == "cli-edit"
    assert second.properties.headers is not None
    assert second.properties.headers["x-tenant"] == "a"
    assert second.properties.message_id == "m0"
    (old,) = parking.look(OLD)
    assert old.body == body(1)
    assert old.properties.message_id == "m0"
    assert f"is in {OLD}" in ended.stdout


def test_the_file_is_readable_for_its_user_only(tmp_path, raw):
    put(raw, body(1))
    line = "print(oct(os.stat(path).st_mode), oct(os.stat(path.parent).st_mode), path.suffix)"

    ended = edit(tmp_path, line)

    assert ended.stdout.splitlines()[0] == "0o100600 0o40700 .json"


UNCHANGED = {
    "nothing": ("", 0, "nothing is changed"),
    "blanks": ("path.write_text(text.replace('  ', ' '))", 0, "nothing is changed"),
    "failure": ("path.write_text('{}'); sys.exit(3)", 4, "the editor ended with code 3"),
    "no JSON": ("path.write_text(text + '}')", 4, "this cannot be sent: it is not JSON"),
    "no message": ("path.write_text('{}')", 4, "no message of Postage any longer"),
    "no text": ("path.write_bytes(b'\\xff')", 4, "cannot read what the editor has written"),
    "no file": ("path.unlink()", 4, "cannot read what the editor has written"),
}


@pytest.mark.parametrize(("line", "code", "text"), UNCHANGED.values(), ids=list(UNCHANGED))
def test_nothing_is_changed_without_a_body_that_fits(tmp_path, raw, line, code, text):
    put(raw, body(1))

    ended = edit(tmp_path, line)

    assert ended.code == code
    assert text in ended.stdout + ended.stderr
    assert counts(raw) == (1, 0)
    assert raw.take(QUEUE).body == body(1)


@pytest.mark.parametrize("editor", ["/nowhere/vi", "'", ""])
def test_an_editor_that_cannot_run_is_told(tmp_path, raw, editor):
    put(raw, body(1))
    env = {
        **os.environ,
        "EDITOR": editor,
        "VISUAL": "",
        "PATH": "/nowhere",
        "TMPDIR": str(tmp_path),
    }
    with running("dlq", "edit", QUEUE, "1", env=env, cwd=tmp_path) as program:
        ended = program.wait(SOON)

    assert (ended.code, ended.stdout) == (2, "")
    assert "cannot run the editor" in ended.stderr
    assert list(tmp_path.iterdir()) == []
    assert counts(raw) == (1, 0)


@pytest.mark.parametrize(
    ("old", "line", "new"),
    [
        (b"text", "path.write_text(text + '!\\n')", b"text!"),
        (b"\xff\0", "path.write_text('/v8=')", b"\xfe\xff"),
        (b"text", "path.write_text('\\ufeff' + text + '?')", b"text?"),
    ],
)
def test_a_foreign_body_is_edited_as_it_is(tmp_path, raw, old, line, new):
    put(raw, old)

    assert edit(tmp_path, line).code == 0
    assert raw.take(QUEUE).body == new
    assert raw.take(OLD).body == old


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_during_the_editor_removes_the_file(tmp_path, raw, number):
    put(raw, body(1))
    waiting = "print('editing', flush=True); import time; time.sleep(60)"
    with editing(tmp_path, waiting) as program:
        program.wait_for_line("editing", SOON)
        os.kill(program.pid, number)
        ended = program.wait(SOON)

    assert ended.code == 128 + number
    assert list((tmp_path / "scratch").iterdir()) == []
    assert counts(raw) == (1, 0)


def test_ctrl_c_is_left_to_the_editor(tmp_path, raw):
    put(raw, body(1))
    line = (
        "import signal\n"
        "signal.signal(signal.SIGINT, lambda *_: path.write_text(text.replace('1', '7')))\n"
        "print('editing', flush=True); signal.pause()"
    )
    with editing(tmp_path, line) as program:
        program.wait_for_line("editing", SOON)
        os.killpg(program.pid, signal.SIGINT)
        ended = program.wait(SOON)

    assert ended.code == 0, ended
    assert raw.take(QUEUE).value["content"]["parameters"] == {"count": 7}


def test_a_text_that_cannot_be_published_is_not_lost(tmp_path, raw):
    put(raw, body(1))
    line = "path.write_text(text.replace('1', '7'))\nopen('gone', 'w')"
    full = {"x-max-length": 0, "x-overflow": "reject-publish"}
    raw.channel.queue_declare(OLD, durable=True, arguments=full)

    with editing(tmp_path, line) as program:
        ended = program.wait(SOON)

    (folder,) = (tmp_path / "scratch").iterdir()
    (file,) = folder.iterdir()
    assert ended.code != 0
    assert f"The edited text is still in {file}" in ended.stderr
    assert '"count": 7' in file.read_text()
    assert counts(raw) == (1, 0)
    assert raw.take(QUEUE).body == body(1)


@pytest.mark.parametrize(("answer", "code", "left"), [(b"\n", 0, 7), (b"n\n", 4, 1)])
def test_a_text_that_cannot_be_sent_is_opened_again(tmp_path, raw, answer, code, left):
    put(raw, body(1))
    line = (
        "path.write_text(text[:-4].replace('1', '7') if text.endswith('oops') else text + 'oops')"
    )
    with editing(tmp_path, line, on_terminal=True) as program:
        program.wait_for_line("Edit again?", SOON)
        program.type(answer)
        ended = program.wait(SOON)

    assert ended.code == code, ended
    assert "this cannot be sent: it is not JSON" in ended.stdout
    assert list((tmp_path / "scratch").iterdir()) == []
    assert raw.take(QUEUE).value["content"]["parameters"] == {"count": left}


class Killed(BaseException):
    """The process ends here."""


@pytest.mark.parametrize("step", range(5))
def test_at_each_step_there_is_the_old_or_the_new(raw, monkeypatch, step):
    """Steps: before and after the old version, before and after the new one, after the ack."""
    put(raw, body(1), body(2))
    (message, _) = parking.look(QUEUE)
    done = []

    def step_done() -> None:
        done.append(1)
        if len(done) > step:
            raise Killed

    publish, ack = replaying._Sender.publish, replaying.Walk.ack

    def publish_and_stop(self: Any, *arguments: Any) -> None:
        step_done()
        publish(self, *arguments)
        step_done()

    def ack_and_stop(self: Any, tag: int) -> None:
        ack(self, tag)
        step_done()

    monkeypatch.setattr(replaying._Sender, "publish", publish_and_stop)
    monkeypatch.setattr(replaying.Walk, "ack", ack_and_stop)

    with pytest.raises(Killed):
        parking.replace(QUEUE, message.id, b"new", kept_in=queue_of_versions(QUEUE))

    monkeypatch.undo()
    wait_until(lambda: raw.count(QUEUE) == (3 if step == 3 else 2), SOON)
    bodies = [each.body for each in parking.look(QUEUE)]
    assert bodies[: 1 if step == 4 else 2] == ([body(2)] if step == 4 else [body(1), body(2)])
    assert bodies.count(b"new") == (step >= 3)
    assert raw.count(OLD) == (step >= 1)


def test_a_refused_new_version_leaves_the_old_one(raw):
    limited = f"{QUEUE}.limited"
    full = {"x-max-length": 1, "x-overflow": "reject-publish"}
    raw.declare(limited, arguments=full)
    raw.put(limited, body(1))
    (message,) = parking.look(limited)
    raw.channel.queue_declare(OLD, durable=True, arguments={**full, "x-max-length": 0})

    with pytest.raises(NotAcknowledged):
        parking.replace(limited, message.id, b"new", kept_in=OLD)

    assert [each.body for each in parking.look(limited)] == [body(1)]
    raw.channel.queue_delete(limited)


def test_the_old_versions_are_kept_in_a_queue_of_the_same_type(raw, broker_env):
    quorum = "cli-edit-quorum.parked"
    raw.declare(quorum, arguments={"x-queue-type": "quorum"})
    name = queue_of_versions(quorum)

    assert name == f"{quorum}.edited"
    assert queue_of_versions(quorum) == name  # it exists now
    raw.declare(name, arguments={"x-queue-type": "quorum", "x-max-length-bytes": 1 << 26})
    for each in (quorum, name):
        raw.channel.queue_delete(each)
