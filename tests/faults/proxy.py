"""A TCP proxy on 127.0.0.1 between components and their broker: the network, when it fails."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gevent
import gevent.queue
import gevent.server
import gevent.socket

from tests.faults.hubthread import HubThread

CHUNK = 16_384
"""Bytes read at once."""
HELD = 64
"""How many chunks each direction of a link holds at most; then its sender is left waiting."""


@dataclass
class Weather:
    """How the network is just now, for all links."""

    delay: float = 0.0
    """Seconds that each byte takes to cross."""
    rate: float | None = None
    """Bytes per second, for each direction of each link; None: no limit."""
    silent: bool = False
    """New links are silent from their beginning."""


class Pump:
    """One direction of a link: from one socket to the other."""

    def __init__(self, link: Link, source: Any, target: Any) -> None:
        self._link, self._source, self._target = link, source, target
        self._held: gevent.queue.Queue[tuple[float, bytes]] = gevent.queue.Queue(HELD)
        self.left: int | None = None
        """Bytes that still cross before the link is cut; None: all do."""
        self.greenlets = [gevent.spawn(self._read), gevent.spawn(self._write)]

    def _read(self) -> None:
        data = b"?"
        while data:
            try:
                data = self._source.recv(CHUNK)
            except OSError:
                data = b""
            if not self._link.silent:
                self._held.put((time.monotonic() + self._link.weather.delay, data))
        self._link.left_by(self._source)

    def _write(self) -> None:
        data = b"?"
        while data:
            due, data = self._held.get()
            gevent.sleep(max(0.0, due - time.monotonic()))
            try:
                self._pass(data)
            except OSError:
                break
        self._link.end()

    def _pass(self, data: bytes) -> None:
        while data and not self._link.silent:
            rate = self._link.weather.rate
            size = len(data) if rate is None else max(1, int(rate / 10))
            self._target.sendall(self._allowed(data[:size]))
            data = data[size:]
            if rate is not None:
                gevent.sleep(size / rate)

    def _allowed(self, data: bytes) -> bytes:
        """Return what of *data* may cross; where that is not all of it, the link ends after it."""
        if self.left is None:
            return data
        if len(data) > self.left:
            data = data[: self.left]
            gevent.spawn(self._link.cut)
        self.left -= len(data)
        return data


class Link:
    """One connection through the proxy."""

    def __init__(self, weather: Weather, client: Any, broker: Any) -> None:
        self.weather = weather
        self.silent = weather.silent
        """True: what either side says is swallowed, and its socket stays open."""
        self._client, self._broker = client, broker
        self._gone: set[Any] = set()
        self.up, self.down = Pump(self, client, broker), Pump(self, broker, client)

    def end(self) -> None:
        """Close both sides, as one of them has done; a silent link says nothing."""
        if not self.silent:
            self.cut()

    def cut(self) -> None:
        """Close both sides at once; what was under way is lost."""
        for sock in (self._client, self._broker):
            sock.close()
        gevent.killall(self.up.greenlets + self.down.greenlets, block=False)

    def left_by(self, side: Any) -> None:
        """One side has closed: a silent link stays until both have."""
        self._gone.add(side)
        if self.silent and len(self._gone) > 1:
            self.cut()

    @property
    def fooled(self) -> bool:
        """The link is silent, and the client still there."""
        return self.silent and self._client not in self._gone

    @property
    def doomed(self) -> bool:
        """It will be cut after so many bytes."""
        return self.up.left is not None or self.down.left is not None

    @property
    def dead(self) -> bool:
        return all(pump.dead for pump in self.up.greenlets + self.down.greenlets)


class Proxy:
    """Leads from `port` to a *target* port of 127.0.0.1; runs in a thread of its own.

    Any thread may call its methods; each blocks for less than a millisecond.
    """

    def __init__(self, target: int) -> None:
        self.target = target
        self._weather = Weather()
        self._links: list[Link] = []
        self._accepted = 0
        self._thread = HubThread()
        self._server: Any = None
        self.port = 0
        self.accept()

    def __enter__(self) -> Proxy:  # noqa: PYI034 - Self needs Python 3.11
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def links(self) -> int:
        """How many connections there are, silent ones included."""
        return self._thread.call(lambda: len(self._living()))

    @property
    def accepted(self) -> int:
        """How many connections there have been."""
        return self._thread.call(lambda: self._accepted)

    @property
    def fooled(self) -> int:
        """How many clients have not found out yet that their link is silent."""
        return self._thread.call(lambda: sum(link.fooled for link in self._living()))

    @property
    def doomed(self) -> int:
        """How many links are still to be cut by `cut_after`."""
        return self._thread.call(lambda: sum(link.doomed for link in self._living()))

    @property
    def held(self) -> int:
        """The bytes that are on their way."""
        return self._thread.call(self._count_held)

    def cut(self) -> int:
        """Cut every link; return how many they were."""
        return self._thread.call(self._cut)

    def cut_after(self, size: int, *, downwards: bool = False) -> int:
        """Cut each present link when *size* more bytes have crossed to the broker, or from it."""
        return self._thread.call(self._cut_after, size, downwards)

    def refuse(self) -> None:
        """Refuse new connections; those that there are stay."""
        self._thread.call(self._refuse)

    def accept(self) -> None:
        """Accept new connections, again on the same port."""
        self._thread.call(self._accept)

    def half_open(self, *, new: bool = False) -> int:
        """Swallow all that is said on the present links, for good; with *new*, on new ones too."""
        return self._thread.call(self._half_open, new)

    def slow(self, *, delay: float = 0.0, rate: float | None = None) -> None:
        """Delay every byte by *delay* seconds, and let *rate* bytes per second through."""
        self._thread.call(self._slow, delay, rate)

    def clear(self) -> None:
        """Let all go well from here on; links that swallowed something are cut."""
        self._thread.call(self._clear)

    def close(self) -> None:
        """Cut all, stop listening, and end the thread."""
        self._thread.call(self._cut)
        self._thread.call(self._refuse)
        self._thread.stop()

    # --- in the thread

    def _accept(self) -> None:
        if self._server is None:
            self._server = gevent.server.StreamServer(("127.0.0.1", self.port), self._serve)
            self._server.start()
            self.port = self._server.server_port

    def _serve(self, client: Any, _address: object) -> None:
        try:
            broker = gevent.socket.create_connection(("127.0.0.1", self.target), 5.0)
        except OSError:
            client.close()
            return
        for sock in (client, broker):
            sock.settimeout(None)
            sock.setsockopt(gevent.socket.IPPROTO_TCP, gevent.socket.TCP_NODELAY, 1)
        link = Link(self._weather, client, broker)
        self._links.append(link)
        self._accepted += 1
        gevent.joinall(link.up.greenlets + link.down.greenlets)
        self._links.remove(link)

    def _living(self) -> list[Link]:
        return [link for link in self._links if not link.dead]

    def _count_held(self) -> int:
        pumps: list[Any] = [pump for link in self._links for pump in (link.up, link.down)]
        return sum(len(data) for pump in pumps for _, data in pump._held.queue)

    def _each(self, do: Callable[[Link], object]) -> int:
        links = self._living()
        for link in links:
            do(link)
        return len(links)

    def _cut(self) -> int:
        return self._each(Link.cut)

    def _cut_after(self, size: int, downwards: bool) -> int:
        def limit(link: Link) -> None:
            (link.down if downwards else link.up).left = size

        return self._each(limit)

    def _refuse(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    def _half_open(self, new: bool) -> int:
        def hush(link: Link) -> None:
            link.silent = True

        self._weather.silent = new
        return self._each(hush)

    def _slow(self, delay: float, rate: float | None) -> None:
        self._weather.delay, self._weather.rate = delay, rate

    def _clear(self) -> None:
        self._weather.silent = False
        self._slow(0.0, None)
        for link in self._living():
            link.up.left = link.down.left = None
            if link.silent:
                link.cut()
        self._accept()
