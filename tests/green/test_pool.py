"""The bounded pool: its size, its order, and its end."""

from __future__ import annotations

import contextvars
import gc
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import gevent.local
import pytest
from gevent.event import Event

from postage.dispatch import HandlerKilled
from postage.green.pool import HELD, Pool
from postage.testing.polling import wait_until

SOON = 5.0


class Work:
    """A handler that takes as long as a test wants, and notes what it did."""

    def __init__(self) -> None:
        self.go = Event()
        self.begun: list[Any] = []
        self.done: list[Any] = []
        self.killed: list[Any] = []
        self.now = self.most = 0

    def __call__(self, item: Any) -> None:
        self.begun.append(item)
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            self.go.wait()
            if isinstance(item, BaseException):
                raise item
            self.done.append(item)
        except HandlerKilled:
            self.killed.append(item)
            raise
        finally:
            self.now -= 1


@pytest.fixture
def work() -> Work:
    return Work()


@pytest.fixture
def pool_of(work: Work) -> Iterator[Callable[[int], Pool[Any]]]:
    """Make pools that are killed when the test ends."""
    made: list[Pool[Any]] = []

    def make(size: int) -> Pool[Any]:
        made.append(Pool(size, work, "a test"))
        return made[-1]

    yield make
    for pool in made:
        pool.kill()


def submit(pool: Pool[Any], items: Any) -> None:
    """Submit *items* in the hub, as deliveries are."""
    for item in items:
        gevent.get_hub().loop.run_callback(pool.submit, item)
    gevent.idle()


@pytest.mark.parametrize("size", [1, 2, 7, 100])
def test_at_most_so_many_at_once_and_as_many_as_may(size: int, work: Work, pool_of: Any) -> None:
    pool = pool_of(size)
    submit(pool, range(50))
    wait_until(lambda: work.now == min(size, 50), SOON)
    assert work.begun == list(range(min(size, 50)))
    work.go.set()
    assert pool.join(SOON)
    assert work.most == min(size, 50)
    assert sorted(work.done) == list(range(50))
    assert work.begun == list(range(50)), "in the order of arrival"


def test_one_at_a_time_keeps_the_order(work: Work, pool_of: Any) -> None:
    pool = pool_of(1)
    for number in range(200):
        pool.submit(number)
        if number == 100:
            work.go.set()
            gevent.sleep(0)
    assert pool.join(SOON)
    assert work.done == list(range(200))
    assert work.most == 1


def test_each_item_has_a_greenlet_of_its_own() -> None:
    seen: list[Any] = []

    def handle(item: int) -> None:
        seen.append(gevent.getcurrent())
        if item % 3 == 0:
            gevent.sleep(0)

    pools: list[Pool[int]] = [Pool(size, handle) for size in (1, 2, 100)]
    for number in range(60):
        pools[number % 3].submit(number)
    assert all(pool.join(SOON) for pool in pools)
    assert len(set(map(id, seen))) == len(seen) == 60
    assert all(greenlet.dead for greenlet in seen)


def test_handlers_that_do_not_wait_have_one_greenlet_at_a_time() -> None:
    alive: list[int] = []
    pool: Pool[int] = Pool(100, lambda _item: alive.append(pool.busy))
    submit(pool, range(1000))
    assert pool.join(SOON)
    assert alive == [1] * 1000


def test_a_pool_knows_its_greenlets_and_no_others(pool_of: Any, work: Work) -> None:
    members: list[bool] = []
    pools: list[Pool[int]] = []

    def handle(number: int) -> None:
        members.append(gevent.getcurrent() in pools[number])
        members.append(gevent.getcurrent() in pools[1 - number])

    pools += [Pool(1, handle), Pool(1, handle)]
    for number, pool in enumerate(pools):
        pool.submit(number)
    assert all(pool.join(SOON) for pool in pools)
    assert members == [True, False] * 2
    assert gevent.getcurrent() not in pools[0]


def test_a_killed_pool_hits_no_other_pool(work: Work, pool_of: Any) -> None:
    over, other = pool_of(1), pool_of(1)
    submit(over, ["first"])
    wait_until(lambda: work.begun == ["first"], SOON)
    work.go.set()
    over.kill(0)  # while its handler is about to end by itself
    submit(other, ["second"])
    wait_until(lambda: "second" in work.done, SOON)
    assert not {"second"} & set(work.killed)


def test_a_killed_pool_starts_nothing_more(work: Work, pool_of: Any) -> None:
    pool = pool_of(1)
    submit(pool, range(3))
    pool.kill()
    submit(pool, ["later"])
    assert (work.begun, pool.waiting) == ([0], 3)


def test_kill_without_a_limit_ends_the_wait_of_others(work: Work, pool_of: Any) -> None:
    pool = pool_of(1)
    submit(pool, ["swallows", "waits"])
    waiting = gevent.spawn(pool.join)
    gevent.idle()
    pool.kill(0)
    assert waiting.get(timeout=SOON) is False
    wait_until(lambda: work.killed == ["swallows"], SOON)


def test_nothing_is_kept_of_what_was_handled(work: Work, pool_of: Any) -> None:
    pool = pool_of(50)
    items = [Event() for _ in range(50)]
    kept = weakref.WeakSet(items)
    submit(pool, items)
    wait_until(lambda: work.now == 50, SOON)
    work.go.set()
    assert pool.join(SOON)
    work.begun.clear()
    work.done.clear()
    items.clear()
    gc.collect()
    assert len(kept) == 0


def test_one_that_waits_does_not_hold_up_those_behind_it(pool_of: Any, work: Work) -> None:
    seen: list[int] = []

    def handle(number: int) -> None:
        if number == 0:
            work.go.wait()
        seen.append(number)

    pool: Pool[int] = Pool(2, handle)
    submit(pool, range(10))
    wait_until(lambda: len(seen) == 9, SOON)
    work.go.set()
    assert pool.join(SOON)
    assert seen == [*range(1, 10), 0]
    pool.kill()


def test_join_says_whether_all_is_quiet(work: Work, pool_of: Any) -> None:
    pool = pool_of(2)
    assert pool.join(0), "nothing was submitted"
    submit(pool, range(3))
    assert not pool.join(0.02)
    work.go.set()
    assert pool.join(SOON)


def test_withdrawn_items_are_not_handled(work: Work, pool_of: Any) -> None:
    pool = pool_of(2)
    submit(pool, range(5))
    assert pool.withdraw() == [2, 3, 4]
    assert pool.withdraw() == []
    assert not pool.join(0), "two are still running"
    work.go.set()
    assert pool.join(SOON)
    assert work.done == [0, 1]


def test_what_comes_while_others_wait_is_behind_them(work: Work, pool_of: Any) -> None:
    pool = pool_of(1)
    submit(pool, range(3))
    pool.submit(3)
    assert pool.waiting == 3
    assert pool.withdraw() == [1, 2, 3]
    submit(pool, range(4, 6))
    work.go.set()
    assert pool.join(SOON)
    assert work.done == [0, 4, 5]


def test_withdrawing_what_nobody_has_begun_makes_it_quiet(work: Work, pool_of: Any) -> None:
    pool = pool_of(2)
    pool.submit("never seen by a greenlet")
    assert pool.withdraw() == ["never seen by a greenlet"]
    assert pool.join(0)
    gevent.idle()
    submit(pool, ["another"])
    wait_until(lambda: work.begun == ["another"], SOON)


def test_kill_ends_the_handlers_that_run(work: Work, pool_of: Any) -> None:
    pool = pool_of(3)
    submit(pool, range(3))
    pool.kill()
    assert sorted(work.killed) == [0, 1, 2]
    assert not work.done
    assert pool.join(0)
    assert pool.busy == 0


@pytest.mark.parametrize("error", [ValueError("no"), KeyError(), gevent.GreenletExit()], ids=repr)
def test_whatever_a_handler_lets_out_the_next_item_is_handled(
    error: BaseException, work: Work, pool_of: Any, caplog: Any
) -> None:
    pool = pool_of(1)
    submit(pool, [error, "next"])
    work.go.set()
    assert pool.join(SOON), f"{pool!r}: the item behind it is stuck"
    assert work.done == ["next"]


def test_repr_says_how_busy_it_is(work: Work, pool_of: Any) -> None:
    pool = pool_of(2)
    submit(pool, range(5))
    assert repr(pool) == "<Pool a test: 2 of 2 busy, 3 waiting>"


# --- greenlets that handle several items

LATER = 0.005
user: contextvars.ContextVar[str] = contextvars.ContextVar("user", default="nobody")
local = gevent.local.local()


def _wait_without_waiting(greenlet: Any) -> None:
    event = Event()
    event.rawlink(greenlet.switch)
    gevent.spawn_later(LATER, event.set)


REFERENCES: list[Any] = []
LEFT_BEHIND: dict[str, Callable[[Any], object]] = {
    "nothing": lambda _greenlet: None,
    "context": lambda _greenlet: user.set("first"),
    "local": lambda _greenlet: setattr(local, "user", "first"),
    "attribute": lambda greenlet: setattr(greenlet, "user", "first"),
    "tree": lambda greenlet: greenlet.spawn_tree_locals.update(user="first"),
    "timeout": lambda _greenlet: gevent.Timeout.start_new(LATER),
    "link": lambda greenlet: greenlet.link(lambda _greenlet: None),
    "kill": lambda greenlet: greenlet.kill(block=False),
    "child": lambda _greenlet: gevent.spawn(gevent.sleep, LATER),
    "link to a child": lambda greenlet: gevent.spawn(gevent.sleep, LATER).link(greenlet.throw),
    "waiter": _wait_without_waiting,
    "callback": lambda greenlet: gevent.get_hub().loop.run_callback(greenlet.throw, ValueError),
    "reference": REFERENCES.append,
    "weak reference": lambda greenlet: REFERENCES.append(weakref.ref(greenlet)),
}


@pytest.mark.parametrize("left", LEFT_BEHIND)
def test_the_next_item_of_a_burst_finds_nothing(left: str) -> None:
    seen: list[Any] = []
    finished: list[str] = []

    def handle(item: str) -> None:
        greenlet: Any = gevent.getcurrent()
        if item == "first":
            LEFT_BEHIND[left](greenlet)
            return
        seen.append((greenlet.has_links(), {*greenlet.spawn_tree_locals}))
        seen.append((user.get(), getattr(greenlet, "user", None), vars(local)))
        # Nobody can tell that they are the same greenlet, unless the first handler has kept it.
        seen.append(any(greenlet in (each, ref_of(each)) for each in REFERENCES))
        gevent.sleep(4 * LATER)
        finished.append(item)

    REFERENCES.clear()
    pool = Pool[str](10, handle, "a burst")
    for item in ("first", "second", "third"):
        pool.submit(item)
    assert pool.join(SOON)

    assert seen == 2 * [(False, {HELD}), ("nobody", None, {}), False]
    assert finished == ["second", "third"]


def ref_of(each: Any) -> Any:
    """Return what a weak reference refers to."""
    return each() if isinstance(each, weakref.ref) else None


def test_a_burst_that_leaves_nothing_behind_has_one_greenlet() -> None:
    seen: list[int] = []
    pool = Pool[int](10, lambda _item: seen.append(id(gevent.getcurrent())), "a burst")
    for number in range(100):
        pool.submit(number)
    wait_until(lambda: len(seen) == 100, SOON)

    assert len({*seen}) == 1
    assert (pool.busy, pool.waiting) == (0, 0)


def test_what_waits_has_a_greenlet_of_its_own() -> None:
    seen: list[Any] = []

    def handle(_item: int) -> None:
        gevent.sleep(0.001)
        seen.append(weakref.ref(gevent.getcurrent()))

    pool = Pool[int](10, handle, "those that wait")
    for number in range(20):
        pool.submit(number)
    assert pool.join(SOON)

    gc.collect()
    assert len(seen) == 20
    assert all(each() is None for each in seen), "ended greenlets are kept"
