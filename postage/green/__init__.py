"""Postage on gevent: producers, consumers, processors and the scheduler that runs them.

Everything here blocks the calling greenlet only, whether or not the process is monkey-patched.
`patch_all` is for the user's own blocking calls: call it before anything else is imported.
"""

from typing import Any

import gevent.monkey

from postage.green.amqp.pair import close, statistics
from postage.green.application import GenericApplication, GenericApplicationExchange
from postage.green.consumer import GenericConsumer
from postage.green.microthread import MicroThread
from postage.green.pipelining import pipelined
from postage.green.processor import MessageProcessor
from postage.green.producer import GenericProducer
from postage.green.scheduler import MicroScheduler, Scheduler, run
from postage.periodic import every

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


def patch_all(**options: Any) -> None:
    """Make the standard library cooperative; *options* are those of ``gevent.monkey.patch_all``."""
    gevent.monkey.patch_all(**options)
