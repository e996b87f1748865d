"""AMQP components on greenlets: the classic Postage API over gevent and pika.

This package is the model: what a message is, who handles it, where it goes.  It needs the standard
library alone and does no I/O; ``import postage`` loads neither gevent nor pika.  The runtime is
`postage.green`; the classic names are in `postage.messaging`, `postage.microthreads` and
`postage.generic_application`.
"""

from postage._version import __version__
from postage.encoding import Encoder, JsonEncoder
from postage.errors import PostageError
from postage.exchange import Exchange
from postage.fingerprint import Fingerprint
from postage.handlers import (
    Handler,
    MessageFilter,
    MessageHandler,
    MessageHandlerFullBody,
    RpcHandler,
)
from postage.message import (
    Message,
    MessageCommand,
    MessageResult,
    MessageResultError,
    MessageResultException,
    MessageStatus,
    RpcCommand,
)
from postage.settings import Settings

__all__ = [
    "Encoder",
    "Exchange",
    "Fingerprint",
    "Handler",
    "JsonEncoder",
    "Message",
    "MessageCommand",
    "MessageFilter",
    "MessageHandler",
    "MessageHandlerFullBody",
    "MessageResult",
    "MessageResultError",
    "MessageResultException",
    "MessageStatus",
    "PostageError",
    "RpcCommand",
    "RpcHandler",
    "Settings",
    "__version__",
]
