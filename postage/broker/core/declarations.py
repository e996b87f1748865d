"""What declarations may ask for: names, types and properties, and equality with what exists."""

from __future__ import annotations

from typing import Any

from postage.broker.core.likeness import Likeness
from postage.broker.core.queue_arguments import (
    DEFAULT_TYPE,
    QueueArguments,
    check_same,
    check_text,
)
from postage.broker.core.routing import TYPES, BrokerExchange
from postage.broker.wire.exceptions import ChannelFault, ConnectionFault

__all__ = [
    "check_new_exchange",
    "check_new_queue",
    "check_same_exchange",
    "check_same_queue",
    "check_server_named",
    "check_type",
    "place",
    "refuse_default",
    "refuse_reserved",
]

PROPERTIES = ("type", "durable", "auto_delete", "internal")
"""The properties of an exchange, which a second declaration must repeat."""
_NOT_PERMITTED = "Its use is not permitted by default in RabbitMQ."
_REMEDY = (
    f"{_NOT_PERMITTED} Declare the queue durable or exclusive, or start this broker with "
    "transient_queues=True."
)


def place(noun: str, name: str, vhost: str) -> str:
    """Return the name of a queue or exchange as error texts show it."""
    return f"{noun} '{name}' in vhost '{vhost}'"


def refuse_reserved(noun: str, name: str) -> None:
    """Raise 403 for a name that only the broker may give."""
    if name.startswith("amq."):
        raise ChannelFault(403, f"{noun} name '{name}' contains reserved prefix 'amq.*'")


def refuse_default(exchange: str) -> None:
    """Raise 403 for the default exchange, which cannot be changed."""
    if not exchange:
        raise ChannelFault(403, "operation not permitted on the default exchange")


def _denied(feature: str, remedy: str) -> ConnectionFault:
    return ConnectionFault(541, f"Feature `{feature}` is deprecated.\n{remedy}")


# --- exchanges


def check_type(type_: str, likeness: Likeness) -> None:
    """Raise an error for a type of exchanges that does not exist."""
    if type_ not in TYPES:
        problem = "unknown" if type_ else "invalid"
        raise likeness.unknown_exchange_type(f"{problem} exchange type '{type_}'")


def check_new_exchange(call: Any, where: str) -> None:
    """Raise 403 or 406 if the exchange of this declaration cannot be made."""
    refuse_reserved("exchange", call.exchange)
    check_text(call.arguments, "alternate-exchange", where)


def check_same_exchange(call: Any, known: BrokerExchange, where: str) -> None:
    """Raise 406 if the declaration *call* differs from the exchange *known*."""
    flags = {name: (getattr(call, name), getattr(known, name)) for name in PROPERTIES}
    check_same(where, flags, call.arguments, known.arguments, ("alternate-exchange",))


# --- queues


def check_server_named(call: Any, likeness: Likeness) -> None:
    """Raise 406 if the broker should name a queue whose type must have a name from its client."""
    type_ = call.arguments.get("x-queue-type")
    if not call.queue and type_ != DEFAULT_TYPE and type_ in tuple(likeness.queue_arguments):
        text = f"Cannot declare a server-named queue for type rabbit_{type_}_queue"
        raise ChannelFault(406, text)


def check_new_queue(call: Any, options: QueueArguments, where: str, likeness: Likeness) -> None:
    """Raise 541 for what *likeness* denies, and 406 for what replicated queues cannot have."""
    is_transient = not (call.durable or call.exclusive)
    if is_transient and not likeness.transient_queues:
        raise _denied("transient_nonexcl_queues", _REMEDY)
    if options.type == DEFAULT_TYPE:
        for name, feature in likeness.denied_arguments.items():
            if name in call.arguments:
                raise _denied(feature, f"{_NOT_PERMITTED} Declare the queue without {name}.")
        return
    faults = {
        "auto-delete": call.auto_delete,
        "exclusive-owner": call.exclusive,
        "non-durable": is_transient,
    }
    for fault, is_wrong in faults.items():
        if is_wrong:
            raise ChannelFault(406, f"invalid property '{fault}' for {where}")


def check_same_queue(call: Any, known: Any, where: str, likeness: Likeness) -> None:
    """Raise 405 or 406 if the declaration *call* differs from the queue *known*."""
    if call.exclusive != (known.owner is not None):
        raise locked(where)
    flags = {
        "durable": (call.durable and not call.exclusive, known.durable),
        "auto_delete": (call.auto_delete, known.auto_delete),
    }
    compared = likeness.queue_arguments[known.options.type]
    stated = {"x-queue-type": DEFAULT_TYPE} if likeness.states_type else {}
    check_same(where, flags, stated | call.arguments, stated | known.arguments, compared)


def locked(where: str) -> ChannelFault:
    """Return the error for a queue that is exclusive to another connection, or not exclusive."""
    return ChannelFault(
        405,
        f"cannot obtain exclusive access to locked {where}. "
        f"It could be originally declared on another connection or the exclusive property "
        f"value does not match that of the original declaration.",
    )
