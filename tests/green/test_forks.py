"""What was made before a fork has the pid of the process that uses it."""

from __future__ import annotations

import json
import socket

import pytest

from tests.support.endpoints import Endpoint
from tests.support.programs import run_program
from tests.support.raw import Raw

pytestmark = pytest.mark.usefixtures("broker_env")


@pytest.mark.behaviour("fingerprint-when-made")
def test_components_made_before_a_fork_have_the_pid_of_the_child(
    endpoint: Endpoint, raw: Raw
) -> None:
    raw.declare(endpoint.queue)
    raw.channel.exchange_declare(endpoint.queue, "direct", durable=True)
    raw.channel.queue_bind(endpoint.queue, endpoint.queue, endpoint.queue)

    finished = run_program("tests/green/programs/forked.py", endpoint.queue)

    assert finished.code == 0, finished.stderr
    children = [json.loads(line) for line in finished.stdout.splitlines() if line[:1] == "{"]
    host, parents = socket.gethostname(), {each["elsewhere"] for each in children}
    assert len(children) == 2
    assert len(parents) == 1, "another host's pid is nothing that a fork changes"
    for each in children:
        pid = each["pid"]
        assert each["pings"] == [pid, pid]
        assert each["keys"] == [f"{pid}.{number}@{host}" for number in range(3)]
        assert each["queues"] == [f"{pid}@{host}", f"{pid}.1@{host}", f"{pid}.2@{host}"]
    bodies = [json.loads(raw.take(endpoint.queue).body) for _ in range(3)]
    sent = {each["fingerprint"]["pid"] for each in bodies}
    assert sent == {str(each["content"]["parameters"]) for each in bodies}
    assert sent == {*parents, *(each["pid"] for each in children)}
