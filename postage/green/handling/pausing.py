"""Pausing a processor: by its program, or by a remote command."""

from __future__ import annotations

from typing import Any

from postage.green.amqp.hub_door import native_thread
from postage.green.amqp.hub_logging import HubLogger
from postage.green.handling.admission import Admission
from postage.green.handling.remote_commands import RemoteCommands
from postage.handlers import MessageHandlerFullBody

__all__ = ["Pausing"]

logger = HubLogger(__name__)


class Pausing(RemoteCommands):
    """The part of a processor that pauses and goes on."""

    _admission: Admission | None = None
    """Says which messages are taken and begin now; None: all."""

    def pause(self) -> None:
        """Take no messages until `resume`.

        Running handlers finish, jobs go on, and messages that no handler has begun return to their
        queues.  Queues that would end with their consumers (exclusive or auto-delete) are still
        consumed.  A processor stays paused when its connection or its run ends and another one
        begins.

        Never switches.  May be called at any time, in any native thread, and twice.
        """
        self._set_paused(to=True)

    def resume(self) -> None:
        """Take messages again after `pause`; an open kill switch stays open.

        Never switches.  May be called at any time, in any native thread, and twice.
        """
        self._set_paused(to=False)

    @property
    def is_paused(self) -> bool:
        """Whether the processor was paused, and not resumed since then."""
        return self._admission is not None and self._admission.is_paused

    @property
    def is_tripped(self) -> bool:
        """Whether the kill switch of the processor is open: see `KillSwitch`."""
        return self._admission is not None and self._admission.is_open

    def _set_paused(self, *, to: bool) -> None:
        door = self.consumer.door
        if door is not None and native_thread() != door.thread:
            door.call(self._set_paused, to=to)
            return
        if self._admission is None:
            self._admission = Admission(self)
        if to is not self._admission.is_paused:
            logger.info("%r is %s.", self, "paused" if to else "resumed")
        if to:
            self._admission.pause()
        else:
            self._admission.resume()

    @MessageHandlerFullBody("command", "pause_consuming")
    def msg_pause(self, body: dict[str, Any]) -> None:  # noqa: ARG002 - the classic signature
        """Pause this processor, if it has a queue by which it can be told to resume."""
        is_reachable = any(each.ends_with_consumer for each in self.consumer.declarations)
        mistake = "" if is_reachable else "it has no queue by which it could be told to resume"
        if self._obeys("pause", mistake):
            self._set_paused(to=True)

    @MessageHandlerFullBody("command", "resume_consuming")
    def msg_resume(self, body: dict[str, Any]) -> None:  # noqa: ARG002 - as above
        """Let this processor take messages again after a pause."""
        if self._obeys("resume"):
            self._set_paused(to=False)
