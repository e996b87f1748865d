"""Greenlets that wait for room: first come, first served."""

from __future__ import annotations

import gevent

from postage.errors import ConnectionLost
from postage.green.amqp.waiting import WOKEN_AT_ONCE, WaitQueue
from postage.testing.polling import wait_until
from tests.support.attempts import outcomes, spawned


class Place:
    """Has a number of slots; each greenlet that enters takes one."""

    def __init__(self) -> None:
        self.room, self.asked = 0, 0
        self.came: list[int] = []
        self.line = WaitQueue(self._has_room)

    def _has_room(self) -> bool:
        self.asked += 1
        return self.room > 0

    def visitor(self, number: int, limit: float = 10.0) -> gevent.Greenlet:
        return gevent.spawn(self._visit, number, limit)

    def _visit(self, number: int, limit: float) -> bool:
        if not self.line.wait(limit):
            return False
        self.room -= 1
        self.came.append(number)
        return True

    def queue_up(self, count: int) -> list[gevent.Greenlet]:
        visitors = [self.visitor(number) for number in range(count)]
        wait_until(lambda: len(self.line) == count)
        return visitors

    def give(self, room: int) -> None:
        self.room += room
        self.line.wake()


def test_as_many_enter_as_there_are_slots_in_their_order() -> None:
    place = Place()
    visitors = place.queue_up(5)
    place.give(3)
    gevent.joinall(visitors[:3], timeout=10)
    gevent.idle()
    assert place.came == [0, 1, 2]
    place.give(2)
    gevent.joinall(visitors, timeout=10)
    assert place.came == [0, 1, 2, 3, 4]


def test_room_for_some_does_not_wake_the_whole_queue() -> None:
    place = Place()
    visitors = place.queue_up(20 * WOKEN_AT_ONCE)
    place.asked = 0
    for done in range(WOKEN_AT_ONCE, len(visitors) + 1, WOKEN_AT_ONCE):
        place.give(WOKEN_AT_ONCE)
        gevent.joinall(visitors[:done], timeout=10)
    assert place.came == [*range(len(visitors))]
    assert place.asked <= 2 * len(visitors)  # and not twenty times as often


def test_a_waiter_that_times_out_lets_the_next_one_enter() -> None:
    place = Place()
    short, patient = place.visitor(1, 0.01), place.visitor(2)
    assert short.get(timeout=10) is False
    place.give(1)
    assert patient.get(timeout=10) is True


def test_a_waiter_killed_after_its_wakeup_passes_its_room_on() -> None:
    place = Place()
    first, second = place.queue_up(2)
    first.kill(block=False)
    place.give(1)
    assert second.get(timeout=10) is True
    assert place.came == [1]


def test_a_waiter_whose_slot_was_taken_stays_first() -> None:
    place = Place()
    first, second = place.queue_up(2)
    place.give(1)
    place.room = 0  # a greenlet that never waited has taken the room
    gevent.idle()
    assert place.came == []
    place.give(2)
    gevent.joinall([first, second], timeout=10)
    assert place.came == [0, 1]


def test_those_that_wait_can_be_sent_away_and_others_enter() -> None:
    place = Place()
    visitors = [spawned(place.line.wait, 10.0) for _ in range(2 * WOKEN_AT_ONCE)]
    wait_until(lambda: len(place.line) == len(visitors))
    place.give(1)  # some are woken already
    place.room = 0
    place.line.fail(lambda: ConnectionLost("left"))
    errors = outcomes(visitors, 10)
    assert {str(error) for error in errors} == {"left"}
    assert len({id(error) for error in errors}) == len(visitors)

    later = place.visitor(-1)
    wait_until(lambda: len(place.line) == 1)
    place.give(1)
    assert later.get(timeout=10) is True
