"""The classic names of messages, producers, consumers and processors.

``global_vhost``, ``global_user``, ``global_password`` and ``global_hup`` are live: a new value
becomes the default of the components that are made later.
"""

import sys
from typing import Any

from postage.encoding import Encoder, JsonEncoder
from postage.errors import (
    AckAndRestart,
    FilterError,
    PostageError,
    RejectMessage,
    TimeoutError,  # noqa: A004 - the classic name
)
from postage.exchange import Exchange, ExchangeType
from postage.fingerprint import Fingerprint
from postage.green import GenericConsumer, GenericProducer, MessageProcessor
from postage.handlers import (
    Handler,
    MessageFilter,
    MessageHandler,
    MessageHandlerFullBody,
    MessageHandlerType,
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
from postage.settings import ClassicGlobals

__all__ = [
    "AckAndRestart",
    "Encoder",
    "Exchange",
    "ExchangeType",
    "FilterError",
    "Fingerprint",
    "GenericConsumer",
    "GenericProducer",
    "Handler",
    "JsonEncoder",
    "Message",
    "MessageCommand",
    "MessageFilter",
    "MessageHandler",
    "MessageHandlerFullBody",
    "MessageHandlerType",
    "MessageProcessor",
    "MessageResult",
    "MessageResultError",
    "MessageResultException",
    "MessageStatus",
    "PostageError",
    "RejectMessage",
    "RpcCommand",
    "RpcHandler",
    "TimeoutError",
    "global_hup",
    "global_password",
    "global_user",
    "global_vhost",
]

global_vhost: str
global_user: str
global_password: str
global_hup: Any

sys.modules[__name__].__class__ = ClassicGlobals
