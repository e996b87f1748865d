"""Patching: as gevent does it, and what it tells plugins of other packages."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from tests.support.programs import run_program

PLUGIN = """
import gevent.events

def note(event):
    print(type(event).__name__, getattr(event, "module_name", ""))

class Nested:
    refuse = staticmethod(lambda event: refused(event))

def refused(event):
    note(event)
    if event.module_name == "select":
        raise gevent.events.DoNotPatch
"""
ENTRY_POINTS = """
[console_scripts]
nothing = nowhere:main

# plugins
[gevent.plugins.monkey.did_patch_all]
one = test_plugin:note
[gevent.plugins.monkey.will_patch_module]
two = test_plugin : Nested.refuse [extra]
"""
PROGRAM = """
import sys
sys.path.insert(0, sys.argv[2])
import gevent.events, gevent.monkey
from postage import green
own = gevent.events.notify_and_call_entry_points
{"green": green, "gevent": gevent.monkey}[sys.argv[1]].patch_all(subprocess=False)
assert gevent.events.notify_and_call_entry_points is own
print(sorted(gevent.monkey.saved), gevent.monkey.is_module_patched("select"))
print("read by Python:", "importlib.metadata" in sys.modules)
"""


@pytest.fixture(params=["folder", "archive"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Return where a package with plugins of gevent is installed."""
    files = {"test_plugin.py": PLUGIN}
    for version in ("1", "2"):  # of the same package: the first one counts
        files[f"test_plugin-{version}.dist-info/entry_points.txt"] = ENTRY_POINTS
        files[f"test_plugin-{version}.dist-info/METADATA"] = "Name: test-plugin\n"
    if request.param == "archive":
        with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
            for name, text in files.items():
                archive.writestr(name, text)
        return tmp_path / "all.zip"
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def told(who: str, place: Path) -> list[str]:
    finished = run_program("-c", PROGRAM, who, str(place))
    assert finished.code == 0, finished.stderr
    return finished.stdout.splitlines()


def test_plugins_of_gevent_hear_what_they_hear_from_gevent(place: Path):
    *ours, patched, read = told("green", place)
    *gevents, patched_by_gevent, _ = told("gevent", place)
    assert ours == gevents
    assert ours[0].startswith("GeventWillPatchModuleEvent")
    assert ours[-1].startswith("GeventDidPatchAllEvent")
    assert patched == patched_by_gevent
    assert patched.endswith("False")  # select: the plugin refused
    assert read.endswith(str(place.suffix == ".zip"))
