"""``python -m tests.faults.stalls``: does the flight recorder name the line that holds the hub?

A processor in this process has a handler for each stall of `stall_catalogue`.  The planted line
stands in the handler itself, in a helper of its module, in another module, in a greenlet of the
handler, or in a handler of calls, in turn.  Each handler runs once; then the recorder must have an
entry that begins with the planted line.  ``--busy`` keeps another processor of the process at work.
The exit code is 1 if fewer than 95 of 100 are named.
"""

from __future__ import annotations

import argparse
import importlib
import os
import re
import resource
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import gevent

from postage import messaging
from postage.flight_recorder import EventKind, flight_recorder
from postage.testing.polling import wait_until
from tests.faults import stall_catalogue
from tests.faults.stall_catalogue import PAUSE
from tests.faults.steady import say

FORMS = ("handler", "helper", "module", "greenlet", "call")
PID = os.getpid()
MARK = "  # planted: "
TABLES = ("WAITING", "PYTHON", "C_CODE", "MORE_C_CODE")
REQUIRED = 0.95
MEMORY = 6 << 30
"""Bytes of address space, lest a wrong row of the catalogue takes those of the machine."""
MODULES = """
array ast base64 bz2 collections copy csv ctypes decimal difflib email.utils fnmatch fractions
functools hashlib heapq ipaddress itertools json lzma marshal math os pickle pprint random re select
signal sqlite3 statistics string struct subprocess textwrap time unicodedata urllib.parse uuid
xml.etree.ElementTree zlib gevent
"""
IMPORTS = f"""\
import {", ".join(MODULES.split())}
from postage import messaging
from tests.faults.stall_catalogue import PAUSE
from tests.faults.stall_tools import *
"""


@dataclass
class Stall:
    """One row of the catalogue, and where it was planted."""

    name: str
    prepared: str
    statement: str
    form: str
    place: str = ""

    @property
    def is_operator(self) -> bool:
        """Whether the recorder is known not to see its line."""
        return f"\n{self.name} " in stall_catalogue.OPERATORS


def stalls() -> Iterator[Stall]:
    """Yield the rows of the catalogue, each with a form."""
    tables = [getattr(stall_catalogue, n) for n in (*TABLES, "OPERATORS")]
    rows = [row for table in tables for row in table.strip().splitlines()]
    for number, row in enumerate(rows):
        name, prepared, statement = (part.strip() for part in row.split("|", 2))
        yield Stall(name, prepared, statement, FORMS[number % len(FORMS)])


def written(found: list[Stall], folder: Path) -> Any:
    """Write the modules with the stalls into *folder*; return the module of the processor."""
    here, there = [IMPORTS, "from stall_helpers import *\n"], [IMPORTS]
    methods = ["class Stalled(messaging.MessageProcessor):\n    data = {}\n"]
    for each in found:
        line = f"{each.statement}{MARK}{each.name}\n"
        function = f"def f_{each.name}(d):\n    {line}\n"
        sort = "rpc" if each.form == "call" else "message"
        handler = "RpcHandler" if each.form == "call" else "MessageHandler"
        reply = ", reply" if sort == "rpc" else ""
        methods.append(f"    @messaging.{handler}('command', '{each.name}')\n")
        methods.append(f"    def on_{each.name}(self, content{reply}):\n")
        methods.append(f"        d = self.data['{each.name}']\n")
        if each.form in ("handler", "call"):
            methods.append(f"        {line}        return True\n\n")
        elif each.form == "greenlet":
            here.append(function)
            methods.append(f"        gevent.spawn(f_{each.name}, d).join()\n\n")
        else:
            (here if each.form == "helper" else there).append(function)
            methods.append(f"        f_{each.name}(d)\n\n")
    files = {"stall_handlers": [*here, *methods], "stall_helpers": there}
    for name, parts in files.items():
        (folder / f"{name}.py").write_text("".join(parts))
    sys.path.insert(0, str(folder))
    for name in files:
        for number, line in enumerate((folder / f"{name}.py").read_text().splitlines(), 1):
            _, mark, planted = line.partition(MARK)
            if mark:
                next(s for s in found if s.name == planted).place = f"{folder / name}.py:{number} "
    return importlib.import_module("stall_handlers")


def sized(stall: Stall, names: dict[str, Any]) -> int:
    """Return the size for which the statement computes for about `PAUSE` seconds."""
    if not re.search(r"\bn\b", stall.prepared):
        return 0  # it waits
    code, n = compile(stall.statement, stall.name, "exec"), 1000
    while True:
        data = prepared(stall, names, n)
        began = time.process_time()
        exec(code, names | {"d": data})  # noqa: S102 - a row of our own catalogue
        took = time.process_time() - began
        if took >= 0.7 * PAUSE:
            return n
        n = int(n * min(20.0, max(1.3, 0.9 * PAUSE / max(took, 1e-6))))


def prepared(stall: Stall, names: dict[str, Any], n: int) -> Any:
    """Return what the statement needs, for the size *n*."""
    return eval(stall.prepared, names | {"n": n})  # noqa: S307 - as above


class Work(messaging.Exchange):
    name = "stalls"


class Bystander(messaging.MessageProcessor):
    """Is busy beside the stalls."""

    concurrency = 10

    @messaging.MessageHandler("command", "work")
    def on_work(self, content: Any) -> None:
        """Compute a millisecond."""
        end = time.perf_counter() + 0.001
        while time.perf_counter() < end:
            pass


class Sender(messaging.GenericProducer):
    eks: ClassVar[Any] = [(Work, f"stall-{PID}")]


class BusySender(messaging.GenericProducer):
    eks: ClassVar[Any] = [(Work, f"busy-{PID}")]


def keep_busy(sender: BusySender) -> None:
    """Send without a pause."""
    while True:
        sender.message_work()
        gevent.sleep(0.002)


def named(stall: Stall, sender: Sender, processor: Any) -> tuple[bool, str]:
    """Let the stall happen; tell whether the recorder names its line, and what it says."""
    before = processor.statistics().handled
    flight_recorder.clear()
    began = time.monotonic()
    if stall.form == "call":
        sender.call(stall.name, _timeout=60)
    else:
        sender.send(stall.name)
    wait_until(lambda: processor.statistics().handled > before, 60)
    took = time.monotonic() - began
    gevent.sleep(0.2)
    entries = [each for each in flight_recorder.entries() if each.kind is EventKind.HELD]
    said = "; ".join(f"{each.seconds:.2f} s {each.text}" for each in entries)
    return any(each.text.startswith(stall.place) for each in entries), f"{took:.2f} s: {said}"


def main() -> int:
    """Plant, run and judge; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--busy", action="store_true")
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    if hasattr(sys, "set_int_max_str_digits"):
        sys.set_int_max_str_digits(0)
    found = [each for each in stalls() if options.only in each.name]
    with tempfile.TemporaryDirectory() as name:
        module = written(found, Path(name))
        sizes = {each.name: sized(each, vars(module)) for each in found}
        processor = module.Stalled(eqk=[(Work, [(f"stalls-{PID}", f"stall-{PID}")])])
        processor.start()
        if options.busy:
            Bystander(eqk=[(Work, [(f"busy-{PID}", f"busy-{PID}")])]).start()
            gevent.spawn(keep_busy, BusySender())
        sender, right = Sender(), Counter()
        for each in found:
            data = prepared(each, vars(module), sizes[each.name])
            module.Stalled.data = {each.name: data}
            is_named, said = named(each, sender, processor)
            right[each.is_operator] += is_named
            say(f"{'ok' if is_named else 'NO':2} {each.name:18} {each.form:8} {said}")
    operators = sum(each.is_operator for each in found)
    others = len(found) - operators
    say(f"{right[False]} of {others} are named; of operators, {right[True]} of {operators}")
    return 0 if right[False] >= REQUIRED * others else 1


if __name__ == "__main__":
    sys.exit(main())
