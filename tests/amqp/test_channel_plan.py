"""How the channels that a broker allows are shared out."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from postage.green.amqp.channel_plan import ChannelPlan, share_of


@given(st.integers(1, 65535))
def test_consumers_leave_room_for_replies_and_leases(limit: int) -> None:
    plan = ChannelPlan.of(limit)
    assert plan.shared >= 1, "however many there are, they can consume"
    assert plan.own >= 0
    assert limit - plan.own - plan.shared >= min(2, limit - 1)


@given(st.integers(1, 65534))
def test_more_channels_never_mean_fewer_consumers(limit: int) -> None:
    less, more = ChannelPlan.of(limit), ChannelPlan.of(limit + 1)
    assert more.own >= less.own
    assert more.own + more.shared >= less.own + less.shared
    assert more.is_tight <= less.is_tight


def test_a_usual_broker_is_not_tight() -> None:
    assert ChannelPlan.of(2047) == ChannelPlan(50, 30)
    assert not ChannelPlan.of(2047).is_tight
    assert ChannelPlan.of(100).is_tight


@given(st.integers(2, 100_000))
def test_the_shares_of_a_user_fit_together(total: int) -> None:
    shares = share_of("publishing", total), share_of("consuming", total)
    assert min(shares) >= 1
    assert sum(shares) <= total


def test_four_channels_are_enough_for_a_server_that_calls() -> None:
    """A consumer, the replies to calls, the calls, and one to declare."""
    assert (share_of("publishing", 4), share_of("consuming", 4)) == (2, 2)
    assert ChannelPlan.of(2) == ChannelPlan(own=0, shared=1)
