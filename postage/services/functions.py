"""`Application`: a service whose handlers are plain functions.

How it works
------------
Each decorated function is examined at once, in a service of its own, so a mistake is found in its
line.  When the first processor is made, all functions become the handlers of one `Service` class.
The function itself stays as it is: it has no mark, and several services may have it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from types import FunctionType
from typing import Any, ParamSpec, TypeVar, overload

from postage.addressing import QueueSpec
from postage.around import Around
from postage.callables import name_of
from postage.errors import HandlerError, SettingsError
from postage.exchange import Exchange
from postage.fingerprint import FingerprintLike
from postage.green.scheduler import run
from postage.handlers import is_handler
from postage.services import decorators
from postage.services.decorators import Kind, PlainFunction, marks_of
from postage.services.service import SERVICE, Service
from postage.services.typed_client import client
from postage.settings import Settings
from postage.values import check_values, short_text

__all__ = ["Application"]

Function = TypeVar("Function", bound=Callable[..., Any])
Event = TypeVar("Event")
P = ParamSpec("P")
R = TypeVar("R")

_check_name = short_text(1)


class Application:
    """A service of plain functions, whose decorators leave the functions as they are.

    After ``shop = Application("shop", exchange=Shop)``, write ``@shop.rpc``, ``@shop.command`` or
    ``@shop.event(Ordered)`` above functions, as their namesakes above the methods of a `Service`.
    ``shop()`` makes a processor, as calling a class does; ``shop.run()`` and
    ``postage run MODULE:shop`` make and run one.

    *queue*: by default *name*.  *exchange*, *keys* and *attributes* are those of a `Service`, such
    as ``concurrency=10``.  *settings*: for processors and clients; None: those of the environment.

    Raises `SettingsError` for an attribute or a value that a service cannot have.  Does no I/O, and
    never switches; neither do the decorators.
    """

    def __init__(
        self,
        name: str,
        *,
        exchange: type[Exchange] = Exchange,
        queue: QueueSpec | None = None,
        keys: Sequence[str] = (),
        settings: Settings | None = None,
        **attributes: Any,
    ) -> None:
        _check_name("the name of an Application", name)
        if unknown := sorted(attributes.keys() - SERVICE.keys()):
            text = f"has no {', '.join(unknown)}: it may have {', '.join(sorted(SERVICE))}"
            raise SettingsError(f"Application({name!r}) {text}")
        self.name, self.settings = name, settings
        self.__module__ = sys._getframe(1).f_globals["__name__"]  # noqa: SLF001 - as TypeVar does
        """The module that has made it, as a class has it, so that `postage run` finds it there."""
        places = {"exchange": exchange, "queue": queue or name, "keys": keys}
        self._attributes: dict[str, Any] = {**places, **attributes}
        self._functions: dict[str, PlainFunction] = {}
        self._services: dict[str, type[Service]] = {}
        """For each function the service that has it alone."""
        self._service: type[Service] | None = None
        check_values(self._made({}), SERVICE)

    def __repr__(self) -> str:
        return f"<Application {self.name!r}: {', '.join(self._functions) or 'none yet'}>"

    # --- decorators

    @overload
    def rpc(self, function: Function, /) -> Function: ...

    @overload
    def rpc(
        self, /, *, name: str | None = None, raises: tuple[type[Exception], ...] = ()
    ) -> Callable[[Function], Function]: ...

    def rpc(
        self,
        function: Any = None,
        /,
        *,
        name: str | None = None,
        raises: tuple[type[Exception], ...] = (),
    ) -> Any:
        """Make a function the handler of a call: see `postage.rpc`.

        Also raises `HandlerError` if a type hint cannot be served, if another function has the same
        name or takes the same call, and once the `service` has been made.
        """
        return self._adding(function, decorators.rpc(name=name, raises=raises))

    @overload
    def command(self, function: Function, /) -> Function: ...

    @overload
    def command(self, /, *, name: str | None = None) -> Callable[[Function], Function]: ...

    def command(self, function: Any = None, /, *, name: str | None = None) -> Any:
        """Make a function the handler of a command: see `postage.command`, and `rpc` for errors."""
        return self._adding(function, decorators.command(name=name))

    def event(
        self, type_: type[Event], /, *, name: str | None = None
    ) -> Callable[[Callable[[Event], None]], Callable[[Event], None]]:
        """Make a function a handler of the events of *type_*: see `postage.event`.

        For errors see `rpc`.
        """
        add: Callable[[Callable[[Event], None]], Callable[[Event], None]] = self._adding(
            None, decorators.event(type_, name=name)
        )
        return add

    def _adding(self, function: Any, mark: Callable[[Any], Any]) -> Any:
        def add(function: Any) -> Any:
            self._add(function, mark)
            return function

        return add if function is None else add(function)

    def _add(self, function: Any, mark: Callable[[Any], Any]) -> None:
        """Examine *function* with its new *mark*, and keep it; raise `HandlerError`."""
        where = f"{self.name}.{name_of(function)}"
        if not isinstance(function, FunctionType):
            raise HandlerError(where, "is no plain function: write the decorator above a def")
        if marks_of(function) or is_handler(function):
            raise HandlerError(where, "has a decorator for methods, too: take that away")
        if self._service is not None:
            text = f"comes too late, as {self.name!r} has been made: import its module before that"
            raise HandlerError(where, text)
        name = function.__name__
        known = self._functions.get(name)
        if known is not None and known.__func__ is not function:
            raise HandlerError(where, "is the second function of this name: rename one of the two")
        plain = PlainFunction(function)
        mark(plain.marked_as(known))
        alone = self._made({name: plain})
        self._refuse_twin(where, name, plain)
        self._functions[name], self._services[name] = plain, alone

    def _refuse_twin(self, where: str, name: str, plain: PlainFunction) -> None:
        """Raise `HandlerError` if another function takes a call that *plain* would take."""
        calls = _calls(name, plain)
        for other, function in self._functions.items():
            for call in calls & _calls(other, function) if other != name else ():
                text = f"and {other} both take the call {call!r}: only one could answer it"
                raise HandlerError(where, text)

    def _made(self, functions: dict[str, PlainFunction]) -> type[Service]:
        """Return a service of *functions*."""
        members = {**self._attributes, **functions, "__module__": self.__module__}
        return type(self.name, (Service,), members)

    # --- running and calling

    @property
    def service(self) -> type[Service]:
        """The class of the service, made at first use; after that, no function can be added.

        Raises `SettingsError` if there are no functions.  Never switches.
        """
        if not self._functions:
            text = "has no functions: decorate some, and import their modules before it is made"
            raise SettingsError(f"Application({self.name!r}) {text}")
        self._service = self._service or self._made(dict(self._functions))
        return self._service

    def __call__(self, fingerprint: FingerprintLike | None = None) -> Service:
        """Return a new processor; connecting and declaring switch.

        *fingerprint*: by default, its name is that of the service.  Raises what making any
        processor raises, such as `ConnectionFailed`, and `SettingsError` if there are no functions.
        """
        return self.service(fingerprint or {"name": self.name}, settings=self.settings)

    def run(self) -> None:
        """Make a processor and run it until it is told to stop, as `postage.run` does; switches."""
        run(self())

    def client(
        self,
        function: Callable[P, R],
        /,
        *,
        fingerprint: FingerprintLike | None = None,
        around: Sequence[Around] = (),
    ) -> Callable[P, R]:
        """Return a function that calls *function* where the service runs; connecting switches.

        The returned function has the signature of *function*, and does what a method of a `client`
        does; `later` and `options` take it.  *fingerprint*: who calls.  *around*: hooks, as
        `GenericProducer.around`.  Raises `SettingsError` if the service has no such function, and
        what connecting raises.
        """
        name = getattr(function, "__name__", "")
        known = self._functions.get(name)
        if known is None or known.__func__ is not function:
            raise SettingsError(f"{self!r} has no function {name_of(function)}")
        made = client(
            self._services[name], settings=self.settings, fingerprint=fingerprint, around=around
        )
        method: Callable[P, R] = getattr(made, name)
        return method


def _calls(name: str, function: PlainFunction) -> set[str]:
    """Return the names of the calls that *function*, with the *name*, takes."""
    return {mark.name or name for mark in marks_of(function) if mark.kind is Kind.RPC}
