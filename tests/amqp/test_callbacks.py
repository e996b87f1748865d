"""Hooks: called in their order, and found at once among thousands."""

from __future__ import annotations

import pytest

from postage.green.amqp.waiting import Callbacks


class Owner:
    compared = 0

    def hook(self) -> None: ...

    def __eq__(self, other: object) -> bool:
        Owner.compared += 1
        return self is other

    __hash__ = None  # type: ignore[assignment]  # hooks are methods of anything


def test_they_keep_their_order_and_each_is_there_once() -> None:
    first, second = Owner(), Owner()
    hooks: Callbacks[object] = Callbacks()
    for owner in (first, second, first):
        hooks.append(owner.hook)
    assert list(hooks) == [first.hook, second.hook]
    hooks.remove(first.hook)
    assert list(hooks) == [second.hook]
    with pytest.raises(KeyError):
        hooks.remove(first.hook)


def test_none_is_looked_for_among_the_others() -> None:
    owners = [Owner() for _ in range(1000)]
    hooks: Callbacks[object] = Callbacks()
    for owner in owners:
        hooks.append(owner.hook)
    Owner.compared = 0
    for owner in reversed(owners):
        hooks.remove(owner.hook)
    assert not hooks
    assert Owner.compared == 0
