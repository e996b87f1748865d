"""The classic names of messages, producers, consumers and processors.

``global_vhost``, ``global_user``, ``global_password`` and ``global_hup`` are live: a new value
becomes the default of the components that are made later.
"""

import sys
from typing import Any

# fmt: off
from postage import (
    AckAndRestart, Encoder, Exchange, FilterError, Fingerprint, GenericConsumer, GenericProducer,
    Handler, JsonEncoder, Message, MessageCommand, MessageFilter, MessageHandler,
    MessageHandlerFullBody, MessageProcessor, MessageResult, MessageResultError,
    MessageResultException, MessageStatus, PostageError, RejectMessage, RpcCommand, RpcHandler,
    TimeoutError,
)
from postage.exchange import ExchangeType
from postage.handlers import MessageHandlerType
from postage.settings import ClassicGlobals

__all__ = [
    "AckAndRestart", "Encoder", "Exchange", "ExchangeType", "FilterError", "Fingerprint",
    "GenericConsumer", "GenericProducer", "Handler", "JsonEncoder", "Message", "MessageCommand",
    "MessageFilter", "MessageHandler", "MessageHandlerFullBody", "MessageHandlerType",
    "MessageProcessor", "MessageResult", "MessageResultError", "MessageResultException",
    "MessageStatus", "PostageError", "RejectMessage", "RpcCommand", "RpcHandler", "TimeoutError",
    "global_hup", "global_password", "global_user", "global_vhost",
]
# fmt: on

global_vhost: str
global_user: str
global_password: str
global_hup: Any

sys.modules[__name__].__class__ = ClassicGlobals
