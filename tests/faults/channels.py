"""Faults of channels, queues and consumers, while the connections stay."""

from __future__ import annotations

from functools import partial

import pytest

from postage import messaging
from postage.errors import TopologyMismatch
from postage.testing.polling import wait_until
from tests.faults.account import ANSWERED, Limits
from tests.faults.fault import EMBEDDED, RABBITMQ, UNHARMED, Fault
from tests.faults.load import Load, Shape
from tests.faults.scene import Scene, lasting
from tests.support.broker_commands import close_connection
from tests.support.places import Place

TIMES = 5


def exchange_deleted(scene: Scene, load: Load) -> None:
    """Have one publisher's exchange deleted under it (404); it is made again."""
    place = Place(load.place.sub("gone"))
    producer = place.producer(publish_timeout=5.0)
    with scene.raw() as raw:
        for number in range(TIMES):
            producer.message_note([0, number])
            raw.channel.exchange_delete(place.exchange.name)
    producer.message_note([0, TIMES])


def mismatched(_scene: Scene, load: Load) -> None:
    """Declare the queue of the load with other flags (406): the error is for who does so alone."""
    other = {"name": load.notes, "flags": {"arguments": {"x-max-length": 10}}}
    for _ in range(TIMES):
        with pytest.raises(TopologyMismatch):
            messaging.GenericConsumer(load.place.at((other, "notes")))


def queue_deleted(scene: Scene, load: Load, *, which: str) -> None:
    """Delete a queue under its consumers; what was in it is gone."""
    with scene.raw() as raw:
        deleted = raw.channel.queue_delete(load.place.sub(which))
    if which == "notes":
        load.ledger.doomed += deleted.method.message_count


def cancelled(scene: Scene, load: Load) -> None:
    """Cancel all consumers; their queues stay."""
    for queue in (load.notes, load.calls):
        assert scene.broker.faults.cancel_consumers(queue, scene.vhost) == 10


def delete_reply_queues(scene: Scene) -> int:
    """Delete every exclusive queue, for they are where replies arrive; return how many it were."""
    vhost = scene.broker.broker.node.vhosts[scene.vhost]

    def delete() -> int:
        queues = [queue for queue in vhost.queues.values() if queue.owner is not None]
        for queue in queues:
            vhost.remove_queue(queue)
        return len(queues)

    return scene.broker.call(delete)


def reply_queues_deleted(scene: Scene, _load: Load) -> None:
    """Delete the queues on which replies arrive."""
    wait_until(lambda: delete_reply_queues(scene), 5.0, "there is a reply queue")


def reply_queues_lost(scene: Scene, _load: Load) -> None:
    """Close the connection that consumes, and with it goes the queue of replies."""
    close_connection(scene.node, scene.vhost, "consuming")


def confirms_lost(scene: Scene, _load: Load) -> None:
    """Lose all confirms for a while: the messages are in the queue, and nobody says so."""
    scene.broker.faults.lose_confirms(1000, "publishing")
    lasting(0.5)
    scene.broker.faults.clear()


def confirms_late(scene: Scene, _load: Load) -> None:
    """Hold confirms back for a while."""
    scene.broker.faults.delay_confirms(1.0, 1000, "publishing")
    lasting(2.0)
    scene.broker.faults.clear()


def nacked(scene: Scene, _load: Load) -> None:
    """Say of some messages that they could not be taken."""
    scene.broker.faults.nack_confirms(TIMES, "publishing")


def dropped_before_confirms(scene: Scene, load: Load) -> None:
    """Take some messages, and drop the connection before a word of it."""
    accepted = scene.proxy.accepted
    scene.broker.faults.drop("publishing", after_frames=3)
    wait_until(lambda: scene.proxy.accepted > accepted, 10.0, "connected again")
    scene.broker.faults.clear()


CHANNELS = [
    Fault(name="exchange deleted, 404", strike=exchange_deleted, brief=("embedded",)),
    Fault(name="queue mismatched, 406", strike=mismatched, limits=UNHARMED, brief=("rabbitmq",)),
    Fault(
        name="queue of calls deleted",
        strike=partial(queue_deleted, which="calls"),
        brief=("embedded",),
    ),
    Fault(
        name="queue of messages deleted",
        strike=partial(queue_deleted, which="notes"),
        brief=("rabbitmq",),
    ),
    Fault(name="consumers cancelled", strike=cancelled, on=EMBEDDED, limits=Limits(refused=0)),
    Fault(
        name="reply queue deleted",
        strike=reply_queues_deleted,
        on=EMBEDDED,
        limits=Limits(duplicates=0, refused=0, outcomes=frozenset({ANSWERED, "ConnectionLost"})),
    ),
    Fault(name="reply connection closed", strike=reply_queues_lost, on=RABBITMQ, brief=()),
    Fault(
        name="confirms lost",
        strike=confirms_lost,
        on=EMBEDDED,
        shape=Shape(publish_timeout=3.0),
    ),
    Fault(name="confirms late", strike=confirms_late, on=EMBEDDED, limits=UNHARMED),
    Fault(name="confirms turned into nacks", strike=nacked, on=EMBEDDED, limits=Limits(refused=0)),
    Fault(name="dropped before confirms", strike=dropped_before_confirms, on=EMBEDDED),
]
