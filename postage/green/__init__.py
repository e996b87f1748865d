"""Postage on gevent: producers, consumers, processors and the scheduler that runs them.

Postage blocks only the calling greenlet, whether or not the process is monkey-patched.  `patch_all`
is for blocking calls of the program itself, and must run before other imports.  So each name here
is loaded when it is first used, as in `postage`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from postage.addressing import Headers
    from postage.around import Around
    from postage.errors import GiveUp, RetryLater
    from postage.green.application import GenericApplication, GenericApplicationExchange
    from postage.green.consumer import GenericConsumer
    from postage.green.handling.current import MessageIds, message
    from postage.green.handling.time_limits import TimeLimit, time_limit
    from postage.green.microthread import MicroThread
    from postage.green.patching import patch_all
    from postage.green.pipelining import pipelined
    from postage.green.processor import MessageProcessor
    from postage.green.producer import GenericProducer
    from postage.green.runtime import close, statistics
    from postage.green.scheduler import MicroScheduler, Scheduler, run
    from postage.handler_limits import limit
    from postage.handlers import every
    from postage.kill_switch import KillSwitch
    from postage.queues import Classic, Quorum, Stream
    from postage.recoverability import Retry, retry

# fmt: off
__all__ = [
    "Around", "Classic", "GenericApplication", "GenericApplicationExchange", "GenericConsumer",
    "GenericProducer", "GiveUp", "Headers", "KillSwitch", "MessageIds", "MessageProcessor",
    "MicroScheduler", "MicroThread", "Quorum", "Retry", "RetryLater", "Scheduler", "Stream",
    "TimeLimit", "close", "every", "limit", "message", "patch_all", "pipelined", "retry", "run",
    "statistics", "time_limit",
]

# fmt: on

# The modules that define these names, in the order in which a name is looked up.
_HOMES = (
    *("postage.green.patching", "postage.handlers", "postage.green.microthread"),
    *("postage.queues", "postage.addressing", "postage.around"),
    *("postage.recoverability", "postage.errors", "postage.kill_switch"),
    "postage.handler_limits",
    *("postage.green.pipelining", "postage.green.consumer", "postage.green.producer"),
    *("postage.green.processor", "postage.green.runtime", "postage.green.scheduler"),
    *("postage.green.application", "postage.green.handling.current"),
    "postage.green.handling.time_limits",
)

if not TYPE_CHECKING:  # type checkers would accept any name

    def __getattr__(name: str) -> Any:
        """Load the name from the first of `_HOMES` that lists it, and keep it."""
        if name in __all__:
            for home in _HOMES:
                module = import_module(home)
                if name in module.__all__:
                    return globals().setdefault(name, getattr(module, name))
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """Return all names, loaded or not."""
    return sorted({*globals(), *__all__})
