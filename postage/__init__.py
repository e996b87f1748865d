"""AMQP components on greenlets: the classic Postage API over gevent and pika.

``from postage import ...`` gives every current name.  A name is loaded when it is first used, so
``import postage`` loads neither gevent nor pika.  The classic names of 1.2.1 are in
`postage.messaging`, `postage.microthreads` and `postage.generic_application`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from postage._version import __version__

# fmt: off
if TYPE_CHECKING:  # for type checkers and editors
    from postage.addressing import PRIVATE_QUEUES, Eks, Eqk, QueueSpec
    from postage.dispatch import Reply
    from postage.encoding import Encoder, JsonEncoder
    from postage.errors import (
        AckAndRestart, AuthenticationFailed, BrokerUnreachable, ChannelRefused, ConnectionClosed,
        ConnectionFailed, ConnectionLost, ConsumerCancelled, DecodingError, EncodingError,
        ExitScheduler, FilterError, GaveUp, HandlerError, IdentityTaken, MalformedMessage,
        NoFreeChannel, NoRoute, NotAcknowledged, OperationTimeout, PostageError, PublishFailed,
        RejectMessage, RemoteError, SettingsError, TemporarilyRefused, TimeoutError, TlsFailed,
        TopologyMismatch, VhostRefused,
    )
    from postage.exchange import Exchange
    from postage.fingerprint import Fingerprint
    from postage.green import (
        GenericApplication, GenericApplicationExchange, GenericConsumer, GenericProducer,
        MessageProcessor, MicroThread, Scheduler, close, patch_all, pipelined, run, statistics,
    )
    from postage.green.amqp.delivery import Delivery
    from postage.green.amqp.properties import Properties
    from postage.handlers import (
        Handler, MessageFilter, MessageHandler, MessageHandlerFullBody, RpcHandler, every,
    )
    from postage.message import (
        CONNECTION_LOST, ERROR, EXCEPTION, NO_REPLY, NO_ROUTE, SERVER_ERROR, SUCCESS, TIMEOUT,
        UNKNOWN_COMMAND, Message, MessageCommand, MessageResult, MessageResultError,
        MessageResultException, MessageStatus, ResultKind, RpcCommand,
    )
    from postage.settings import Hup, Settings
    from postage.statistics_types import (
        ChannelStatistics, ConnectionStatistics, ProcessorStatistics, ProducerStatistics,
    )

__all__ = [
    "__version__",
    # Components
    "GenericApplication", "GenericApplicationExchange", "GenericConsumer", "GenericProducer",
    "MessageProcessor", "MicroThread",
    # Messages
    "Message", "MessageCommand", "MessageStatus", "RpcCommand", "MessageResult",
    "MessageResultError", "MessageResultException", "Fingerprint", "Encoder", "JsonEncoder",
    # Results of calls: their kinds, and the names of exceptions that Postage itself reports
    "ResultKind", "SUCCESS", "ERROR", "EXCEPTION",
    "TIMEOUT", "CONNECTION_LOST", "NO_ROUTE", "UNKNOWN_COMMAND", "NO_REPLY", "SERVER_ERROR",
    # Handlers
    "MessageHandler", "MessageHandlerFullBody", "RpcHandler", "MessageFilter", "Handler", "every",
    "Reply", "Delivery", "Properties",
    # Addressing
    "Exchange", "Eks", "Eqk", "QueueSpec", "PRIVATE_QUEUES",
    # Running
    "run", "Scheduler", "patch_all", "pipelined", "close",
    # Settings
    "Settings", "Hup",
    # Statistics
    "statistics", "ProducerStatistics", "ProcessorStatistics", "ConnectionStatistics",
    "ChannelStatistics",
    # Errors
    "PostageError", "SettingsError", "HandlerError",
    "ConnectionFailed", "BrokerUnreachable", "AuthenticationFailed", "TlsFailed", "VhostRefused",
    "TemporarilyRefused",
    "ConnectionLost", "ConnectionClosed", "ChannelRefused", "TopologyMismatch", "IdentityTaken",
    "NoFreeChannel",
    "ConsumerCancelled", "OperationTimeout", "PublishFailed", "NotAcknowledged", "NoRoute",
    "EncodingError", "DecodingError", "MalformedMessage", "RemoteError", "TimeoutError", "GaveUp",
    # Raised by handlers and filters
    "RejectMessage", "FilterError", "AckAndRestart", "ExitScheduler",
]
# fmt: on

# The modules that define these names, in the order in which a name is looked up.  `green` is early,
# because `patch_all` has to run before most imports; it loads gevent only for names of its own.
_HOMES = (
    *("errors", "handlers", "green", "message", "dispatch", "encoding", "exchange", "addressing"),
    *("fingerprint", "settings", "statistics_types", "green.amqp.delivery"),
    "green.amqp.properties",
)


if not TYPE_CHECKING:  # type checkers would accept any name

    def __getattr__(name: str) -> Any:
        """Load the name from the first of `_HOMES` that lists it, and keep it."""
        if name in __all__:
            for home in _HOMES:
                module = import_module(f"{__name__}.{home}")
                if name in module.__all__:
                    return globals().setdefault(name, getattr(module, name))
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """Return all names, loaded or not."""
    return sorted({*globals(), *__all__})
