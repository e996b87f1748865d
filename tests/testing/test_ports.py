"""Ports for brokers: nobody else's, as long as the process lives that was given them."""

from __future__ import annotations

import os

import pytest

from postage.testing import rabbitmq
from postage.testing.rabbitmq import PORTS, free_ports
from tests.support.programs import Program

COUNT = 40
FEW = PORTS[os.getpid() * COUNT % (len(PORTS) - COUNT) :][:COUNT]
"""So few that two processes would soon be given the same."""
HOLDS = f"""
import signal
from postage.testing import rabbitmq
rabbitmq.PORTS = {FEW!r}
print("given", *rabbitmq.free_ports(10), flush=True)
signal.pause()
"""


def test_no_port_is_given_to_two_living_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rabbitmq, "PORTS", FEW)
    with Program("-c", HOLDS) as other:
        theirs = {int(port) for port in other.wait_for_line("given").split()[1:]}
        ours = set(free_ports(COUNT))
        assert not free_ports(COUNT), "nor are ours given to us again"

    assert len(theirs) == 10
    assert not theirs & ours
    assert theirs <= set(free_ports(COUNT)), "they are free when the process has ended"
