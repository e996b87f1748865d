"""The opening of a connection, its heartbeats, and how the broker closes it for a mistake.

A client that has not logged in yet may be anybody, so it can cause little work: its frames are
small, of its first method only the password is decoded, and it waits for the check of the password
if too many passwords from its address were wrong (see `postage.broker.session.logins`).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from functools import partial

from postage.broker.core.vhost import VHost
from postage.broker.session import handshake
from postage.broker.session.client_output import ClientOutput
from postage.broker.session.handshake import Stage, StageEvent
from postage.broker.session.host import Host
from postage.broker.wire.exceptions import ConnectionFault, Fault
from postage.broker.wire.framing import PROTOCOL, FrameParser
from postage.broker.wire.methods import MethodCall, encode
from postage.log_records import counted, logger_of
from postage.protocol import HEARTBEAT_FRAME

__all__ = ["OpeningConnection"]

logger = logger_of(__name__)

MOST_SILENT = 4
"""Half heartbeat intervals of silence after which a client is considered dead (4.2.7)."""

_METHODS = {
    (Stage.STARTING, "connection.start_ok"): "_on_start_ok",
    (Stage.TUNING, "connection.tune_ok"): "_on_tune_ok",
    (Stage.OPENING, "connection.open"): "_on_open",
    (Stage.OPEN, "connection.update_secret"): "_on_update_secret",
    (Stage.CLOSING, "connection.close_ok"): "_on_close_ok",
}
"""Handlers of the methods that a client may call on channel 0, besides connection.close."""


class OpeningConnection(ClientOutput):
    """A connection without its channels."""

    def __init__(
        self,
        host: Host,
        id_: int,
        on_output: Callable[[], object],
        *,
        source: str,
        loopback: bool,
    ) -> None:
        super().__init__(on_output, host.limits.unsent)
        self.host, self.id = host, id_
        self.source, self._loopback = source, loopback
        self.stage = Stage.GREETING
        self.user = ""
        self.vhost: VHost | None = None
        """The virtual host; None before connection.open."""
        self.frame_max = host.limits.frame_max
        self.name = ""
        """The name that the client has given itself, or the empty string."""
        self._capabilities: frozenset[str] = frozenset()
        self._channel_max = host.limits.channels
        self._parser = FrameParser(host.likeness.frame_min)  # until tune-ok (AMQP 0-9-1, 4.2.3)
        self._greeting = b""
        self._has_received = False
        """Whether anything was received since `_check_heartbeats` last ran."""
        self._deadline = host.timers.later(host.limits.handshake, self.close)
        # Until the handshake sets them, these timers are the same one.
        self._heartbeat = self._login = self._deadline
        self._prepare()

    @abstractmethod
    def _prepare(self) -> None:
        """Make what the channels need, at the end of the constructor."""

    def __repr__(self) -> str:
        return f"<ClientConnection {self.id} of {self.user!r}, {self.stage.name.lower()}>"

    @property
    @abstractmethod
    def reading_paused(self) -> bool:
        """Whether nothing should be read from the client now."""

    @abstractmethod
    def _release(self) -> None:
        """Release all that the client has in the broker."""

    def capability(self, name: str) -> bool:
        """Tell whether the client has announced that it supports *name*."""
        return name in self._capabilities

    def _advance(self, event: StageEvent) -> None:
        self.stage = handshake.next_stage(self.stage, event)

    def _greet(self, data: bytes) -> bytes:
        """Handle the protocol header; return what follows it."""
        self._greeting += data
        if not PROTOCOL.startswith(self._greeting[: len(PROTOCOL)]):
            self.write(PROTOCOL)
            self.close()
            return b""
        if len(self._greeting) < len(PROTOCOL):
            return b""
        self._advance(StageEvent.GREETED)
        self.write(handshake.start(self.host.likeness))
        rest, self._greeting = self._greeting[len(PROTOCOL) :], b""
        return rest

    def _connection_method(self, number: int, call: MethodCall) -> None:
        """Carry out a method on channel 0, or one on a channel before the connection is open."""
        name, state = call.method.name, f"connection state {self.stage.value}"
        handler = _METHODS.get((self.stage, name))
        if number and self.stage is not Stage.CLOSING:
            raise ConnectionFault(505, f"{name} in {state}")
        if not number and name == "connection.close":
            self._release()
            self.write(encode(0, "connection.close_ok"))
            self.close()
        elif not number and handler is not None:
            getattr(self, handler)(call)
        elif self.stage is not Stage.CLOSING:
            raise ConnectionFault(504, f"unexpected method in {state}")

    # --- logging in

    def _on_start_ok(self, call: MethodCall) -> None:
        user, password = handshake.credentials(call.mechanism, call.response)
        self._advance(StageEvent.ANSWERED)
        wait = 0.0 if self._loopback else self.host.logins.wait(self.source)
        if wait is None:
            text = "A login from %s was refused unchecked, because too many others have failed."
            logger.warning(text, self.source, extra=counted())
            raise ConnectionFault(320, "too many logins from this address have failed: retry later")
        check = partial(self._check_login, call, user, password)
        if wait:
            self._login = self.host.timers.later(wait, check)
        else:
            check()

    def _check_login(self, call: MethodCall, user: str, password: str) -> None:
        """Check a password, maybe some seconds after the client has sent it."""
        logins = self.host.logins
        try:
            if logins.admits(user, password, loopback=self._loopback):
                self.name, self._capabilities = handshake.describe(call.client_properties)
                self.user = user
                self._advance(StageEvent.LOGGED_IN)
                self.write(handshake.tune(self.host.limits))
                return
            logins.failed(self.source)
            text = "A login as %r from %s was refused."
            logger.warning(text, user, self.source, extra=counted())
            if not handshake.announces(call.client_properties, "authentication_failure_close"):
                self.close()
                return
            text = f"Login was refused using authentication mechanism {call.mechanism}. "
            raise ConnectionFault(403, text + "For details see the broker logfile.")
        except Fault as exc:  # a timer may have called this
            exc.method = call.method.ids
            self._fail(exc)

    def _on_tune_ok(self, call: MethodCall) -> None:
        tuning = handshake.negotiate(call, self.host.limits, self.host.likeness)
        self.frame_max = self._parser.frame_max = tuning.frame_max
        self._channel_max = tuning.channel_max
        self._advance(StageEvent.TUNED)
        if tuning.heartbeat:
            half = tuning.heartbeat / 2
            check = partial(self._check_heartbeats, half, silent=0)
            self._heartbeat = self.host.timers.later(half, check)

    def _on_open(self, call: MethodCall) -> None:
        if self.host.is_crowded:
            text = f"connection refused: node connection limit ({self.host.most_open}) is reached"
            raise ConnectionFault(530, text)
        vhost = self.host.vhosts.get(call.virtual_host)
        if vhost is None:
            raise ConnectionFault(530, f"vhost {call.virtual_host} not found")
        self.vhost = vhost
        self._advance(StageEvent.OPENED)
        self.host.opened(self)
        self._deadline.cancel()
        self.write(encode(0, "connection.open_ok"))

    def _on_update_secret(self, call: MethodCall) -> None:  # noqa: ARG002 - all handlers take it
        self.write(encode(0, "connection.update_secret_ok"))

    def _on_close_ok(self, call: MethodCall) -> None:  # noqa: ARG002 - all handlers take it
        self.close()

    # --- heartbeats

    def _check_heartbeats(self, seconds: float, silent: int) -> None:
        """Send a heartbeat if nothing else was sent in the last *seconds*, half an interval.

        Ends the connection of a client that has been *silent* for `MOST_SILENT` half intervals.
        """
        if self.stage is Stage.CLOSED:
            return
        if not self._has_sent:
            self.write(HEARTBEAT_FRAME)
        # While the owner does not read, the broker cannot hear the client.
        silent = 0 if self._has_received or self.reading_paused else silent + 1
        self._has_sent = self._has_received = False
        if silent < MOST_SILENT:
            check = partial(self._check_heartbeats, seconds, silent)
            self._heartbeat = self.host.timers.later(seconds, check)
        else:
            logger.info("%r missed its heartbeats.", self, extra=counted())
            self.close()

    # --- the end

    def _fail(self, fault: Fault) -> None:
        """Close the connection because of *fault*, and wait until the client confirms that."""
        if self.stage in (Stage.CLOSING, Stage.CLOSED):
            return
        logger.info("%r is closed: %s", self, fault, extra=counted(fault.code))
        self._release()
        self._advance(StageEvent.FAILED)
        self.write(encode(0, "connection.close", **fault.close_arguments))
        for timer in (self._deadline, self._login):
            timer.cancel()
        self._deadline = self.host.timers.later(self.host.limits.handshake, self.close)

    def _cancel_timers(self) -> None:
        """Cancel all timers, which would keep the connection in memory until they are due."""
        for timer in (self._deadline, self._login, self._heartbeat):
            timer.cancel()
