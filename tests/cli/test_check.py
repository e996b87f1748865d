"""``postage check``."""

from __future__ import annotations

import json

import pytest

from postage.addressing import Binding
from postage.cli.checking.rules import keys_lead_nowhere
from tests.cli.support import SOON, postage, running, together, with_url
from tests.support.endpoints import exchange

NOWHERE = with_url("amqp://127.0.0.1:1/")

FAULTS = {
    ("Wrong.few", "is called with (self, content), and takes (self)"),
    ("Wrong.no_reply", "is called with (self, content, reply_func), and takes (self, content)"),
    ("Wrong.much", "is called with (self, content), and takes (self, content, reply)"),
    ("Wrong.forgotten", "is no handler: write @MessageFilter(...)"),
    (
        "Wrong.halved",
        "its filter half cannot be called with a message: it takes (content, factor)",
    ),
    ("Wrong.first", "never answers: second, defined later, answers the call 'command twice', too"),
    ("Wrong.Classy", "a handler that is a class inherits Handler and defines call(self)"),
    ("Sender", "no queue is bound to key 'wrong' of exchange 'cli-fleet'"),
    ("Other", "declares exchange 'cli-fleet' with other parameters than FleetExchange"),
}


def test_it_lists_components_without_any_broker():
    ended = postage("check", "fleet", env=NOWHERE)

    assert (ended.code, ended.stderr) == (0, ""), ended
    lines = [" ".join(line.split()) for line in ended.stdout.splitlines()]
    assert "Echo cli-fleet topic cli-echo echo" in lines
    assert "Monitor rpc command load load" in lines
    assert lines[-1] == "No fault was found."


def test_it_finds_every_fault_and_exits_with_4():
    ended = postage("check", "wrong", "--json", env=NOWHERE)

    report = json.loads(ended.stdout)
    found = {(f["where"], f["text"]) for f in report["findings"] if f["fault"]}
    assert found == FAULTS
    assert (ended.code, ended.stderr) == (4, "Error: 9 faults\n")
    notes = [f["text"] for f in report["findings"] if not f["fault"]]
    assert notes == ["no queue here is bound to exchange 'cli-elsewhere'"]
    calls = {row["message"] for row in report["messages"]}
    assert calls == {"message_letter(text, *copies, urgent=False)", "rpc_stamp(price)"}
    assert {"producer": "Crossed", "exchange": "cli-fleet", "key": "right"} in report["producers"]


REFUSED = {
    "async def store(self, content): ...": "fault: Refused.store: is async: a call would return",
    "def restart(self, content): ...": "fault: Refused.restart: hides MessageProcessor.restart",
    "class step(messaging.Handler): ...": "fault: Refused.step: hides MessageProcessor.step",
}


def test_a_handler_that_is_refused_is_a_fault_with_its_name(tmp_path):
    for number, method in enumerate(REFUSED):
        (tmp_path / f"refused_{number}.py").write_text(
            "from postage import messaging\n"
            "class Refused(messaging.MessageProcessor):\n"
            f"    @messaging.MessageHandler('command', 'x')\n    {method}\n"
        )
    names = [f"refused_{number}" for number in range(len(REFUSED))]
    with running("check", *names, env=NOWHERE, cwd=tmp_path) as program:
        ended = program.wait(SOON)

    assert (ended.code, ended.stderr) == (4, "Error: 3 faults\n"), ended
    for fault in REFUSED.values():
        assert fault in ended.stdout


SILENT = """
from postage import messaging

class Deaf(messaging.MessageProcessor):
    pass

class Mistaken(messaging.MessageProcessor):
    eqk = [(messaging.Exchange, [("silent", "key")])]

    @messaging.RpcHandler("count")
    def count(self, content, reply):
        return 5

nothing = messaging.GenericConsumer()
"""


def test_what_would_be_silent_is_found(tmp_path):
    (tmp_path / "silent.py").write_text(SILENT)
    with running("check", "silent", env=NOWHERE, cwd=tmp_path) as program:
        ended = program.wait(SOON)

    assert (ended.code, ended.stderr) == (4, "Error: 2 faults\n"), ended
    assert "fault: Deaf: listens to no queue: give it an eqk" in ended.stdout
    assert "fault: nothing: listens to no queue: give it an eqk" in ended.stdout
    assert "note: Mistaken.count: takes the type 'count', which no message class" in ended.stdout
    assert "Mistaken   noname" in ended.stdout


TYPED = """
from postage import green, messaging
class Logs(messaging.Exchange):
    name = "typed-logs"
class Papers(messaging.Exchange):
    name, exchange_type = "typed-papers", "headers"
class Reader(messaging.MessageProcessor):
    eqk = [
        (Logs, [(green.Stream("typed-log", offset="first"), "log"),
                (green.Quorum("typed-orders", delayed_retry="all", delayed_retry_min=1), "order")]),
        (Papers, [(green.Classic("typed-pdf"), green.Headers(type="pdf"))]),
    ]
    @messaging.MessageHandler("command", "x")
    def x(self, content): ...
"""


def test_queues_of_every_type_can_be_checked(tmp_path):
    (tmp_path / "typed.py").write_text(TYPED)

    with running("check", "typed", "--json", env=NOWHERE, cwd=tmp_path) as program:
        ended = program.wait(SOON)

    assert ended.code == 0, ended
    report = json.loads(ended.stdout)
    assert report["findings"] == []
    (bindings,) = report["processors"].values()
    assert [each["queue"] for each in bindings] == ["typed-log", "typed-orders", "typed-pdf"]
    assert bindings[2]["key"] == "Headers({'type': 'pdf'}, match='all')"


def test_a_module_without_components_is_noted():
    ended = postage("check", "plain", env=NOWHERE)

    assert (ended.code, ended.stderr) == (0, "")
    assert ended.stdout == (
        "note: plain: defines no processor and no producer\nNo fault was found.\n"
    )


UNMAKEABLE = {
    "faulty:Unmakeable": "fault: Unmakeable: cannot be run: Unmakeable cannot be made: Runtime",
    "faulty:Demanding": "fault: Demanding: cannot be run: Demanding cannot be made: missing",
    "faulty:Mismatching": "fault: Mismatching: cannot be run: queue 'cli-mismatch' exists",
}


def test_a_processor_that_cannot_be_made_is_a_fault():
    ends = together(*(("check", target) for target in UNMAKEABLE))

    for ended, fault in zip(ends, UNMAKEABLE.values(), strict=True):
        assert ended.code == 4
        assert fault in ended.stdout


UNIMPORTABLE = {
    "nowhere": "Error: No module named 'nowhere' here",
    "raising": "Error: module 'raising' cannot be imported: ValueError: this module is",
    "fleet:Nobody": "Error: module 'fleet' has no 'Nobody'",
}


def test_a_module_that_cannot_be_imported_is_exit_code_2():
    ends = together(*(("check", target) for target in UNIMPORTABLE))

    for ended, line in zip(ends, UNIMPORTABLE.values(), strict=True):
        assert ended.code == 2
        assert ended.stderr.splitlines()[-1].startswith(line)


@pytest.mark.parametrize(
    ("kind", "bound", "key", "leads"),
    [
        ("direct", "a", "a", True),
        ("direct", "a.*", "a.b", False),
        ("topic", "a.*", "a.b", True),
        ("topic", "a.*", "a.b.c", False),
        ("fanout", "a", "b", True),
        ("headers", "a", "b", True),
    ],
)
def test_whether_a_key_leads_to_a_queue_depends_on_the_type(kind, bound, key, leads):
    somewhere = exchange("somewhere", kind)

    found = list(
        keys_lead_nowhere("Sender", [(somewhere, key)], [Binding(somewhere, "queue", bound)])
    )

    assert bool(found) is not leads


MISSHAPED = """
from postage import messaging

class Orders(messaging.Exchange):
    name = "misshaped"

class Odd(messaging.Exchange):
    name, durable = "misshaped-odd", "no"

class NoList(messaging.GenericProducer):
    eks = (Orders, "key")

class NoKey(messaging.GenericProducer):
    eks = [(Orders,)]

class ByName(messaging.GenericProducer):
    eks = [("misshaped", "key")]

class OddExchange(messaging.GenericProducer):
    eks = [(Odd, "key")]

class Hasty(messaging.GenericProducer):
    eks, rpc_timeout = [(Orders, "key")], "5"

class Late(messaging.GenericProducer):
    eks = property(lambda self: [(Orders, "key")])

class Fine(messaging.GenericProducer):
    eks = [(Orders, "key")]
"""


def test_producers_that_cannot_be_made_are_faults(tmp_path):
    (tmp_path / "misshaped.py").write_text(MISSHAPED)
    with running("check", "misshaped", env=NOWHERE, cwd=tmp_path) as program:
        ended = program.wait(SOON)

    assert (ended.code, ended.stderr) == (4, "Error: 5 faults\n"), ended
    for name in ("NoList", "NoKey", "ByName"):
        assert f"fault: {name}: cannot be made: " in ended.stdout
    assert "fault: OddExchange: cannot be made: Odd.durable must be True or False" in ended.stdout
    assert "fault: Hasty: cannot be made: Hasty.rpc_timeout must be >= 0 seconds" in ended.stdout
    assert "Fine      misshaped  key" in ended.stdout
