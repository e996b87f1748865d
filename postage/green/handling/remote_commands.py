"""The remote commands that every processor takes."""

from __future__ import annotations

from typing import Any

from postage.dispatch import NextAction
from postage.errors import AckAndRestart
from postage.green.amqp.hub_logging import HubLogger
from postage.green.handling.current import message
from postage.handlers import MessageHandlerFullBody
from postage.log_records import counted
from postage.remote_control import RemoteRule, objection, user_of

__all__ = ["RemoteCommands"]

logger = HubLogger(__name__)


class RemoteCommands:
    """The part of a processor that obeys remote commands, or refuses them."""

    consumer: Any
    remote_control: RemoteRule = True
    """From whom the processor takes remote commands, such as ``quit`` and ``restart``.  True or
    ``"on"``: from every program that can publish to its queues; False or ``"off"``: from none;
    ``"own-user"``: from programs that are logged in to the broker as the user of the processor; or
    a list of users.  See `GenericProducer.send_user_id`."""

    @MessageHandlerFullBody("command", "quit")
    def msg_quit(self, body: dict[str, Any]) -> None:  # noqa: ARG002 - the classic signature
        """Stop this processor.  After the last one has stopped, the scheduler returns."""
        if self._obeys("quit"):
            self._request_stop(NextAction.QUIT)

    @MessageHandlerFullBody("command", "restart")
    def msg_restart(self, body: dict[str, Any]) -> None:  # noqa: ARG002 - as above
        """Replace the process by a new run of the same program, after all handlers have ended."""
        if self._obeys("restart"):
            raise AckAndRestart

    def _obeys(self, command: str, mistake: str = "") -> bool:
        """Return whether to obey the remote command in hand, and log the command and its sender.

        Every method that obeys a remote command asks here first.  *mistake*: the reason if the
        command cannot be obeyed, whoever sends it.
        """
        user, fingerprint = None, {}
        received = message(None)
        if received is not None:  # else our own program has called the method
            user, fingerprint = received.user_id, dict(received.fingerprint)
        own = user_of(self.consumer.settings)
        why = mistake or objection(self.remote_control, user, own)
        told, sort = (self, command, user, fingerprint), counted(id(self), command)
        if why:
            text = "%r refused the command %s of user %r, %r: %s."
            logger.warning(text, *told, why, extra=sort)
        else:
            logger.warning("%r obeys the command %s of user %r, %r.", *told, extra=sort)
        return not why

    def _request_stop(self, next_action: NextAction) -> None:
        """End the processor; a processor does."""
        raise NotImplementedError
