"""Callbacks: called in the order of their addition, and removed without a search."""

from __future__ import annotations

import pytest

from postage.green.amqp.waiting import Callbacks


class Owner:
    compared = 0

    def callback(self) -> None: ...

    def __eq__(self, other: object) -> bool:
        Owner.compared += 1
        return self is other

    __hash__ = None  # type: ignore[assignment]  # callbacks are methods of anything


def test_they_keep_their_order_and_each_is_there_once() -> None:
    first, second = Owner(), Owner()
    callbacks: Callbacks[object] = Callbacks()
    for owner in (first, second, first):
        callbacks.append(owner.callback)
    assert list(callbacks) == [first.callback, second.callback]
    callbacks.remove(first.callback)
    assert list(callbacks) == [second.callback]
    with pytest.raises(KeyError):
        callbacks.remove(first.callback)


def test_removing_one_compares_it_with_no_other() -> None:
    owners = [Owner() for _ in range(1000)]
    callbacks: Callbacks[object] = Callbacks()
    for owner in owners:
        callbacks.append(owner.callback)
    Owner.compared = 0
    for owner in reversed(owners):
        callbacks.remove(owner.callback)
    assert not callbacks
    assert Owner.compared == 0
