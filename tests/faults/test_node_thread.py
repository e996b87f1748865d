"""The threads that start RabbitMQ nodes: they last, and the hub continues."""

from __future__ import annotations

import threading
import time

import gevent
import pytest

from tests.support.broker_commands import in_node_thread


def test_functions_run_in_a_few_threads_that_last() -> None:
    threads = {in_node_thread(threading.get_ident) for _ in range(10)}

    assert len(threads) <= 3
    assert threading.get_ident() not in threads


def test_the_caller_gets_the_error() -> None:
    with pytest.raises(ZeroDivisionError):
        in_node_thread(lambda: 1 / 0)
    assert in_node_thread(divmod, 7, 2) == (3, 1)


def test_other_greenlets_continue_meanwhile() -> None:
    waiting = gevent.spawn(in_node_thread, time.sleep, 0.2)
    gevent.sleep(0.05)
    assert not waiting.dead
    waiting.get(timeout=5)
