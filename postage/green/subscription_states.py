"""The states of a subscription as a table.  Pure: no gevent, no pika, no I/O."""

from __future__ import annotations

import enum
from collections.abc import Mapping

__all__ = ["TRANSITIONS", "SubscriptionEvent", "SubscriptionState", "next_subscription_state"]


class SubscriptionState(enum.Enum):
    """Where a subscription is in its life."""

    NEW = enum.auto()
    STARTING = enum.auto()
    """It has not had all its consumers since its start, or since it was told to consume again."""
    CONSUMING = enum.auto()
    """The broker has a consumer for every queue, as far as is known here."""
    RECOVERING = enum.auto()
    FAILED = enum.auto()
    """The component got the error, and will stop the subscription."""
    STOPPED = enum.auto()


class SubscriptionEvent(enum.Enum):
    """What can happen to a subscription."""

    START = enum.auto()
    RESTORED = enum.auto()
    """Every queue has its consumer."""
    RESUME = enum.auto()
    """It shall consume again from queues that it was told to hold."""
    BROKEN = enum.auto()
    """A consumer, the channel or the connection has ended."""
    FAIL = enum.auto()
    STOP = enum.auto()


_S, _E = SubscriptionState, SubscriptionEvent

TRANSITIONS: Mapping[SubscriptionState, Mapping[SubscriptionEvent, SubscriptionState]] = {
    _S.NEW: {_E.START: _S.STARTING, _E.STOP: _S.STOPPED, _E.RESUME: _S.NEW},
    _S.STARTING: {
        _E.RESTORED: _S.CONSUMING,
        _E.RESUME: _S.STARTING,
        _E.BROKEN: _S.RECOVERING,
        _E.FAIL: _S.FAILED,
        _E.STOP: _S.STOPPED,
    },
    _S.CONSUMING: {
        _E.RESUME: _S.STARTING,
        _E.BROKEN: _S.RECOVERING,
        _E.FAIL: _S.FAILED,
        _E.STOP: _S.STOPPED,
    },
    _S.RECOVERING: {
        _E.RESTORED: _S.CONSUMING,
        _E.RESUME: _S.RECOVERING,
        _E.BROKEN: _S.RECOVERING,
        _E.FAIL: _S.FAILED,
        _E.STOP: _S.STOPPED,
    },
    # Until the component stops it, the end of its channel or consumers may be reported.
    _S.FAILED: {
        _E.RESUME: _S.FAILED,
        _E.BROKEN: _S.FAILED,
        _E.FAIL: _S.FAILED,
        _E.STOP: _S.STOPPED,
    },
    _S.STOPPED: {
        _E.RESUME: _S.STOPPED,
        _E.BROKEN: _S.STOPPED,
        _E.FAIL: _S.STOPPED,
        _E.STOP: _S.STOPPED,
    },
}


def next_subscription_state(
    state: SubscriptionState, event: SubscriptionEvent
) -> SubscriptionState:
    """Return the state after *event*; raise `AssertionError` where *event* cannot happen."""
    if event not in TRANSITIONS[state]:
        raise AssertionError(f"{event.name} cannot happen to a subscription that is {state.name}")
    return TRANSITIONS[state][event]
