"""`postage dlq run`, `export` and `diff`: what to do about a message that has failed."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from postage.message import MessageCommand, RpcCommand
from postage.testing.polling import wait_until
from tests.cli.support import SOON, running
from tests.support.programs import ROOT, Finished, run_program
from tests.support.raw import Raw, raw_to
from tests.support.running import running as consuming
from tests.support.terminal import OnTerminal

#: A project that handles orders: it has a fault, and handlers that end in every way.
SHOP = '''
from postage import Exchange, GenericProducer, MessageHandler, MessageProcessor, RpcHandler, green

PRICES = {"nuts": 2}


class Shop(Exchange):
    name = "cli-bench"


class Clerk(GenericProducer):
    eks = [(Shop, "sold")]


class Orders(MessageProcessor):
    eqk = [(Shop, [("cli-bench", "order")])]
    park_calls = True

    @MessageHandler("command", "order")
    def order(self, content):
        wanted = content["parameters"]
        price = PRICES[wanted["item"]] * wanted["count"]
        assert green.message().headers["x-tenant"] == "a"
        assert green.message().queue == "cli-bench"
        Clerk().message_sold(price)

    @RpcHandler("command", "price")
    def price(self, content, reply):
        return PRICES[content["parameters"]]


class Other(MessageProcessor):
    """Only here so that a class has to be chosen."""


def made():
    return [Other(), Orders()]
'''
FIXED = SHOP.replace('{"nuts": 2}', '{"nuts": 2, "bolts": 3}')
QUEUE = "cli-bench.parked"


@pytest.fixture
def raw(broker_env: Any) -> Iterator[Raw]:
    with raw_to(broker_env.hup, broker_env.vhost) as raw:
        yield raw
        if raw.exists(QUEUE):
            raw.channel.queue_delete(QUEUE)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with the module `shop`, and another for the file that is written."""
    (tmp_path / "shop.py").write_text(SHOP)
    return tmp_path


@pytest.fixture
def parked(raw: Raw, project: Path) -> str:
    """The number of an order that has failed in a processor of the project, as a dossier tells."""
    park(raw, project, MessageCommand("order", {"item": "bolts", "count": 2}))
    return "1"


def park(raw: Raw, project: Path, *messages: Any, **properties: Any) -> None:
    """Let the processor of the project fail on *messages*, one after the other."""
    spec = importlib.util.spec_from_file_location("shop", project / "shop.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    orders = module.Orders()
    with consuming(orders):
        for number, each in enumerate(messages, 1):
            body = each if isinstance(each, bytes) else json.dumps(each.body).encode()
            raw.send("cli-bench", "order", body, headers={"x-tenant": "a"}, **properties)
            wait_until(lambda: orders.counts["parked"] == number, SOON)  # noqa: B023 - called at once


def dlq(project: Path, *arguments: str) -> Finished:
    """Run ``postage dlq ...`` in the folder of the project."""
    with running("dlq", *arguments, cwd=project) as program:
        return program.wait(SOON)


# --- run


def test_a_handler_is_run_here_and_the_message_stays(project, parked, raw):
    ended = dlq(project, "run", "cli-bench", parked, "shop:Orders")

    assert ended.code == 4
    assert ended.stdout == ""
    lines = ended.stderr.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[1].startswith(f'  File "{project / "shop.py"}", line ')
    assert lines[-2:] == ["KeyError: 'bolts'", "Error: the handler failed: KeyError: 'bolts'"]
    wait_until(lambda: raw.count(QUEUE) == 1, SOON)

    (project / "shop.py").write_text(FIXED)
    ended = dlq(project, "run", "cli-bench", parked, "shop")

    assert (ended.code, ended.stdout, ended.stderr) == (0, "handled by 1 handler\n", "")
    wait_until(lambda: raw.count(QUEUE) == 1, SOON)


def test_the_debugger_opens_where_the_handler_failed(project, parked):
    ended = subprocess.run(
        [sys.executable, "-m", "postage", "dlq", "run", "cli-bench", parked, "shop", "--pdb"],
        input="p wanted\np self.__class__.__name__\nq\n",
        capture_output=True,
        text=True,
        cwd=project,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        check=False,
    )

    assert "{'item': 'bolts', 'count': 2}" in ended.stdout
    assert "'Orders'" in ended.stdout
    assert ended.returncode == 4


def test_what_a_handler_sends_goes_nowhere_unless_asked(project, parked, raw):
    (project / "shop.py").write_text(FIXED)
    raw.declare("cli-bench-sold")
    raw.channel.queue_bind("cli-bench-sold", "cli-bench", "sold")

    assert dlq(project, "run", "cli-bench", parked, "shop:Orders").code == 0
    assert raw.count("cli-bench-sold") == 0

    assert dlq(project, "run", "cli-bench", parked, "shop:made", "--live").code == 0
    assert raw.take("cli-bench-sold").value["name"] == "sold"
    wait_until(lambda: raw.count(QUEUE) == 1, SOON)


def test_the_reply_to_a_call_is_printed(project, raw):
    park(raw, project, RpcCommand("price", "bolts"), reply_to="amq.gen-gone")
    (project / "shop.py").write_text(FIXED)

    ended = dlq(project, "run", QUEUE, "1", "shop")

    assert (ended.code, ended.stderr) == (0, "")
    assert json.loads(ended.stdout.splitlines()[1])["value"] == 3


def test_a_message_that_nothing_takes_is_an_error(project, raw):
    raw.declare(QUEUE)
    raw.put(QUEUE, json.dumps(MessageCommand("\x1b[2Jstolen").body).encode())

    ended = dlq(project, "run", QUEUE, "1", "shop:Orders")

    assert ended.code == 4
    assert ended.stderr.endswith("Error: no handler takes the message command \\x1b[2Jstolen\n")


MISTAKES = {
    "no such message": (("99", "shop:Orders"), 2, "99"),
    "several classes": (("1", "shop"), 2, "name one: shop:NAME"),
    "no class": (("1", "shop:PRICES"), 2, "is no processor"),
    "several processors": (("1", "shop:made"), 2, "name a class"),
}


@pytest.mark.parametrize("mistake", MISTAKES.values(), ids=list(MISTAKES))
def test_a_mistake_is_told_in_a_line(project, raw, mistake):
    arguments, code, text = mistake
    raw.declare(QUEUE)
    raw.put(QUEUE, b"foreign")  # no dossier tells its class

    ended = dlq(project, "run", QUEUE, *arguments)

    assert ended.code == code
    assert text in ended.stderr.splitlines()[-1]
    wait_until(lambda: raw.count(QUEUE) == 1, SOON)


# --- export


def run_pytest(project: Path, file: str) -> Finished:
    """Run the test *file* where only pytest and Postage are: no conftest, no broker, no plugin."""
    site = project.parent / f"{project.name}-site"
    site.mkdir(exist_ok=True)
    if not (site / "postage").exists():
        (site / "postage").symlink_to(ROOT / "postage")
    kept = {key: value for key, value in os.environ.items() if not key.startswith("POSTAGE_")}
    alone = {"POSTAGE_URL": "amqp://127.0.0.1:1/", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-W", "error", file],
        capture_output=True,
        text=True,
        cwd=project,
        env=kept | alone | {"PYTHONPATH": str(site)},
        check=False,
    )
    return Finished(ended.returncode, ended.stdout, ended.stderr)


def test_an_exported_test_fails_until_the_fault_is_mended(project, parked):
    ended = dlq(project, "export", "cli-bench", parked, "shop", "-o", "test_bolts.py")
    assert (ended.code, ended.stdout, ended.stderr) == (0, "", "")

    before = run_pytest(project, "test_bolts.py")
    (project / "shop.py").write_text(FIXED)
    after = run_pytest(project, "test_bolts.py")

    assert before.code == 1, before
    assert "KeyError: 'bolts'" in before.stdout
    assert '>       price = PRICES[wanted["item"]]' in before.stdout
    assert "1 failed" in before.stdout
    assert after.code == 0, after
    assert "1 passed" in after.stdout


def test_an_exported_call_fails_until_the_fault_is_mended(project, raw):
    park(raw, project, RpcCommand("price", "bolts"), reply_to="amq.gen-gone")
    (project / "shop.py").write_text(f"print('it is imported')\n{SHOP}")
    file = project / "test_price.py"
    file.write_text(dlq(project, "export", "cli-bench", "1", "shop:Orders").stdout)

    before = run_pytest(project, file.name)
    (project / "shop.py").write_text(FIXED)

    assert (before.code, run_pytest(project, file.name).code) == (1, 0)


def test_an_exported_message_that_is_none_fails_too(project, raw):
    park(raw, project, b'{"type": ')

    ended = dlq(project, "export", "cli-bench", "1", "shop", "-o", "test_malformed.py")

    assert ended.code == 0, ended
    found = run_pytest(project, "test_malformed.py")
    assert found.code == 1
    assert "MalformedMessage: not JSON in UTF-8" in found.stdout


def test_no_file_is_overwritten(project, parked):
    (project / "mine.py").write_text("mine")

    ended = dlq(project, "export", QUEUE, parked, "shop:Orders", "-o", "mine.py")

    assert (ended.code, ended.stderr) == (
        2, "Error: mine.py exists: choose another name, or delete it\n",
    )  # fmt: skip
    assert (project / "mine.py").read_text() == "mine"


def test_a_dossier_cannot_choose_what_is_imported(project, raw):
    raw.declare(QUEUE)
    for processor in ("antigravity", "Orders; import os"):
        headers = {"x-postage-why": "failed", "x-postage-processor": processor}
        raw.put(QUEUE, b"{}", headers=headers)

        ended = dlq(project, "export", QUEUE, "1", "shop")

        assert ended.code == 2
        assert "(Orders, Other)" in ended.stderr
        raw.take(QUEUE)


# --- diff


def test_two_messages_are_compared(project, raw):
    orders = [MessageCommand("order", {"item": "bolts", "count": each}) for each in (2, 3)]
    park(raw, project, *orders)

    ended = dlq(project, "diff", "cli-bench", "1", "2")

    assert (ended.code, ended.stderr) == (0, "")
    lines = ended.stdout.splitlines()
    assert '-      "count": 2,' in lines
    assert '+      "count": 3,' in lines
    assert "\x1b" not in ended.stdout
    assert lines[-1].startswith("@@ the same in both: properties, headers")
    wait_until(lambda: raw.count(QUEUE) == 2, SOON)


@pytest.mark.parametrize("variables", [{}, {"NO_COLOR": "1"}], ids=["colours", "no colours"])
def test_on_a_terminal_lines_have_colours(project, raw, variables):
    raw.declare(QUEUE)
    raw.put(QUEUE, b"\x1b[2Jone")
    raw.put(QUEUE, b"two")
    env = {**os.environ, **variables}
    with OnTerminal("-m", "postage", "dlq", "diff", QUEUE, "1", "2", env=env) as program:
        program.wait_for_line("the same in both", SOON)

    has_colours = not variables
    assert (b"\x1b[31m-" in program.written) == has_colours
    assert (b"\x1b" in program.written) == has_colours
    assert b"\x1b[2J" not in program.written


def test_foreign_messages_are_compared_as_they_are(project, raw):
    raw.declare(QUEUE)
    raw.put(QUEUE, b"\x00\xff one", app_id="a\x1b[2J")
    raw.put(QUEUE, b"text", app_id="b")

    ended = dlq(project, "diff", QUEUE, "1", "2")

    assert ended.code == 0
    assert "-00000000  00 ff 20 6f 6e 65" in ended.stdout
    assert "-app_id: a\\x1b[2J" in ended.stdout


def test_help_names_the_commands():
    ended = run_program("-m", "postage", "dlq", "--help")

    for name in ("diff", "run", "export"):
        assert f"\n  {name} " in ended.stdout
