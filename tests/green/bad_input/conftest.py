"""Fixtures of the tests of bad input: a processor that runs, its endpoint and a caller."""

from __future__ import annotations

import logging

import pytest

from tests.green.bad_input.victim import Case, Victim
from tests.support.endpoints import Endpoint
from tests.support.raw import raw_to
from tests.support.running import running


@pytest.fixture(scope="module")
def stage(broker_env):
    """One endpoint and one connection of plain pika for all tests, as making them takes time."""
    endpoint = Endpoint("bad-input")
    with raw_to(broker_env.hup, broker_env.vhost) as raw:
        raw.declare(endpoint.dead)
        yield endpoint, raw


@pytest.fixture
def case(stage, caplog):
    """A new victim, running at an empty queue."""
    endpoint, raw = stage
    caplog.set_level(logging.INFO, "postage")
    victim = Victim({"name": "victim"}, endpoint.strict)
    for queue in (endpoint.queue, endpoint.dead):
        raw.channel.queue_purge(queue)
    with running(victim):
        yield Case(endpoint, raw, victim, endpoint.producer(), caplog)
