"""What a caller gets for a call that has no outcome, and no try or no time left."""

from __future__ import annotations

from postage import deadline
from postage.errors import NoRoute, OperationTimeout
from postage.green.amqp.pair import Pair
from postage.green.rpc.pending import PendingCall
from postage.green.tries import CallBudget
from postage.message import CONNECTION_LOST, NO_ROUTE, TIMEOUT, MessageResultException

__all__ = ["unanswered"]


def unanswered(pair: Pair, call: PendingCall, budget: CallBudget) -> MessageResultException:
    """Return the result of *call*, which has ended without an outcome."""
    # The time of the call and that of its wait for a connection end together, in any order.
    loss = call.loss if budget.used else call.loss or pair.publishing.last_error
    if loss is not None:
        name = TIMEOUT if isinstance(loss, OperationTimeout) else CONNECTION_LOST
        name = NO_ROUTE if isinstance(loss, NoRoute) else name
        return MessageResultException(name, str(loss))
    if budget.exhausted:
        text = f"no reply within {budget.timeout:g} s, {_tries(budget.tries)}"
    elif budget.used:
        text = f"no reply within {budget.total:.3g} s, {_tries(budget.used)}"
    else:
        text = f"it could not be sent within {budget.total:.3g} s: {_obstacle(pair)}"
    return MessageResultException(TIMEOUT, text)


def _obstacle(pair: Pair) -> str:
    """Return why a call could not be sent."""
    connection = pair.publishing.current
    if not deadline.remaining():
        return "the caller of the request that is being handled here has stopped waiting"
    if connection is None:
        return "there was no connection to the broker"
    if connection.transport.blocked is not None:
        return f"the broker takes no publishes now ({connection.transport.blocked})"
    return "the broker did not answer"


def _tries(count: int) -> str:
    return "1 try" if count == 1 else f"{count} tries"
