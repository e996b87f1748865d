"""Route tables: which handlers a class has, in which order, and what they get."""

from __future__ import annotations

import pickle

import pytest

from postage.errors import SettingsError
from postage.handlers import (
    Handler,
    MessageFilter,
    MessageHandler,
    MessageHandlerFullBody,
    MessageHandlerType,
    RpcHandler,
    every,
    is_handler,
    jobs_of,
)


class Base(metaclass=MessageHandlerType):
    @MessageHandler("command", "a")
    def first(self, content):
        return "first of base", content

    @MessageHandler("command", "a")
    def second(self, content):
        return "second of base", content

    @MessageHandlerFullBody("command", "a")
    def third(self, body):
        return "third of base", body

    @RpcHandler("command", "a")
    def answer(self, content, reply_func):
        reply_func(content)

    def plain(self, content):
        """Not a handler."""


def found(cls, name="a", type_="command", category="message"):
    """Return the names of the handlers that *cls* has for a message."""
    return [attribute for attribute, _ in cls.route_table.find(category, type_, name)]


@pytest.mark.behaviour("several-handlers")
def test_all_handlers_of_a_message_are_found_in_definition_order():
    assert found(Base) == ["first", "second", "third"]


@pytest.mark.behaviour("handler-decorators")
def test_each_kind_of_handler_gets_its_part_of_the_body():
    table = Base.route_table

    assert list(table.find("message", "command", "a")) == [
        *(("first", "content"), ("second", "content"), ("third", None)),
    ]
    assert list(table.find("rpc", "command", "a")) == [("answer", "content")]


@pytest.mark.behaviour("handler-decorators")
@pytest.mark.parametrize(
    ("category", "type_", "name"),
    [("message", "command", "b"), ("message", "status", "a"), ("rpc", "status", "a")],
)
def test_name_type_and_category_must_all_match(category, type_, name):
    assert found(Base, name, type_, category) == []


class Everything(Base):
    @MessageHandler("status")
    def any_status(self, content):
        return content


@pytest.mark.parametrize(
    ("category", "type_", "name"),
    [
        *(("message", "command", "x" * 10_000), ("rpc", "command", "other")),
        *(("message", "x" * 10_000, "a"), ("x" * 10_000, "command", "a")),
        ("message", "status", "x" * 10_000),
    ],
    ids=("name", "name of a call", "type", "category", "name that all handlers take"),
)
def test_texts_of_others_are_not_kept(category, type_, name):
    table = Everything.route_table
    taken = [("any_status", "content")] if type_ == "status" else []

    assert list(table.find(category, type_, name)) == taken

    own = {("message", "command", "a"), ("message", "status", None), ("rpc", "command", "a")}
    assert table.found.keys() <= own


def test_a_handler_of_all_names_keeps_its_place():
    class Both(metaclass=MessageHandlerType):
        @MessageHandler("command")
        def every(self, content):
            pass

        @MessageHandler("command", "a")
        def one(self, content):
            pass

    for _ in range(2):  # the second time, they are kept
        assert found(Both, "a") == ["every", "one"]
        assert found(Both, "b") == ["every"]


@pytest.mark.behaviour("handler-decorators")
def test_decorated_methods_can_still_be_called():
    answers = []
    Base().answer({"x": 1}, answers.append)

    assert Base().first({"x": 1}) == ("first of base", {"x": 1})
    assert answers == [{"x": 1}]
    assert is_handler(Base.first)
    assert not is_handler(Base.plain)


@pytest.mark.behaviour("handler-decorators")
def test_decorated_functions_can_still_be_pickled():
    assert pickle.loads(pickle.dumps(Base.first)) is Base.first  # noqa: S301 - our own


def test_without_a_name_a_handler_takes_every_name_of_its_type():
    class Any(metaclass=MessageHandlerType):
        @MessageHandler("status")
        def every(self, content): ...

        @MessageHandler("status", "online")
        def one(self, content): ...

    assert found(Any, "online", "status") == ["every", "one"]
    assert found(Any, "offline", "status") == ["every"]
    assert found(Any, "online", "command") == []


def test_one_method_may_handle_several_messages():
    class Both(metaclass=MessageHandlerType):
        @MessageHandler("command", "a")
        @MessageHandler("status", "b")
        def method(self, content): ...

    assert found(Both) == found(Both, "b", "status") == ["method"]


class Child(Base):
    def first(self, content):
        return "first of child", content

    @MessageHandler("command", "b")
    def second(self, content):
        return "second of child", content

    @MessageHandler("command", "a")
    def fourth(self, content):
        return "fourth of child", content


class GrandChild(Child):
    third = None


@pytest.mark.behaviour("handler-inheritance")
def test_a_class_has_handlers_of_its_bases_then_its_own():
    assert found(Child) == ["first", "third", "fourth"]


@pytest.mark.behaviour("handler-inheritance")
def test_an_overriding_method_replaces_the_handler_of_its_parent():
    assert (found(Child, "b"), found(Base, "b")) == (["second"], [])
    assert Child().first(1) == ("first of child", 1)


@pytest.mark.behaviour("handler-inheritance")
def test_an_override_that_is_no_method_removes_the_handler():
    assert found(GrandChild) == ["first", "fourth"]


@pytest.mark.behaviour("handler-inheritance")
def test_siblings_do_not_share_handlers():
    class Sibling(Base):
        @MessageHandler("command", "mine")
        def mine(self, content): ...

    assert found(Sibling, "mine") == ["mine"]
    assert found(Base, "mine") == found(Child, "mine") == []


@pytest.mark.behaviour("handler-inheritance")
def test_classes_with_equal_handler_names_keep_their_own():
    class Other(metaclass=MessageHandlerType):
        @MessageHandler("command", "other")
        def first(self, content): ...

    assert (found(Other, "a"), found(Other, "other")) == ([], ["first"])
    assert found(Base, "other") == []


@pytest.mark.behaviour("handler-inheritance")
def test_mixins_that_are_plain_classes_bring_their_handlers():
    class Mixin:
        @MessageHandler("command", "mixed")
        def mixed(self, content): ...

    class Mixed(Mixin, Base): ...

    assert found(Mixed, "mixed") == ["mixed"]
    assert found(Mixed) == found(Base)


@pytest.mark.behaviour("handler-inheritance")
def test_a_handler_added_at_run_time_reaches_subclasses():
    class Parent(Base): ...

    class Heir(Parent): ...

    assert found(Heir, "plugged") == []

    @MessageHandler("command", "plugged")
    def plugged(self, content): ...

    Parent.plugged = plugged
    assert found(Parent, "plugged") == found(Heir, "plugged") == ["plugged"]
    assert found(Base, "plugged") == []

    del Parent.plugged
    assert found(Parent, "plugged") == found(Heir, "plugged") == []


@pytest.mark.behaviour("handler-inheritance")
def test_a_handler_replaced_at_run_time_is_found_once():
    class Parent(Base): ...

    @MessageHandler("command", "a")
    def first(self, content): ...

    Parent.first = first
    assert found(Parent) == ["second", "third", "first"]


@pytest.mark.behaviour("handler-classes")
def test_a_nested_class_can_be_a_handler():
    class Processor(metaclass=MessageHandlerType):
        @MessageHandler("command", "a")
        class Nested(Handler):
            def call(self):
                self.data.append((self.processor, self.reply_func))

    data: list[object] = []
    Processor.Nested("processor", data, "reply")

    assert found(Processor) == ["Nested"]
    assert data == [("processor", "reply")]


@pytest.mark.behaviour("handler-classes")
def test_a_subclass_has_its_own_handler_mark():
    @MessageHandler("command", "a")
    class Parent(Handler): ...

    @MessageHandler("command", "b")
    class Heir(Parent): ...

    class Processor(metaclass=MessageHandlerType):
        parent, heir = Parent, Heir

    assert found(Processor, "a") == ["parent"]
    assert found(Processor, "b") == ["heir"]


@pytest.mark.behaviour("handler-classes")
def test_a_handler_class_without_call_names_the_missing_method():
    class Lazy(Handler): ...

    with pytest.raises(NotImplementedError, match=r"Lazy must define call\(self\)"):
        Lazy(None, {})


@pytest.mark.behaviour("filters")
def test_a_filter_keeps_its_arguments_and_returns_the_function():
    def method(self, content): ...

    kept = MessageFilter(lambda message, *args, **kwds: (message, args, kwds), 1, a=2)

    assert kept(method) is method
    assert method.filters == [kept]
    assert kept.apply("m") == ("m", (1,), {"a": 2})


@pytest.mark.behaviour("filters")
def test_filters_run_innermost_first_wherever_the_decorator_is():
    @MessageFilter(str.upper)
    @MessageHandler("command", "a")
    @MessageFilter(str.lower)
    def method(self, content): ...

    assert [each.callable for each in method.filters] == [str.lower, str.upper]
    assert is_handler(method)


def test_setting_an_ordinary_attribute_builds_no_new_table():
    class Counting(Base):
        count = 0

    table = Counting.route_table
    Counting.count += 1

    assert Counting.route_table is table


# --- periodic jobs


class Ticking:
    @every(2)
    def tick(self):
        return "tick"

    @every(0.5)
    def tock(self):
        return "tock"

    def plain(self):
        return "plain"


def test_a_marked_method_can_still_be_called():
    assert Ticking().tick() == "tick"


def test_a_class_has_its_own_jobs_and_inherited_ones():
    class Derived(Ticking):
        @every(3)
        def more(self):
            pass

    assert dict(jobs_of(Ticking)) == {"tick": 2.0, "tock": 0.5}
    assert dict(jobs_of(Derived)) == {"tick": 2.0, "tock": 0.5, "more": 3.0}


def test_an_override_needs_a_mark_of_its_own():
    class Derived(Ticking):
        tock = None

        def tick(self):
            pass

    assert dict(jobs_of(Derived)) == {}


@pytest.mark.parametrize("seconds", [0, -1, float("inf"), float("nan")])
def test_an_impossible_interval_is_refused(seconds):
    with pytest.raises(SettingsError, match="must be > 0 seconds"):
        every(seconds)


@pytest.mark.parametrize("value", [None, 5, "text", []])
def test_a_filter_is_a_function(value):
    with pytest.raises(SettingsError, match="@MessageFilter takes a function"):
        MessageFilter(value)
