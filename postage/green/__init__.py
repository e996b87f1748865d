"""Postage on gevent: producers, consumers, processors and the scheduler that runs them.

Postage blocks only the calling greenlet, whether or not the process is monkey-patched.  `patch_all`
is for blocking calls of the program itself, and must run before other imports.  So each name here
is loaded when it is first used, as in `postage`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from postage.green.application import GenericApplication, GenericApplicationExchange
    from postage.green.consumer import GenericConsumer
    from postage.green.microthread import MicroThread
    from postage.green.patching import patch_all
    from postage.green.pipelining import pipelined
    from postage.green.processor import MessageProcessor
    from postage.green.producer import GenericProducer
    from postage.green.runtime import close, statistics
    from postage.green.scheduler import MicroScheduler, Scheduler, run
    from postage.handlers import every

# fmt: off
__all__ = [
    "GenericApplication", "GenericApplicationExchange", "GenericConsumer", "GenericProducer",
    "MessageProcessor", "MicroScheduler", "MicroThread", "Scheduler",
    "close", "every", "patch_all", "pipelined", "run", "statistics",
]

# fmt: on

# The modules that define these names, in the order in which a name is looked up.
_HOMES = (
    *("postage.green.patching", "postage.handlers", "postage.green.microthread"),
    *("postage.green.pipelining", "postage.green.consumer", "postage.green.producer"),
    *("postage.green.processor", "postage.green.runtime", "postage.green.scheduler"),
    "postage.green.application",
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
