"""``producer.rpc_X``: a call that is made at once, or in the background."""

from __future__ import annotations

import contextvars
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import gevent

__all__ = ["RpcMethod"]

P = TypeVar("P")


class RpcMethod(Generic[P]):
    """Makes the call X of a producer; with the arguments of its builder, and ``_timeout`` etc.

    *prepare* turns them into what *make* takes; only *make* switches.
    """

    __slots__ = ("_make", "_prepare")

    def __init__(self, prepare: Callable[..., P], make: Callable[[P], Any]) -> None:
        self._prepare, self._make = prepare, make

    def __call__(self, /, *args: Any, **kwds: Any) -> Any:
        """Call, and wait for the result; switches."""
        return self._make(self._prepare(*args, **kwds))

    def later(self, /, *args: Any, **kwds: Any) -> gevent.Greenlet[..., Any]:
        """Begin the call, and return a greenlet that ends with it; never switches.

        Its ``get()`` waits for the result message, ``ready()`` tells whether there is one, and
        ``gevent.wait`` waits for many.  The limits of the call hold from when the greenlet begins,
        which is at the next turn of the hub; to kill it gives the call up.  Raises what building
        and encoding the message raises.
        """
        call = self._prepare(*args, **kwds)
        # gevent gives a new greenlet an empty context: the deadline of a running handler goes along
        return gevent.spawn(contextvars.copy_context().run, self._make, call)
