"""Which failed messages are tried again, when, and what is kept of the others; without a broker."""

from __future__ import annotations

import itertools
import math
import pickle
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postage import GiveUp, RejectMessage, Retry, RetryLater, SettingsError, retry
from postage.foreign_text import LONGEST_TRACEBACK
from postage.recoverability import (
    ATTEMPT,
    DELAY_STEPS,
    RETRY,
    Decision,
    Failure,
    History,
    Remedy,
    check_queue,
    decide,
    delay_steps,
    dossier,
    is_kept,
    keeping_type,
    origin_headers,
    origin_of,
    parking_queue,
)

PARK = Decision(Remedy.PARK)
AT_ONCE = Decision(Remedy.AT_ONCE)


def decided(error: BaseException, policy: Retry | None, **known: Any) -> Decision:
    """Return the decision about one failure; known: ``rounds``, ``tries`` and ``draw``."""
    rounds, tries, draw = known.get("rounds", 0), known.get("tries", 1), known.get("draw", 0.5)
    return decide([(error, policy)], History(rounds=rounds), tries=tries, draw=lambda: draw)


@pytest.mark.parametrize(
    "fields",
    [
        {"now": -1},
        {"now": 1.5},
        {"now": True},
        {"now": 10**6},
        {"delays": 5},
        {"delays": "5"},
        {"delays": (-1,)},
        {"delays": (math.nan,)},
        {"delays": (math.inf,)},
        {"delays": (2**32,)},
        {"delays": ("5",)},
        {"jitter": -0.1},
        {"jitter": 1},
        {"jitter": math.nan},
        {"on": "ConnectionError"},
        {"on": (ConnectionError, 5)},
        {"on": ConnectionError()},
    ],
    ids=str,
)
def test_a_policy_that_cannot_be_carried_out_is_refused(fields):
    with pytest.raises(SettingsError):
        Retry(**fields)


@pytest.mark.parametrize("seconds", [-1, math.nan, math.inf, 2**32, "5", None, True], ids=str)
def test_seconds_that_cannot_be_waited_are_refused(seconds):
    with pytest.raises(SettingsError):
        RetryLater(seconds)


def test_the_signals_of_handlers_can_be_pickled():
    later, given_up = pickle.loads(pickle.dumps((RetryLater(30), GiveUp("it is gone"))))  # noqa: S301 - our own
    assert (later.seconds, given_up.why) == (30.0, "it is gone")


def test_first_at_once_then_later_then_parked():
    policy = Retry(now=2, delays=(5, 30), jitter=0)
    seen = [
        decided(ValueError(), policy, rounds=rounds, tries=tries)
        for rounds in range(3)
        for tries in (1, 2, 3)
    ]
    later = [Decision(Remedy.LATER, 5.0), Decision(Remedy.LATER, 30.0)]
    assert seen == [AT_ONCE, AT_ONCE, later[0], AT_ONCE, AT_ONCE, later[1], AT_ONCE, AT_ONCE, PARK]


@given(st.floats(0, 1), st.floats(0, 0.99), st.floats(0, 4e6))
def test_jitter_changes_a_delay_by_that_part_of_it_at_most(draw, jitter, delay):
    chosen = decided(ValueError(), Retry(delays=(delay,), jitter=jitter), draw=draw).delay
    assert delay * (1 - jitter) * (1 - 1e-9) <= chosen <= delay * (1 + jitter) * (1 + 1e-9)


@pytest.mark.parametrize(
    ("error", "policy", "expected"),
    [
        (ValueError(), None, PARK),
        (ValueError(), Retry(), PARK),
        (ValueError(), Retry(now=1, on=ConnectionError), PARK),
        (ConnectionResetError(), Retry(now=1, on=(KeyError, ConnectionError)), AT_ONCE),
        (KeyboardInterrupt(), Retry(now=1), PARK),
        (GiveUp("no"), Retry(now=1), PARK),
        (RejectMessage("no"), Retry(now=1), PARK),
        (RetryLater(7), None, Decision(Remedy.LATER, 7.0)),
        (RetryLater(0), Retry(now=1), Decision(Remedy.LATER, 0.0)),
    ],
    ids=lambda value: getattr(value, "remedy", None) and value.remedy.name,
)
def test_the_exception_decides(error, policy, expected):
    assert decided(error, policy) == expected


REMEDIES = {
    AT_ONCE: (ValueError(), Retry(now=1)),
    Decision(Remedy.LATER, 3.0): (RetryLater(3), None),
    Decision(Remedy.LATER, 9.0): (RetryLater(9), None),
    PARK: (GiveUp("no"), None),
}


@given(st.lists(st.sampled_from(list(REMEDIES)), min_size=1))
def test_of_several_failures_the_last_remedy_wins(decisions):
    chosen = decide([REMEDIES[each] for each in decisions], History(), tries=1)
    assert chosen == max(decisions, key=list(REMEDIES).index)


def test_a_handler_has_a_policy_of_its_own():
    @retry(now=3, on=ConnectionError)
    def handler() -> None: ...

    @retry(None)
    def once() -> None: ...

    assert getattr(handler, RETRY) == Retry(now=3, on=ConnectionError)
    assert getattr(once, RETRY) == Retry()
    with pytest.raises(SettingsError, match="brackets"):
        retry(handler)  # type: ignore[arg-type]
    with pytest.raises(SettingsError):
        retry(now=-1)


# --- what headers tell

junk = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.lists(st.integers())
)


@given(st.dictionaries(st.sampled_from([*History(1, 2, 3.0).headers(), "x"]), junk))
def test_a_history_is_sound_whatever_headers_a_peer_writes(headers):
    history = History.of(headers)
    assert 0 <= history.attempts < 2**31
    assert 0 <= history.rounds < 2**31
    assert history.first_failed is None or history.first_failed > 0
    assert History.of(history.headers()) == history


def test_a_history_counts_tries_and_delays():
    once = History().failed(1000.25)
    assert once == History(1, 0, 1000.25)
    later = History.of(once.later())
    assert later == History(1, 1, 1000.25)
    assert later.failed(2000.0, tries=3) == History(4, 1, 1000.25)
    assert once.headers()[ATTEMPT] == 1


@pytest.mark.parametrize(
    ("exchange", "headers", "expected"),
    [
        ("ours", origin_headers("other", "key"), ("ours", "queue")),
        ("", origin_headers("ours", "key"), ("ours", "key")),
        ("", {}, ("", "queue")),
        ("", None, ("", "queue")),
        ("", {**origin_headers("ours", "key"), "x-postage-exchange": 5}, ("", "queue")),
    ],
    ids=["sent by it", "delayed", "no headers", "none", "odd"],
)
def test_a_delayed_message_tells_where_it_was_sent(exchange, headers, expected):
    assert origin_of(exchange, "queue", headers) == expected


# --- delays


def test_the_steps_of_delays_grow_by_an_eighth():
    assert list(DELAY_STEPS) == sorted(set(DELAY_STEPS))
    assert (DELAY_STEPS[0], DELAY_STEPS[-1] < 2**32) == (100, True)
    pairs = itertools.pairwise(DELAY_STEPS)
    assert max(later / earlier for earlier, later in pairs) < 1.15


@given(st.floats(0, RetryLater.MAX))
def test_a_step_is_near_to_the_delay_that_was_asked_for(delay):
    step = delay_steps(delay)[0] / 1000
    assert step in [each / 1000 for each in DELAY_STEPS]
    assert abs(step - delay) <= max(0.1, 0.07 * delay)


# --- queues

QUEUE = {"durable": True}
ENDING = [{"exclusive": True}, {"auto_delete": True}]
LETTERS = {"arguments": {"x-dead-letter-exchange": ""}}


def test_queues_that_end_or_have_dead_letters_park_nothing():
    assert is_kept(QUEUE)
    assert is_kept({"arguments": None})
    assert is_kept({"passive": True})
    assert not any(map(is_kept, [*ENDING, LETTERS, {"arguments": {"x-queue-type": "stream"}}]))


def test_a_parking_queue_is_kept_by_as_many_nodes_as_the_queue():
    assert keeping_type({"arguments": {"x-queue-type": "quorum"}}) == "quorum"
    assert [keeping_type(each) for each in (QUEUE, {"arguments": {"x-queue-type": "stream"}})] == [
        "classic",
        "classic",
    ]
    assert parking_queue("{queue}.parked", "orders") == "orders.parked"
    assert parking_queue("errors", "orders") == "errors"
    assert parking_queue("{queue}.parked", "\u6f22" * 85) == "\u6f22" * 82 + ".parked"


@pytest.mark.parametrize(
    "flags", [*ENDING, {"arguments": {"x-queue-type": "stream"}}], ids=["own", "auto", "stream"]
)
def test_a_queue_that_cannot_have_delays_is_refused(flags):
    with pytest.raises(SettingsError, match=r"delays.*'mine'"):
        check_queue("mine", flags, [None, Retry(delays=(1,))])
    check_queue("mine", flags, [None, Retry(now=3)])


@pytest.mark.parametrize("argument", ["x-message-ttl", "x-expires"])
def test_delays_longer_than_a_queue_keeps_messages_are_refused(argument):
    flags = {"arguments": {argument: 35_000}}
    for policy in (Retry(delays=(5, 30)), Retry(delays=(40,))):
        with pytest.raises(SettingsError, match=rf"'mine'.*{argument}: 35 s"):
            check_queue("mine", flags, [None, policy])
    check_queue("mine", flags, [None, Retry(delays=(5, 29)), Retry(now=3)])
    check_queue("mine", {"arguments": {argument: "odd"}}, [Retry(delays=(5, 30))])


def test_a_thousand_policies_use_a_dozen_queues():
    """Whatever is drawn, a delay has three queues, and close delays share them."""
    policy, chance = Retry(delays=(5, 30, 120)), random.Random(1)
    steps = {
        delay_steps(decided(ValueError(), policy, rounds=rounds, draw=chance.random()).delay)[0]
        for rounds in range(3)
        for _ in range(1000)
    }
    assert len(steps) == 9


# --- dossiers


def raised(error: BaseException) -> BaseException:
    """Return *error* with a traceback."""
    try:
        raise error  # noqa: TRY301 - that is what it does
    except BaseException as exc:
        return exc


def test_a_dossier_says_what_where_and_how_often():
    failure = Failure(
        "failed",
        raised(ConnectionError("the database\nis away")),
        handler="Shop.order",
        processor="Shop",
        component="shop 1",
        host="here",
        pid="7",
        queue="orders",
        exchange="shop",
        routing_key="new",
    )
    found = dossier(failure, History(3, 2, 1000.0), 2000.5)
    text = found.pop("x-postage-traceback")
    assert "test_recoverability.py" in text
    assert found == {
        "x-postage-attempt": 3,
        "x-postage-round": 2,
        "x-postage-first-failed-ms": 1_000_000,
        "x-postage-parked-ms": 2_000_500,
        "x-postage-why": "failed",
        "x-postage-exception": "builtins.ConnectionError",
        "x-postage-text": "the database\\nis away",
        "x-postage-handler": "Shop.order",
        "x-postage-processor": "Shop",
        "x-postage-component": "shop 1",
        "x-postage-host": "here",
        "x-postage-pid": "7",
        "x-postage-queue": "orders",
        "x-postage-exchange": "shop",
        "x-postage-routing-key": "new",
    }


@given(st.text(max_size=20_000))
def test_a_dossier_is_bounded_whatever_the_error_says(text):
    found = dossier(Failure("failed", raised(ValueError(text * 100)), "work"), History(), 1.0)
    assert len(found.get("x-postage-text", "")) < 13_000
    assert len(found["x-postage-traceback"]) < LONGEST_TRACEBACK + 200


def test_a_dossier_can_be_sent_whatever_peers_call_things():
    odd = "\udcff\n" + "x" * 5000
    failure = Failure(
        "failed", raised(ValueError(odd)), *[odd] * 5, "q\udcff", "e\udcff", "k\udcff"
    )
    found = dossier(failure, History(), 1.0)
    texts = [value for value in found.values() if isinstance(value, str)]
    assert all(len(each.encode()) < LONGEST_TRACEBACK + 200 for each in texts)
    assert found["x-postage-routing-key"] == "k\\udcff"
