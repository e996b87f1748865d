"""Many processors in one process: made without waiting for each other, and cheap once they run."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from typing import Any

import gevent
import pytest
from pika import spec

from postage import green, messaging
from postage.errors import TopologyMismatch
from postage.testing.polling import wait_until
from tests.support.attempts import BUSY, outcomes, spawned
from tests.support.endpoints import Endpoint
from tests.support.method_recorder import MethodRecorder, recording_methods
from tests.support.raw import Raw
from tests.support.running import SOON, running

pytestmark = pytest.mark.usefixtures("broker_env")

FEW = 20
"""Fewer than are declared at a time."""
MANY = 300


class Named(messaging.MessageProcessor):
    @messaging.RpcHandler("command", "name")
    def name(self, content: Any, reply: Any) -> None:
        reply(self.fingerprint["name"])


@pytest.fixture
def recorder(broker_env: Any) -> Iterator[MethodRecorder]:
    with recording_methods(broker_env.port) as recorder:
        yield recorder
        recorder.release()
        green.close(1.0)


def named(endpoint: Endpoint, hup: Any, names: list[str]) -> list[Named]:
    return [Named({"name": n}, endpoint.at((endpoint.sub(n), n)), hup) for n in names]


def pipelined(endpoint: Endpoint, hup: Any, names: list[str]) -> list[Named]:
    with green.pipelined():
        return named(endpoint, hup, names)


def names_of(letter: str, count: int = FEW) -> list[str]:
    return [f"{letter}{number}" for number in range(count)]


def test_a_queue_and_all_its_bindings_take_one_round_trip(
    endpoint: Endpoint, broker_env: Any, recorder: MethodRecorder
) -> None:
    hup = {**broker_env.hup, "port": recorder.port}
    named(endpoint, hup, ["warm"])
    before = len(recorder.asked)
    recorder.hold()
    making = spawned(
        messaging.GenericConsumer, endpoint.at(*((endpoint.queue, key) for key in "abc")), hup
    )
    wait_until(lambda: len(recorder.of(spec.Queue.Bind)) == 1 + 3, SOON)
    assert not making.dead
    recorder.release()
    outcomes([making], SOON)
    assert len(recorder.asked) == before + 1 + 3


def test_a_pipelined_block_does_not_wait_between_components(
    endpoint: Endpoint, broker_env: Any, recorder: MethodRecorder
) -> None:
    hup = {**broker_env.hup, "port": recorder.port}
    pipelined(endpoint, hup, names_of("warm"))  # the channels are there from now on
    recorder.hold()
    making = spawned(pipelined, endpoint, hup, names_of("x"))
    wait_until(lambda: len(recorder.of(spec.Queue.Bind)) == 2 * FEW, SOON)
    assert not making.dead, "the end of the block waits"
    recorder.release()
    [made] = outcomes([making], SOON)
    assert [processor.fingerprint["name"] for processor in made] == names_of("x")


def test_outside_of_such_a_block_each_is_waited_for(
    endpoint: Endpoint, broker_env: Any, recorder: MethodRecorder
) -> None:
    hup = {**broker_env.hup, "port": recorder.port}
    pipelined(endpoint, hup, names_of("warm"))
    recorder.hold()
    making = spawned(named, endpoint, hup, names_of("x"))
    wait_until(lambda: len(recorder.of(spec.Queue.Bind)) == FEW + 1, SOON)
    gevent.idle()
    assert len(recorder.of(spec.Queue.Bind)) == FEW + 1
    recorder.release()
    outcomes([making], SOON)


def test_the_end_of_the_block_raises_the_error_of_a_component(endpoint: Endpoint, raw: Raw) -> None:
    raw.declare(endpoint.sub("x3"), auto_delete=True)
    with pytest.raises(TopologyMismatch) as caught:
        pipelined(endpoint, None, names_of("x"))
    assert (caught.value.name, caught.value.flag) == (endpoint.sub("x3"), "auto_delete")
    others = [name for name in names_of("x") if name != "x3"]
    assert all(raw.channel.queue_declare(endpoint.sub(name), passive=True) for name in others)


def test_an_error_in_the_block_is_raised_as_it_is(endpoint: Endpoint) -> None:
    with pytest.raises(KeyError, match="ours"), green.pipelined():
        making_fails(endpoint)
    named(endpoint, None, ["y"])


def making_fails(endpoint: Endpoint) -> None:
    named(endpoint, None, names_of("x"))
    raise KeyError("ours")


def test_a_block_inside_a_block_is_part_of_it(endpoint: Endpoint, raw: Raw) -> None:
    with green.pipelined():
        pipelined(endpoint, None, names_of("x"))
        named(endpoint, None, names_of("y"))
    for name in (*names_of("x"), *names_of("y")):
        raw.channel.queue_declare(endpoint.sub(name), passive=True)


def test_what_is_sent_in_the_block_reaches_who_was_made_before(
    endpoint: Endpoint, raw: Raw
) -> None:
    producer = endpoint.producer(mandatory=True)
    with green.pipelined():
        named(endpoint, None, names_of("x"))
        producer.message_hello(_key="x19")
        wait_until(lambda: raw.count(endpoint.sub("x19")) == 1, SOON)


def test_who_was_made_in_the_block_can_be_called_there(endpoint: Endpoint) -> None:
    producer = endpoint.producer()
    with green.pipelined():
        for processor in named(endpoint, None, names_of("x")):
            gevent.spawn(processor.start_consuming)
        assert producer.rpc_name(_key="x19").value == "x19"


def test_a_key_is_unbound_in_the_block_that_bound_it(endpoint: Endpoint) -> None:
    producer = endpoint.producer()
    with green.pipelined():
        [processor] = named(endpoint, None, ["x"])
        processor.consumer.queue_unbind(endpoint.exchange, endpoint.sub("x"), "x")
    with running(processor):
        assert producer.rpc_name(_key="x").value == "NoRoute"


def test_a_queue_named_by_the_broker_has_its_name_in_the_block(endpoint: Endpoint) -> None:
    with green.pipelined():
        consumer = messaging.GenericConsumer(
            endpoint.at(({"name": "", "flags": {"exclusive": True}}, "x"))
        )
        assert consumer.qk_list[0][0] != ""


def test_300_processors_share_two_connections_without_greenlets(
    endpoint: Endpoint, broker_env: Any, recorder: MethodRecorder
) -> None:
    before = alive()
    herd = pipelined(endpoint, {**broker_env.hup, "port": recorder.port}, names_of("x", MANY))
    run = spawned(green.run, *herd)
    wait_until(lambda: all(each.consumer.consuming for each in herd), SOON)
    producer = endpoint.producer(rpc_timeout=BUSY)
    calls = [spawned(producer.rpc_name, _key=name) for name in names_of("x", MANY)]
    assert [result.value for result in outcomes(calls, SOON)] == names_of("x", MANY)
    assert alive() - before < MANY / 2
    assert len(recorder.of(spec.Connection.Open)) == 2
    for each in herd:
        each.stop_consuming()
    assert outcomes([run], SOON) == [None]


def alive() -> int:
    """Return how many greenlets there are that have not ended."""
    gc.collect()
    return sum(isinstance(each, gevent.Greenlet) and bool(each) for each in gc.get_objects())


def test_what_is_overridden_runs_all_the_same(endpoint: Endpoint) -> None:
    begun = []

    class Eager(Named):
        def start_consuming(self) -> None:
            begun.append(self)
            super().start_consuming()

    processor = Eager({}, endpoint.eqk)
    run = spawned(green.run, processor)
    wait_until(lambda: processor.consumer.consuming, SOON)
    assert begun == [processor]
    processor.stop_consuming()
    assert outcomes([run], SOON) == [None]
