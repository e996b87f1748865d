"""Postage on gevent: producers, consumers, processors and the scheduler that runs them.

Postage blocks only the calling greenlet, whether or not the process is monkey-patched.  `patch_all`
is for blocking calls of the program itself, and must run before other imports.  So each name here
is loaded when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from postage.green.patching import patch_all

if TYPE_CHECKING:
    from postage.green.application import GenericApplication, GenericApplicationExchange
    from postage.green.consumer import GenericConsumer
    from postage.green.microthread import MicroThread
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

_HOMES = {
    "postage.green.application": ("GenericApplication", "GenericApplicationExchange"),
    "postage.green.consumer": ("GenericConsumer",),
    "postage.green.microthread": ("MicroThread",),
    "postage.green.pipelining": ("pipelined",),
    "postage.green.processor": ("MessageProcessor",),
    "postage.green.producer": ("GenericProducer",),
    "postage.green.runtime": ("close", "statistics"),
    "postage.green.scheduler": ("MicroScheduler", "Scheduler", "run"),
    "postage.handlers": ("every",),
}
# fmt: on
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

if not TYPE_CHECKING:  # type checkers would accept any name

    def __getattr__(name: str) -> Any:
        """Load one of the names above, and keep it."""
        if name not in _HOME_OF:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        found = globals()[name] = getattr(import_module(_HOME_OF[name]), name)
        return found


def __dir__() -> list[str]:
    """Return the names here, loaded or not."""
    return sorted({*globals(), *__all__})
