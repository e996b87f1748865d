"""Turning the clock of the embedded broker, so that a test need not wait for a delay."""

from __future__ import annotations

from postage.broker import BrokerThread


class VhostClock:
    """The fixture ``postage_clock``: the clock of the test's virtual host."""

    def __init__(self, broker: BrokerThread, vhost: str) -> None:
        self._broker, self._vhost = broker, vhost

    def advance(self, seconds: float) -> None:
        """Let *seconds* pass in the virtual host: messages and queues expire, delays end.

        What has become due was done, in the order of the times, when this returns; the messages
        that consumers get are on their way to them.  Heartbeats, and everything in this process,
        go on by the real clock.  Does not switch.  Raises `SettingsError` for negative *seconds*.
        """
        self._broker.advance(seconds, vhost=self._vhost)
