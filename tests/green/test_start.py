"""What a program loads before it consumes: only what it needs, for that is most of its start."""

from __future__ import annotations

import json
from typing import Any

from tests.support.programs import run_program

#: Each of them takes a tenth of a megabyte, or milliseconds; they are not needed by then.
NOT_OF_THE_MODEL = (
    *("asyncio", "email", "http", "importlib.metadata", "pathlib", "ssl"),
    *("msgspec", "orjson"),  # the first message loads them
)
NOT_OF_THE_RUNTIME = (
    *("asyncio.events", "email", "http", "importlib.metadata", "pathlib", "unicodedata"),
    *("msgspec", "orjson"),
    *("zipfile", "gevent.pool", "gevent.resolver", "gevent.threadpool"),
    *("postage.broker", "postage.cli", "postage.testing"),
    "postage.green.application",
)

#: The interpreter itself may load some of them, for what is installed beside Postage.
BEFORE = "import sys; before = set(sys.modules)\n"
AFTER = "import json; print(json.dumps(sorted(set(sys.modules) - before)))"

CONSUME = """
from postage import green
green.patch_all()
import gevent
from postage import messaging

class Exchange(messaging.Exchange):
    name = "test-start"

class Processor(messaging.MessageProcessor):
    pass

processor = Processor(eqk=[(Exchange, [("test-start", "test-start")])])
running = gevent.spawn(green.run, processor)
while not processor.consumer.consuming:
    gevent.sleep(0.001)
"""


def loaded(code: str) -> set[str]:
    finished = run_program("-c", f"{BEFORE}{code}\n{AFTER}")
    assert finished.code == 0, finished.stderr
    return set(json.loads(finished.stdout))


def test_the_model_loads_nothing_heavy():
    assert not loaded("import postage").intersection(NOT_OF_THE_MODEL)


def test_a_program_consumes_without_what_it_does_not_need(broker_env: Any):
    modules = loaded(CONSUME)
    assert "pika" in modules
    assert not modules.intersection(NOT_OF_THE_RUNTIME)


def test_all_names_of_green_are_there_before_they_are_loaded():
    code = """
from postage import green
assert "pika" not in sys.modules
assert set(green.__all__) <= set(dir(green))
assert [green.run.__name__, green.every.__name__, green.Scheduler.__name__] == [
    "run", "every", "Scheduler"
]
for name in green.__all__:
    getattr(green, name)
assert not hasattr(green, "nothing")
"""
    assert "postage.green.application" in loaded(code)


ASYNCIO = """
from postage import messaging
import asyncio.queues
import pika, pika.adapters.asyncio_connection
assert type(asyncio) is type(sys)
assert pika.adapters.asyncio_connection.asyncio.sleep is asyncio.sleep
assert asyncio.run(asyncio.sleep(0, "done")) == "done"
"""


def test_asyncio_is_there_for_whoever_uses_it():
    assert "asyncio.events" in loaded(ASYNCIO)


def test_a_log_record_does_not_load_asyncio():
    """From Python 3.12 on, a record asks the asyncio that is loaded for the current task."""
    code = """
from postage import green, messaging
import logging
logging.getLogger("x").makeRecord("x", logging.INFO, "", 0, "", (), None)
"""
    assert "asyncio.events" not in loaded(code)


def test_asyncio_is_there_for_pika_as_well():
    code = """
from postage import messaging
import pika
class Connection(pika.adapters.AsyncioConnection):
    def connect(self): ...
connection = pika.adapters.AsyncioConnection(
    pika.ConnectionParameters(), internal_connection_workflow=False
)
print(type(connection.ioloop).__module__, file=sys.stderr)
connection.ioloop.close()
"""
    assert "asyncio.events" in loaded(code)
