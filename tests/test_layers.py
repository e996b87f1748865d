"""The floors of the package: imports point down only, and importing does nothing else."""

from __future__ import annotations

import sys

import pytest

from tests.support.programs import run_program
from tests.support.sources import Import, Module, modules

MODULES = modules()
NAMES = frozenset(module.name for module in MODULES)

#: Floors by height; a module stands on the floor of the longest prefix that names it.
FLOORS = {
    "postage": 0,  # the model
    "postage.broker": 1,
    "postage.green.amqp": 2,
    "postage.green": 3,
    "postage.messaging": 4,  # the façades
    "postage.microthreads": 4,
    "postage.generic_application": 4,
    "postage.cli": 5,  # the edges
    "postage.testing": 5,
    "postage.__main__": 5,
}
#: What a floor may import besides the standard library and lower floors.
FOREIGN = {
    0: {"msgspec", "orjson"},  # fastjson.py, where they are installed
    1: {"gevent", "greenlet"},
    2: {"gevent", "greenlet", "pika"},
    3: {"gevent", "greenlet"},
    4: set(),
    5: {"click", "gevent", "greenlet", "pytest", "_pytest", "rich", "watchfiles"},
}
LONGEST = 500

every_module = pytest.mark.parametrize("module", MODULES, ids=lambda module: module.name)


def floor(name: str) -> int:
    """Return the height of the floor on which the module *name* stands."""
    while name not in FLOORS:
        name = name.rpartition(".")[0]
    return FLOORS[name]


def allowed(module: Module, target: str) -> bool:
    """Whether *module* may import *target*."""
    top, height = target.partition(".")[0], floor(module.name)
    if top == "postage":
        return floor(target) <= height
    return top in sys.stdlib_module_names or top in FOREIGN[height]


@every_module
def test_imports_point_down_only(module: Module) -> None:
    wrong: list[Import] = [i for i in module.imports(NAMES) if not allowed(module, i.target)]

    assert not wrong, f"{module.path} (floor {floor(module.name)}) imports {wrong}"


@every_module
def test_module_can_be_read_in_one_sitting(module: Module) -> None:
    assert len(module.text.splitlines()) <= LONGEST


@every_module
def test_only_the_command_line_prints(module: Module) -> None:
    if module.name.startswith("postage.cli"):
        return

    assert not list(module.calls_of("print")), f"print() in {module.path}"


def test_the_model_loads_neither_gevent_nor_pika() -> None:
    code = "import postage, sys; print(sorted({'gevent', 'greenlet', 'pika'} & set(sys.modules)))"

    finished = run_program("-c", code)

    assert (finished.code, finished.stdout) == (0, "[]\n"), finished.stderr


#: Imports everything under watch.  Audit events see connections made by C code as well.
WATCHED_IMPORT = """
import importlib, logging, os, sys, threading

seen = []

class WatchedEnvironment(type(os.environ)):
    def __getitem__(self, key):
        if key.startswith("POSTAGE_"):
            seen.append(f"read {key} from the environment")
        return super().__getitem__(key)

def audit(event, args):
    if event in ("socket.connect", "socket.bind", "socket.getaddrinfo", "socket.sendto"):
        seen.append(f"did {event} {args[1:]}")

os.environ.__class__ = WatchedEnvironment
sys.addaudithook(audit)

for name in sys.argv[1:]:
    before = len(seen)
    importlib.import_module(name)
    seen[before:] = [f"{name} {what}" for what in seen[before:]]

import gevent.monkey
if gevent.monkey.is_anything_patched():
    seen.append(f"something patched {sorted(gevent.monkey.saved)}")
if logging.root.handlers or logging.root.level != logging.WARNING:
    seen.append(f"something set up logging: {logging.root} {logging.root.handlers}")
if threading.active_count() != 1:
    seen.append(f"something started threads: {threading.enumerate()}")
print("\\n".join(seen))
"""


def test_importing_everything_does_nothing_else() -> None:
    """No import patches, connects, reads the environment, sets up logging or starts a thread."""
    names = [module.name for module in MODULES if not module.name.endswith("__main__")]

    finished = run_program("-c", WATCHED_IMPORT, *names)

    assert finished.code == 0, finished.stderr
    assert not finished.stdout.strip(), finished.stdout
