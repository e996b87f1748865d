"""Addressing: exchanges, queues and keys, and those of generic applications."""

from __future__ import annotations

import pytest

from postage.addressing import Address, Binding, bindings_of, check_eks, queue_name_and_flags
from postage.errors import SettingsError
from postage.exchange import Exchange


class Other(Exchange):
    name = "other"


@pytest.mark.behaviour("consumer-queues")
def test_bindings_come_in_the_order_of_the_eqk():
    queue = {"name": "b", "flags": {"durable": False}}
    eqk = [(Exchange, [("a", "k1"), ("a", "k2")]), (Other, [(queue, "k1")]), (Other, [])]

    assert list(bindings_of(eqk)) == [
        Binding(Exchange, "a", "k1"),
        Binding(Exchange, "a", "k2"),
        Binding(Other, queue, "k1"),
    ]


@pytest.mark.parametrize(
    ("queue", "key", "routing_key", "lasting"),
    [
        ("a", "k", "k", ("a", "k")),
        ("a", None, "a", ("a", "a")),
        ({"name": "a"}, None, "a", ("a", "a")),
        ("amq.gen-7", "k", "k", ("", "k")),
        ("amq.gen-7", None, "amq.gen-7", ("", "")),
    ],
)
def test_a_binding_without_a_key_has_the_name_of_its_queue(queue, key, routing_key, lasting):
    binding = Binding(Exchange, queue, key)

    assert (binding.routing_key, binding.lasting_names) == (routing_key, lasting)


@pytest.mark.behaviour("consumer-queues")
@pytest.mark.parametrize(
    ("queue", "expected"),
    [
        ("a", ("a", {})),
        ({"name": "a"}, ("a", {})),
        ({"name": "a", "flags": None}, ("a", {})),
        ({"name": "a", "flags": {}}, ("a", {})),
        ({"name": "a", "flags": {"exclusive": True}}, ("a", {"exclusive": True})),
    ],
)
def test_a_queue_is_a_name_or_a_dictionary_with_optional_flags(queue, expected):
    assert queue_name_and_flags(queue) == expected


@pytest.mark.behaviour("consumer-queues")
@pytest.mark.parametrize(
    ("flag", "value"),
    [
        *(("durable", False), ("auto_delete", True), ("exclusive", 1), ("passive", 0)),
        ("arguments", {"x-message-ttl": 60_000}),
    ],
)
def test_the_flags_are_those_of_queue_declare(flag, value):
    assert queue_name_and_flags({"name": "a", "flags": {flag: value}}) == ("a", {flag: value})


@pytest.mark.behaviour("consumer-queues")
def test_an_unknown_flag_is_refused_by_name():
    with pytest.raises(SettingsError, match=r"queue 'a': no flag 'autodelete'.*auto_delete"):
        queue_name_and_flags({"name": "a", "flags": {"autodelete": True}})


@pytest.mark.behaviour("consumer-queues")
def test_the_flags_of_the_user_are_not_changed():
    flags = {"exclusive": True}
    queue_name_and_flags({"name": "a", "flags": flags})[1]["durable"] = False

    assert flags == {"exclusive": True}


FIRST = Address("monitor", "77", "host-b")
THIRD = Address("monitor", "77", "host-b", 2)


@pytest.mark.behaviour("application-keys")
def test_the_shared_queues_have_the_classic_names_and_flags():
    assert FIRST.sid == {"name": "monitor", "flags": {"auto_delete": True}}
    assert FIRST.hid == {"name": "monitor@host-b", "flags": {"auto_delete": True}}
    assert (THIRD.sid, THIRD.hid) == (FIRST.sid, FIRST.hid)


@pytest.mark.behaviour("application-keys")
@pytest.mark.parametrize(("address", "name"), [(FIRST, "77@host-b"), (THIRD, "77.2@host-b")])
def test_each_instance_has_an_exclusive_queue_of_its_own(address, name):
    assert address.uid["name"] == name
    assert address.uid["flags"] == {"exclusive": True, "auto_delete": True}


@pytest.mark.behaviour("application-keys")
@pytest.mark.parametrize("address", [FIRST, THIRD])
def test_fan_out_keys_use_own_queues_and_round_robin_shared_ones(address):
    own = address.uid
    fan_out = ["monitor", "@host-b", "monitor@host-b", "77@host-b", f"77.{address.number}@host-b"]

    assert address.standard() == [
        *((own, key) for key in fan_out),
        (address.sid, "monitor/rr"),
        (address.hid, "monitor@host-b/rr"),
    ]


@pytest.mark.behaviour("application-groups")
def test_a_group_has_a_fan_out_and_a_round_robin_key():
    assert THIRD.group("g1") == [(THIRD.uid, "monitor#g1"), ("monitor#g1", "monitor#g1/rr")]


# --- wrong shapes


@pytest.mark.parametrize(
    "eqk",
    [
        (Exchange, [("a", "k")]),
        [(Exchange, ("a", "k"))],
        [(Exchange, "ak")],
        [(Exchange, ["ab", "cd"])],
        [(Exchange, {"a": "k"})],
        [(Exchange, [("a", "k", "x")])],
        [(Exchange, None)],
        [("exchange", [("a", "k")])],
        [([("a", "k")], Exchange)],
        {"a": "k"},
        "eqk",
        5,
        Exchange,
    ],
    ids=str,
)
def test_an_eqk_of_another_shape_is_refused_with_the_shape(eqk):
    with pytest.raises(SettingsError, match=r"eqk.* must be (\[\(|a class that inherits Exchange)"):
        list(bindings_of(eqk))


@pytest.mark.parametrize("eqk", [iter([(Exchange, iter([["a", "k"]]))]), [[Exchange(), []]], ()])
def test_any_iterables_of_pairs_are_an_eqk(eqk):
    assert len(list(bindings_of(eqk))) <= 1


@pytest.mark.parametrize(
    "eks",
    [(Exchange, "k"), ["ab"], [("exchange", "k")], [(Exchange, "k", 1)], {Exchange: "k"}, 5],
    ids=str,
)
def test_eks_of_another_shape_are_refused_with_the_shape(eks):
    with pytest.raises(SettingsError, match=r"Sender.eks.* must be (\[\(|a class that inherits)"):
        check_eks(eks, "Sender.eks")
