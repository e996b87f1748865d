"""AMQP components on greenlets: the classic Postage API over gevent and pika.

``from postage import ...`` gives every current name, each of which has one home: the model, which
needs the standard library alone, or the runtime `postage.green`.  A name is loaded when it is first
used, so ``import postage`` loads neither gevent nor pika.  The classic names of 1.2.1 are in
`postage.messaging`, `postage.microthreads` and `postage.generic_application`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from postage._version import __version__

# fmt: off
if TYPE_CHECKING:  # for type checkers and editors; _HOMES says the same to Python
    from postage.addressing import Eks, Eqk, QueueSpec
    from postage.dispatch import Reply
    from postage.encoding import Encoder, JsonEncoder
    from postage.errors import (
        AckAndRestart, AuthenticationFailed, BrokerUnreachable, ChannelRefused, ConnectionClosed,
        ConnectionFailed, ConnectionLost, ConsumerCancelled, DecodingError, EncodingError,
        ExitScheduler, FilterError, GaveUp, IdentityTaken, MalformedMessage, NoRoute,
        NotAcknowledged, OperationTimeout, PostageError, PublishFailed, RejectMessage, RemoteError,
        SettingsError, TimeoutError, TlsFailed, TopologyMismatch, VhostRefused,
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
        CONNECTION_LOST, ERROR, EXCEPTION, NO_REPLY, NO_ROUTE, SUCCESS, TIMEOUT, UNKNOWN_COMMAND,
        Message, MessageCommand, MessageResult, MessageResultError, MessageResultException,
        MessageStatus, ResultKind, RpcCommand,
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
    "TIMEOUT", "CONNECTION_LOST", "NO_ROUTE", "UNKNOWN_COMMAND", "NO_REPLY",
    # Handlers
    "MessageHandler", "MessageHandlerFullBody", "RpcHandler", "MessageFilter", "Handler", "every",
    "Reply", "Delivery", "Properties",
    # Addressing
    "Exchange", "Eks", "Eqk", "QueueSpec",
    # Running
    "run", "Scheduler", "patch_all", "pipelined", "close",
    # Settings
    "Settings", "Hup",
    # Statistics
    "statistics", "ProducerStatistics", "ProcessorStatistics", "ConnectionStatistics",
    "ChannelStatistics",
    # Errors
    "PostageError", "SettingsError",
    "ConnectionFailed", "BrokerUnreachable", "AuthenticationFailed", "TlsFailed", "VhostRefused",
    "ConnectionLost", "ConnectionClosed", "ChannelRefused", "TopologyMismatch", "IdentityTaken",
    "ConsumerCancelled", "OperationTimeout", "PublishFailed", "NotAcknowledged", "NoRoute",
    "EncodingError", "DecodingError", "MalformedMessage", "RemoteError", "TimeoutError", "GaveUp",
    # Raised by handlers and filters
    "RejectMessage", "FilterError", "AckAndRestart", "ExitScheduler",
]

_HOMES = {  # all other names are errors
    "postage.addressing": ("Eks", "Eqk", "QueueSpec"),
    "postage.dispatch": ("Reply",),
    "postage.encoding": ("Encoder", "JsonEncoder"),
    "postage.exchange": ("Exchange",),
    "postage.fingerprint": ("Fingerprint",),
    "postage.green": (
        "GenericApplication", "GenericApplicationExchange", "GenericConsumer", "GenericProducer",
        "MessageProcessor", "MicroThread", "Scheduler", "close", "patch_all", "pipelined", "run",
        "statistics",
    ),
    "postage.green.amqp.delivery": ("Delivery",),
    "postage.green.amqp.properties": ("Properties",),
    "postage.handlers": (
        "Handler", "MessageFilter", "MessageHandler", "MessageHandlerFullBody", "RpcHandler",
        "every",
    ),
    "postage.message": (
        "CONNECTION_LOST", "ERROR", "EXCEPTION", "NO_REPLY", "NO_ROUTE", "SUCCESS", "TIMEOUT",
        "UNKNOWN_COMMAND", "ResultKind", "Message", "MessageCommand", "MessageResult",
        "MessageResultError", "MessageResultException", "MessageStatus", "RpcCommand",
    ),
    "postage.settings": ("Hup", "Settings"),
    "postage.statistics_types": (
        "ChannelStatistics", "ConnectionStatistics", "ProcessorStatistics", "ProducerStatistics",
    ),
}
# fmt: on
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


if not TYPE_CHECKING:  # type checkers would accept any name

    def __getattr__(name: str) -> Any:
        """Load one of the names above, and keep it."""
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        home = import_module(_HOME_OF.get(name, "postage.errors"))
        found = globals()[name] = getattr(home, name)
        return found


def __dir__() -> list[str]:
    """Return the names here, loaded or not."""
    return sorted({*globals(), *__all__})
