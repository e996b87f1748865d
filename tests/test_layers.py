"""The shape of the code: imports point down only and do nothing else, and modules are short."""

from __future__ import annotations

import sys
from collections import defaultdict
from graphlib import CycleError, TopologicalSorter

import pytest

from tests.support.programs import run_program
from tests.support.sources import PACKAGE, ROOT, Import, Module, modules

MODULES = modules()
NAMES = frozenset(module.name for module in MODULES)

#: Floors by height; a module stands on the floor of the longest prefix that names it.
FLOORS = {
    "postage.": 0,  # the model
    "postage.broker.wire": 1,
    "postage.broker.core": 2,
    "postage.broker.session": 3,
    "postage.broker": 4,
    "postage.green.amqp": 5,
    "postage.green": 6,
    "postage.parking": 7,
    "postage.services": 7,
    "postage.metrics": 7,
    "postage.tracing": 7,
    "postage.messaging": 8,  # the façades
    "postage.microthreads": 8,
    "postage.generic_application": 8,
    "postage": 8,
    "postage.cli": 9,  # the edges
    "postage.testing": 9,
    "postage.__main__": 9,
}
#: What a floor may import besides the standard library and lower floors.
FOREIGN = {
    0: {"msgspec", "orjson"},  # encoding.py, where they are installed
    1: set(),
    2: set(),
    3: set(),
    4: {"gevent", "greenlet"},
    5: {"gevent", "greenlet", "pika"},
    6: {"gevent", "greenlet"},
    7: {"gevent", "greenlet", "msgspec", "opentelemetry", "prometheus_client"},
    8: set(),
    9: {
        "click",
        "flask",
        "gevent",
        "greenlet",
        "pytest",
        "_pytest",
        "rich",
        "tomli",
        "tomllib",  # which Python 3.10 lacks
        "watchfiles",
        "werkzeug",
        "yaml",
    },
}
LONGEST = 500
#: The folders beside the package; their modules can be read in one sitting as well.
BESIDE = ("tests", "benchmarks", "tools", "demos")
every_module = pytest.mark.parametrize("module", MODULES, ids=lambda module: module.name)


def floor(name: str) -> int:
    """Return the height of the floor on which the module *name* stands."""
    while name not in FLOORS:
        name = name.rpartition(".")[0] or name
        if name == "postage":
            return FLOORS["postage."]
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


def test_no_modules_import_each_other() -> None:
    """No circle is left, however long; imports for types and imports in functions count as well."""
    edges = {
        module.name: {i.target for i in module.imports(NAMES) if i.target in NAMES} - {module.name}
        for module in MODULES
    }

    try:
        TopologicalSorter(edges).prepare()
    except CycleError as exc:
        pytest.fail("these import each other: " + " -> ".join(exc.args[1]))


def test_no_name_occurs_twice() -> None:
    """A class or a module is found by its name alone, in a traceback as in a search."""
    places = defaultdict(list)
    for module in MODULES:
        if module.path.stem not in {"__init__", "__main__"}:
            places[module.path.stem].append(str(module.path))
        for name, line in module.classes():
            places[name].append(f"{module.path}:{line}")

    twice = {name: found for name, found in places.items() if len(found) > 1}

    assert not twice


@pytest.mark.parametrize(("folder", "most"), [("green", 20), ("cli", 16), ("broker", 12)])
def test_a_folder_can_be_taken_in_at_a_glance(folder: str, most: int) -> None:
    entries = {path.name for path in (PACKAGE / folder).iterdir()} - {"__pycache__"}

    assert len(entries) <= most, sorted(entries)


@every_module
def test_module_can_be_read_in_one_sitting(module: Module) -> None:
    assert len(module.text.splitlines()) <= LONGEST


@pytest.mark.parametrize("folder", BESIDE)
def test_other_modules_can_be_read_in_one_sitting(folder: str) -> None:
    files = {str(path.relative_to(ROOT)): path for path in (ROOT / folder).rglob("*.py")}
    lengths = {name: len(path.read_text().splitlines()) for name, path in files.items()}
    too_long = {name for name, length in lengths.items() if length > LONGEST}

    assert lengths, f"there is no module in {folder}"
    assert not too_long


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
