"""Fingerprints, which identify the sender of a message."""

from __future__ import annotations

import copy
import getpass
import os
import pickle
import socket

import pytest

from postage.errors import SettingsError
from postage.fingerprint import Fingerprint, complete
from tests.support.programs import run_program

KEYS = ("name", "type", "pid", "host", "user", "vhost")
GIVEN = ("camera", "device", "4242", "host-a", "alice", "/lab")


@pytest.fixture
def vhost(monkeypatch):
    monkeypatch.setenv("POSTAGE_VHOST", "/somewhere")
    monkeypatch.delenv("POSTAGE_URL", raising=False)
    return "/somewhere"


@pytest.mark.behaviour("fingerprint-arguments")
def test_pid_host_user_and_vhost_come_from_the_system(vhost):
    made = Fingerprint("camera", "device")

    assert made.as_tuple() == (
        *("camera", "device"),
        *(str(os.getpid()), socket.gethostname(), getpass.getuser(), vhost),
    )


@pytest.mark.behaviour("fingerprint-arguments")
def test_all_six_can_be_given_in_order_and_by_name():
    assert Fingerprint(*GIVEN).as_tuple() == GIVEN
    assert Fingerprint(**dict(zip(KEYS, GIVEN, strict=True))).as_tuple() == GIVEN


@pytest.mark.behaviour("fingerprint-six-keys")
def test_as_dict_has_six_keys_in_the_order_of_as_tuple():
    made = Fingerprint(*GIVEN)

    assert list(made.as_dict().items()) == list(zip(KEYS, GIVEN, strict=True))


@pytest.mark.behaviour("fingerprint-six-keys")
@pytest.mark.parametrize("key", KEYS)
def test_every_value_becomes_a_string(key):
    made = Fingerprint(**{key: 7})

    assert getattr(made, key) == made.as_dict()[key] == "7"
    assert all(type(value) is str for value in made.as_tuple())


@pytest.mark.behaviour("fingerprint-when-made")
def test_a_missing_name_is_none_and_classic_text_on_the_wire():
    made = Fingerprint()

    assert (made.name, made.type) == (None, None)
    assert (made.as_dict()["name"], made.as_dict()["type"]) == ("None", "None")
    assert made.as_tuple()[:2] == ("None", "None")


@pytest.mark.behaviour("fingerprint-when-made")
def test_the_vhost_is_read_when_the_object_is_made(vhost, monkeypatch):
    before = Fingerprint()
    monkeypatch.setenv("POSTAGE_VHOST", "/elsewhere")

    assert (before.vhost, Fingerprint().vhost) == (vhost, "/elsewhere")


@pytest.mark.behaviour("fingerprint-when-made")
def test_the_user_is_read_when_the_object_is_made(monkeypatch):
    monkeypatch.setenv("LOGNAME", "somebody-else")

    assert Fingerprint().user == "somebody-else"


@pytest.mark.behaviour("fingerprint-when-made")
def test_the_host_is_read_when_the_object_is_made(monkeypatch):
    monkeypatch.setattr(socket, "gethostname", lambda: "renamed")

    assert Fingerprint().host == "renamed"


FORKING = """
import os
from postage import Fingerprint

before = Fingerprint()
child = os.fork()
if child == 0:
    right = Fingerprint().pid == str(os.getpid()) != before.pid
    os._exit(0 if right else 1)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), before.pid == str(os.getpid()))
"""


@pytest.mark.behaviour("fingerprint-when-made")
def test_the_pid_is_right_in_a_forked_child():
    assert run_program("-c", FORKING).stdout == "0 True\n"


GRANDCHILD = """
import os
from postage.fingerprint import Fingerprint, complete

made = Fingerprint("made").as_dict()
by_hand = {"pid": os.getpid()}
other = {"pid": os.getpid(), "host": "elsewhere"}
chosen = {"pid": "4242"}
def right():
    pids = [str(complete(each)["pid"]) for each in (made, by_hand)]
    kept = [complete(each)["pid"] for each in (other, chosen)]
    return pids == [str(os.getpid())] * 2 and kept == [other["pid"], "4242"]
for generation in range(3):
    assert right()
    if child := os.fork():
        os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
print("right", flush=True)
"""
SPAWNED = """
import multiprocessing, os
from postage.fingerprint import Fingerprint, complete

def show(made):
    print(complete(made)["pid"] == str(os.getpid()) != made["pid"], flush=True)

if __name__ == "__main__":
    for way in ("spawn", "forkserver", "fork"):
        context = multiprocessing.get_context(way)
        child = context.Process(target=show, args=[Fingerprint("made").as_dict()])
        child.start()
        child.join()
"""


@pytest.mark.behaviour("fingerprint-when-made")
def test_a_fingerprint_of_a_parent_gets_the_pid_of_the_child():
    assert run_program("-c", GRANDCHILD).stdout == "right\n"


@pytest.mark.behaviour("fingerprint-when-made")
def test_a_fingerprint_that_a_child_is_given_gets_its_pid(tmp_path):
    program = tmp_path / "spawned.py"
    program.write_text(SPAWNED)

    finished = run_program(str(program))

    assert finished.stdout == "True\n" * 3, finished.stderr


class Badge:
    """A user's class that can be written as a fingerprint."""

    def as_dict(self):
        return {"name": "badge", "rank": "captain"}


@pytest.mark.behaviour("fingerprint-as-dictionary")
@pytest.mark.parametrize(
    ("partial", "known"),
    [
        (None, {}),
        ({}, {}),
        ({"name": "camera"}, {"name": "camera"}),
        (
            {"pid": "1", "vhost": "/x", "colour": "red"},
            {"pid": "1", "vhost": "/x", "colour": "red"},
        ),
        (Fingerprint(*GIVEN).as_dict(), dict(zip(KEYS, GIVEN, strict=True))),
        (Fingerprint(*GIVEN), dict(zip(KEYS, GIVEN, strict=True))),
        (Badge(), {"name": "badge", "rank": "captain"}),
    ],
)
def test_given_values_are_merged_over_a_bare_fingerprint(partial, known):
    assert complete(partial) == Fingerprint().as_dict() | known


@pytest.mark.behaviour("fingerprint-as-dictionary")
def test_completing_leaves_the_dictionary_of_the_user_alone():
    partial = {"name": "camera"}
    complete(partial)["name"] = "changed"

    assert partial == {"name": "camera"}


def test_fingerprints_are_equal_when_their_six_values_are():
    assert Fingerprint(*GIVEN) == Fingerprint(*GIVEN)
    assert len({Fingerprint(*GIVEN), Fingerprint(*GIVEN)}) == 1
    assert Fingerprint(*GIVEN) != Fingerprint(*GIVEN[:5], "/other")
    assert Fingerprint(*GIVEN) != GIVEN


def pickled(value):
    """Return *value* as it comes out of a pickle."""
    return pickle.loads(pickle.dumps(value))  # noqa: S301 - our own


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, pickled])
def test_a_fingerprint_can_be_copied_and_pickled(duplicate):
    assert duplicate(Fingerprint(*GIVEN)) == Fingerprint(*GIVEN)


def test_the_repr_shows_all_six():
    assert repr(Fingerprint(*GIVEN)) == (
        "Fingerprint(name='camera', type='device', pid='4242', host='host-a', user='alice', "
        "vhost='/lab')"
    )


class Like:
    """An object with an ``as_dict`` that returns something else."""

    def as_dict(self):
        return ["camera"]


@pytest.mark.parametrize("wrong", [["camera"], "camera", 5, Like(), Fingerprint])
def test_what_is_no_fingerprint_is_refused(wrong):
    with pytest.raises(SettingsError, match=r"is no fingerprint: give a Fingerprint or a dict"):
        complete(wrong)
