"""Opens a transport: connects to one address of a host, and does the AMQP handshake over it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import gevent

from postage.errors import (
    BrokerUnreachable,
    ConnectionFailed,
    OperationTimeout,
    SettingsError,
    TemporarilyRefused,
)
from postage.green.amqp import error_translation
from postage.green.amqp.codec import Codec
from postage.green.amqp.connecting import Target, connect_socket, parameters, targets
from postage.green.amqp.hub_logging import silence_pika
from postage.green.amqp.transport import Transport
from postage.green.amqp.waiting import Answer
from postage.settings import Settings

__all__ = ["Opening"]


class Opening:
    """One attempt to open a transport to *host*:*port*, for a connection named after *role*.

    *on_open* and *on_close* are called in the hub, perhaps before `run` returns: a connection may
    be lost as soon as it is open.
    """

    def __init__(  # noqa: PLR0913 - the callbacks have names
        self,
        settings: Settings,
        host: str,
        port: int,
        role: str,
        *,
        on_open: Callable[[], None],
        on_close: Callable[[Any, BaseException], None],
    ) -> None:
        self._settings, self._host, self._port, self._role = settings, host, port, role
        self._on_open, self._on_close = on_open, on_close
        self._is_open = False

    def run(self) -> tuple[Transport, Codec]:
        """Return the open transport and its codec; switches, for ``connect_timeout`` at most.

        Raises `ConnectionFailed`, and `SettingsError` for files that cannot be used.
        """
        silence_pika()
        error: ConnectionFailed | None = None
        with self._translated():
            for target, share in targets(self._host, self._port, self._settings.connect_timeout):
                try:
                    with self._translated():
                        return self._try(target, share)
                except (BrokerUnreachable, TemporarilyRefused) as exc:  # noqa: PERF203 - few turns
                    # The next address may accept us; other refusals are the same everywhere.
                    error = exc
                    if self._is_open:
                        raise  # it opened in the moment in which its time ended
        assert error is not None, "a host has an address, or the look-up fails"
        raise error

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Raise `ConnectionFailed` for the errors of the block, except for wrong settings."""
        try:
            yield
        except (ConnectionFailed, SettingsError):
            raise
        except Exception as exc:
            where = self._settings, self._host, self._port
            raise error_translation.connecting_failed(*where, exc) from exc

    def _try(self, target: Target, limit: float) -> tuple[Transport, Codec]:
        opened: Answer[None] = Answer()

        def on_open(_transport: object) -> None:
            self._is_open = True
            self._on_open()
            opened.set_result(None)

        transport: Transport | None = None
        try:
            with gevent.Timeout(limit, OperationTimeout("connecting", limit)):
                transport = Transport(
                    parameters(self._settings, self._host, self._port, self._role),
                    connect_socket(self._settings, self._host, target),
                    on_open=on_open,
                    on_failure=lambda _, exc: opened.set_exception(exc),
                    on_close=self._on_close,
                    late_after=self._settings.late_after,
                )
                codec = Codec(transport)
                transport.start()
                opened.get("the AMQP handshake", limit)
        except BaseException:
            if transport is not None:
                transport.close_socket()
            raise
        return transport, codec
