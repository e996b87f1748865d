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
    from postage.addressing import PRIVATE_QUEUES, Eks, Eqk, Headers, QueueSpec
    from postage.around import Around, Handled, OutgoingMessage
    from postage.dispatch import Reply
    from postage.encoding import Encoder, JsonEncoder
    from postage.errors import (
        AckAndRestart, AuthenticationFailed, BadParameters, BrokerUnreachable, ChannelRefused,
        ConnectionClosed,
        ConnectionFailed, ConnectionLost, ConsumerCancelled, DecodingError, EncodingError,
        ExitScheduler, FilterError, GaveUp, GiveUp, HandlerError, IdentityTaken, LookRefused,
        MalformedMessage, NoFreeChannel, NoRoute, NoSuchMessage, NotAcknowledged, NotHandling,
        OperationTimeout, PostageError, PublishFailed, RejectMessage, RemoteError, ReplayStopped,
        RetryLater, SettingsError, TemporarilyRefused, TimeoutError, TlsFailed, TopologyMismatch,
        VhostRefused,
    )
    from postage.exchange import Exchange
    from postage.fingerprint import Fingerprint
    from postage.green import (
        GenericApplication, GenericApplicationExchange, GenericConsumer, GenericProducer,
        MessageProcessor, MicroThread, Scheduler, TimeLimit, close, patch_all, pipelined, run,
        statistics, time_limit,
    )
    from postage.green.amqp.delivery import Delivery
    from postage.green.amqp.properties import Properties
    from postage.handler_limits import limit
    from postage.handlers import (
        Handler, MessageFilter, MessageHandler, MessageHandlerFullBody, RpcHandler, every,
    )
    from postage.kill_switch import KillSwitch
    from postage.message import (
        CONNECTION_LOST, ERROR, EXCEPTION, NO_REPLY, NO_ROUTE, SERVER_ERROR, SUCCESS, TIMEOUT,
        UNKNOWN_COMMAND, Message, MessageCommand, MessageResult, MessageResultError,
        MessageResultException, MessageStatus, ResultKind, RpcCommand,
    )
    from postage.queues import Classic, Quorum, Stream
    from postage.received import ReceivedMessage
    from postage.recoverability import Retry, retry
    from postage.send_options import MessageHeaders
    from postage.services import (
        Events, Application, Later, Service, client, command, event, events, later, options, rpc,
    )
    from postage.settings import Hup, Settings
    from postage.statistics_types import (
        ChannelStatistics, ConnectionStatistics, ProcessorStatistics, ProducerStatistics,
    )
    from postage.tracing import Tracing

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
    "Reply", "Delivery", "Properties", "ReceivedMessage", "MessageHeaders",
    "Around", "Handled", "OutgoingMessage", "Tracing", "time_limit", "TimeLimit", "Retry", "retry",
    "limit", "KillSwitch",
    # Services: handlers and clients with types
    "Service", "Application", "rpc", "command", "event",
    "client", "options", "later", "Later", "events", "Events",
    # Addressing
    "Exchange", "Eks", "Eqk", "QueueSpec", "PRIVATE_QUEUES",
    "Quorum", "Classic", "Stream", "Headers",
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
    "EncodingError", "DecodingError", "MalformedMessage", "BadParameters", "RemoteError",
    "TimeoutError", "GaveUp", "NotHandling", "LookRefused", "NoSuchMessage", "ReplayStopped",
    # Raised by handlers and filters
    "RejectMessage", "FilterError", "AckAndRestart", "ExitScheduler", "GiveUp", "RetryLater",
]
# fmt: on

# The modules that define these names, in the order in which a name is looked up.  `green` is early,
# because `patch_all` has to run before most imports; it loads gevent only for names of its own.
_HOMES = (
    *("errors", "handlers", "green", "message", "dispatch", "encoding", "exchange", "addressing"),
    *("queues", "fingerprint", "settings", "statistics_types", "green.amqp.delivery"),
    "green.amqp.properties",
    *("received", "recoverability", "send_options", "around", "kill_switch"),
    *("handler_limits", "services", "tracing"),
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
