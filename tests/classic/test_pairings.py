"""The same two programs on Postage 1.2.1 and on this package, in all four pairings, on RabbitMQ."""

from __future__ import annotations

import pytest

from tests.classic import expected
from tests.classic.programs import events, program, table
from tests.support.programs import Finished

pytestmark = [
    pytest.mark.slow,
    pytest.mark.transient_queues,
    pytest.mark.usefixtures("classic", "broker_env"),
]

PAIRINGS = [(client, server) for client in ("old", "new") for server in ("old", "new")]


@pytest.fixture(scope="module", params=PAIRINGS, ids="{0[0]}-client-{0[1]}-server".format)
def pairing(request: pytest.FixtureRequest) -> tuple[str, str]:
    """Which library runs the client, and which the server."""
    pair: tuple[str, str] = request.param
    return pair


@pytest.fixture(scope="module")
def client_and_server(classic, broker_env, pairing) -> tuple[Finished, Finished]:
    """How both programs ended: the client goes through its list, then quits the server."""
    name = "-".join(pairing)
    client, server = pairing
    with program(server, "server.py", name) as serving:
        serving.wait_for_line('"ready"')
        with program(client, "client.py", name) as calling:
            said_by_client = calling.wait(within=30)
        return said_by_client, serving.wait()


@pytest.mark.behaviour(
    "other-languages",
    "message-arguments",
    "message-types",
    "message-command",
    "message-status",
    "producer-builders",
    "producer-forward",
    "handler-decorators",
    "handler-classes",
    "message-outcomes",
    "filters",
)
def test_every_kind_of_message_arrives_as_it_was_sent(client_and_server):
    """Also: a handler that raises or rejects, and a message nobody handles, stop nothing."""
    server = events(client_and_server[1])
    assert [event for event in server if event["event"] in KINDS] == expected.MESSAGES


KINDS = {event["event"] for event in expected.MESSAGES}


@pytest.mark.behaviour(
    "other-languages", "message-results", "rpc-call", "rpc-queue-only", "rpc-handlers"
)
@pytest.mark.parametrize("call", expected.RESULTS)
def test_each_kind_of_result_comes_back(client_and_server, call):
    assert table(client_and_server[0])[call] == expected.RESULTS[call]


@pytest.mark.behaviour("rpc-timeout", "rpc-handlers")
@pytest.mark.parametrize("call", expected.FAILURES["old"])
def test_a_call_without_an_answer_ends_in_an_exception_result(client_and_server, pairing, call):
    outcome = table(client_and_server[0])[call]
    assert outcome["value"] == expected.FAILURES[pairing[1]][call]
    assert (outcome["type"], outcome["true"]) == ("exception", False)


@pytest.mark.behaviour("quit-and-restart", "microthreads")
def test_quit_ends_the_server_and_the_code_after_its_loop_runs(client_and_server):
    client, server = client_and_server
    assert (client.code, events(client)[-1]) == (0, {"event": "ended"})
    assert (server.code, events(server)) == (0, expected.SERVER)
