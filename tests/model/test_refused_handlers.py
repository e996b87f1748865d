"""Methods that could never do their work as handlers are refused where they are defined."""

from __future__ import annotations

import asyncio
import functools
import inspect
import sys
import types
from unittest.mock import AsyncMock, Mock

import pytest

from postage.errors import HandlerError, PostageError, SettingsError
from postage.green import GenericApplication, MessageProcessor
from postage.handlers import (
    Handler,
    MessageFilter,
    MessageHandler,
    MessageHandlerFullBody,
    MessageHandlerType,
    RpcHandler,
    every,
)


async def coroutine(self, content, reply=None): ...


async def async_generator(self, content, reply=None):
    yield


def generator(self, content, reply=None):
    yield


@types.coroutine
def old_coroutine(self, content, reply=None):
    yield


def plain(self, content=None, reply=None):
    return content


class AsyncCallable:
    async def __call__(self, content, reply=None): ...

    async def method(self, content, reply=None): ...


class GeneratorCallable:
    def __call__(self, content, reply=None):
        yield


class PlainCallable:
    def __call__(self, content, reply=None):
        return content


LAZY = {
    "async": coroutine,
    "async generator": async_generator,
    "generator": generator,
    "types.coroutine": old_coroutine,
    "async lambda": lambda self, content: (yield),
    "partial": functools.partial(coroutine, reply=1),
    "partial of a partial": functools.partial(functools.partial(generator, reply=1), content=1),
    "partial of an object": functools.partial(AsyncCallable()),
    "partial of a method": functools.partial(AsyncCallable().method),
    "partialmethod": functools.partialmethod(coroutine, reply=1),
    "staticmethod": staticmethod(coroutine),
    "classmethod": classmethod(generator),
    "staticmethod of a partial": staticmethod(functools.partial(coroutine)),
    "object": AsyncCallable(),
    "generator object": GeneratorCallable(),
    "AsyncMock": AsyncMock(),
}
if sys.version_info >= (3, 12):
    LAZY["marked"] = inspect.markcoroutinefunction(lambda self, content: None)

each_lazy = pytest.mark.parametrize("method", LAZY.values(), ids=LAZY.keys())
DECORATORS = [
    MessageHandler("command", "a"),
    MessageHandlerFullBody("command", "a"),
    RpcHandler("command", "a"),
    every(1),
]
each_decorator = pytest.mark.parametrize(
    "decorator", DECORATORS, ids=["message", "full body", "rpc", "every"]
)
WHY = r"is (async|a generator).*: a call would return before any of its code has run"


@each_lazy
@each_decorator
def test_code_that_a_call_does_not_run_is_refused(decorator, method):
    with pytest.raises(HandlerError, match=WHY):
        decorator(method)


@each_lazy
def test_such_a_filter_is_refused(method):
    with pytest.raises(HandlerError, match=WHY):
        MessageFilter(method)


@each_lazy
def test_a_handler_class_with_such_a_call_is_refused(method):
    with pytest.raises(HandlerError, match=rf"Lazy .*{WHY}|{WHY}"):
        type("Lazy", (Handler,), {"call": method})
    with pytest.raises(HandlerError, match=WHY):
        MessageHandler("command", "a")(type("NoHandler", (), {"call": method}))


@each_lazy
def test_such_an_override_without_a_decorator_is_refused(method):
    class Base(metaclass=MessageHandlerType):
        @MessageHandler("command", "a")
        def handle(self, content): ...

    with pytest.raises(HandlerError, match=rf"Derived.handle {WHY}"):
        type("Derived", (Base,), {"handle": method})
    with pytest.raises(HandlerError, match=rf"Base.handle {WHY}"):
        Base.handle = method
    assert not inspect.iscoroutinefunction(Base.handle)
    assert Base.route_table.find("message", "command", "a")


def test_such_an_override_in_a_mixin_is_refused():
    class Base(metaclass=MessageHandlerType):
        @MessageHandler("command", "a")
        def handle(self, content): ...

    class Mixin:
        async def handle(self, content): ...

    with pytest.raises(HandlerError, match=rf"Mixed.handle {WHY}"):
        type("Mixed", (Mixin, Base), {})


def test_the_error_is_a_type_error_of_ours_with_the_name():
    with pytest.raises(HandlerError) as caught:

        class Processor(metaclass=MessageHandlerType):
            @MessageHandler("command", "store")
            async def store(self, content): ...

    assert isinstance(caught.value, (TypeError, SettingsError, PostageError))
    assert caught.value.where.endswith("Processor.store")


def runs_it(method):
    """Return a plain function around an async one that runs it."""

    @functools.wraps(method)
    def wrapper(self, content):
        return asyncio.run(method(self, content))

    return wrapper


@pytest.mark.parametrize(
    "method",
    [
        plain,
        runs_it(coroutine),
        functools.partial(plain, content=1),
        staticmethod(plain),
        classmethod(plain),
        functools.partialmethod(plain, content=1),
        PlainCallable(),
        Mock(),
        type("Nested", (Handler,), {"call": plain}),
        type("Abstract", (Handler,), {}),
    ],
)
@each_decorator
def test_everything_else_that_can_be_called_is_taken(decorator, method):
    assert decorator(method) is method


# --- decorators without brackets, and on what is no method


@pytest.mark.parametrize("decorator", [MessageHandler, MessageHandlerFullBody, RpcHandler])
def test_a_handler_decorator_without_brackets_is_refused(decorator):
    with pytest.raises(
        TypeError, match=rf'plain needs .*@{decorator.__name__}\("command", "plain"'
    ):
        decorator(plain)
    with pytest.raises(TypeError, match="Nested needs the type and name"):
        decorator(type("Nested", (Handler,), {}))


def test_every_without_brackets_is_refused():
    with pytest.raises(TypeError, match=r"plain needs an interval: write @every\(seconds\)"):
        every(plain)


def test_a_filter_without_brackets_is_refused_above_and_below():
    with pytest.raises(
        TypeError, match=r"handler needs a filter: write @MessageFilter\(callable\)"
    ):

        @MessageFilter
        @MessageHandler("command", "a")
        def handler(self, content): ...

    with pytest.raises(TypeError, match="cannot be a handler"):

        @MessageHandler("command", "a")
        @MessageFilter
        def below(self, content): ...


@pytest.mark.parametrize("arguments", [(5,), (None,), ("command", 5), ("command", b"x"), ([], {})])
def test_types_and_names_are_text(arguments):
    with pytest.raises(TypeError, match="takes the type and the name as text, not "):
        MessageHandler(*arguments)


@pytest.mark.parametrize("value", [5, None, "text", property(plain), MessageHandler("a", "b")])
def test_what_cannot_be_called_is_no_handler(value):
    with pytest.raises(TypeError, match="cannot be a handler"):
        MessageHandler("command", "a")(value)


@pytest.mark.parametrize("seconds", ["5", None, True, [1], 1j])
def test_an_interval_is_a_number(seconds):
    with pytest.raises(SettingsError, match="interval of @every must be > 0 seconds"):
        every(seconds)


@pytest.mark.parametrize(
    "hide", [staticmethod, classmethod, property, functools.cached_property], ids=str
)
@each_decorator
def test_a_decorator_above_that_hides_a_handler_is_refused(decorator, hide):
    method = decorator(lambda self: None)

    with pytest.raises(HandlerError, match=rf"P.hidden is no handler: .*@{hide.__name__}"):
        type("P", (MessageProcessor,), {"hidden": hide(method)})


@pytest.mark.parametrize("method", [PlainCallable().__call__, len], ids=["bound", "built in"])
def test_what_cannot_be_marked_is_refused(method):
    with pytest.raises(HandlerError, match="cannot be marked as a handler: write a function"):
        MessageHandler("command", "a")(method)
    with pytest.raises(HandlerError, match="cannot have filters"):
        MessageFilter(len)(method)


def test_a_filter_of_a_partialmethod_is_refused():
    with pytest.raises(HandlerError, match="plain cannot have filters"):
        MessageFilter(len)(functools.partialmethod(plain, content=1))


@pytest.mark.parametrize("kind", [staticmethod, classmethod])
def test_the_filters_of_static_and_class_methods_are_found(kind):
    class Processor(metaclass=MessageHandlerType):
        method = MessageFilter(len)(MessageHandler("command", "a")(kind(lambda *_: None)))

    assert [each.callable for each in Processor().method.filters] == [len]


def test_static_and_class_methods_may_be_handlers():
    class Processor(metaclass=MessageHandlerType):
        @MessageHandler("command", "static")
        @staticmethod
        def static(content):
            return content

        @MessageHandler("command", "of_class")
        @classmethod
        def of_class(cls, content):
            return cls, content

    assert [name for _, name in Processor.route_table.entries] == ["static", "of_class"]
    assert (Processor().static(1), Processor().of_class(1)) == (1, (Processor, 1))


# --- names that hide attributes


HANDLERS = {name for name in dir(GenericApplication) if name.startswith("msg_")}
ATTRIBUTES = sorted(
    {name for name in dir(GenericApplication) if not name.startswith("__")}
    | {"address", "fingerprint", "consumer", "counts", "_pool"}
)
FREE = HANDLERS | {"start", "stop", "join", "pause", "resume"}


@pytest.mark.parametrize("name", [name for name in ATTRIBUTES if name not in FREE])
def test_a_handler_that_hides_an_attribute_is_refused(name):
    method = RpcHandler("command", "x")(lambda self, content, reply: None)

    with pytest.raises(HandlerError, match=rf"Named.{name} hides \w+.{name}, .* another name"):
        type("Named", (GenericApplication,), {name: method})
    with pytest.raises(HandlerError, match=rf"GenericApplication.{name} hides"):
        setattr(GenericApplication, name, method)


@pytest.mark.parametrize("name", ["__init__", "__repr__", "__len__", "__module__", "__setattr__"])
def test_a_handler_with_a_name_of_pythons_is_refused(name):
    method = MessageHandler("command", "x")(lambda self, content: None)

    with pytest.raises(HandlerError, match=rf"Named.{name} has a name that Python itself uses"):
        type("Named", (MessageProcessor,), {name: method})


@pytest.mark.parametrize("name", ["restart", "step", "consumer", "counts", "statistics", "eqk"])
def test_jobs_and_handler_classes_may_not_hide_them_either(name):
    for value in (every(1)(lambda self: None), MessageHandler("a", "b")(type("N", (Handler,), {}))):
        with pytest.raises(HandlerError, match=f"P.{name} hides MessageProcessor.{name}"):
            type("P", (MessageProcessor,), {name: value})


@pytest.mark.parametrize("name", ["restart", "main", "_handle"])
@pytest.mark.parametrize("first", [True, False])
def test_a_handler_of_a_mixin_may_not_hide_them_either(name, first):
    mixin = type("Mixin", (), {name: MessageHandler("a", "b")(lambda self, content: None)})
    bases = (mixin, MessageProcessor) if first else (MessageProcessor, mixin)

    with pytest.raises(HandlerError, match=f"Mixed.{name} hides"):
        type("Mixed", bases, {})


def test_a_refused_class_leaves_its_base_as_it_was():
    class Base(MessageProcessor): ...

    with pytest.raises(HandlerError):
        type("P", (Base,), {"step": MessageHandler("a", "b")(lambda self, content: None)})
    Base.later = MessageHandler("a", "later")(lambda self, content: None)

    assert Base.route_table.find("message", "a", "later")


@pytest.mark.parametrize(
    "name",
    ["start", "stop", "join", "pause", "resume", "begin", "kill", "mro", "route_table", "msg_quit"],
)
def test_names_without_which_processors_work_are_free(name):
    method = MessageHandler("command", "x")(lambda self, content: None)

    kind = type("P", (MessageProcessor,), {name: method})

    assert MessageHandlerType.route_table.fget(kind).find("message", "command", "x")


def test_attributes_of_users_may_be_overridden_by_handlers():
    class Base(MessageProcessor):
        def store(self, content):
            raise NotImplementedError

    class Derived(Base):
        @MessageHandler("command", "store")
        def store(self, content): ...

    assert Derived.route_table.find("message", "command", "store")
