"""The attendant: one thread for everything, and the hub goes on."""

from __future__ import annotations

import threading
import time

import gevent
import pytest

from tests.faults.attendant import Attendant


def test_it_runs_all_in_one_thread_that_is_another() -> None:
    attendant = Attendant()
    idents = {attendant.run(threading.get_ident) for _ in range(3)}
    assert len(idents) == 1
    assert threading.get_ident() not in idents


def test_errors_belong_to_who_asked() -> None:
    attendant = Attendant()
    with pytest.raises(ZeroDivisionError):
        attendant.run(lambda: 1 / 0)
    assert attendant.run(divmod, 7, 2) == (3, 1)


def test_others_go_on_meanwhile() -> None:
    waiting = gevent.spawn(Attendant().run, time.sleep, 0.2)
    gevent.sleep(0.05)
    assert not waiting.dead
    waiting.get(timeout=5)
