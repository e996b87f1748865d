"""Postage on gevent: producers, consumers, processors and the scheduler that runs them.

Everything here blocks the calling greenlet only, whether or not the process is monkey-patched.
`patch_all` is for the user's own blocking calls: call it before anything else is imported.  So that
nothing else is by then, what is named here is loaded when it is first used.
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

__all__ = [
    "GenericApplication",
    "GenericApplicationExchange",
    "GenericConsumer",
    "GenericProducer",
    "MessageProcessor",
    "MicroScheduler",
    "MicroThread",
    "Scheduler",
    "close",
    "every",
    "patch_all",
    "pipelined",
    "run",
    "statistics",
]

_HOMES = {
    "GenericApplication": "postage.green.application",
    "GenericApplicationExchange": "postage.green.application",
    "GenericConsumer": "postage.green.consumer",
    "GenericProducer": "postage.green.producer",
    "MessageProcessor": "postage.green.processor",
    "MicroScheduler": "postage.green.scheduler",
    "MicroThread": "postage.green.microthread",
    "Scheduler": "postage.green.scheduler",
    "close": "postage.green.runtime",
    "every": "postage.handlers",
    "pipelined": "postage.green.pipelining",
    "run": "postage.green.scheduler",
    "statistics": "postage.green.runtime",
}


if not TYPE_CHECKING:  # or every name would pass for one of ours

    def __getattr__(name: str) -> Any:
        """Load what is named here, and keep it."""
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        found = globals()[name] = getattr(import_module(_HOMES[name]), name)
        return found


def __dir__() -> list[str]:
    """Return the names here, loaded or not."""
    return sorted({*globals(), *__all__})
