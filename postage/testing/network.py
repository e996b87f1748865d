"""Network failures on demand."""

from __future__ import annotations


def cut_connections(role: str = "", *, port: int = 0) -> int:
    """Break the open connections of this hub, as a failing network does; return how many.

    *role* is ``publishing`` or ``consuming``, *port* the port of a broker; by default all are cut.
    The broker is not told, and data that was written but not yet sent is lost.  Never switches:
    components notice the loss and reconnect when other greenlets run next.
    """
    from postage.green.runtime import open_connections  # noqa: PLC0415 - loads gevent and pika

    chosen = [
        each for each in open_connections() if role in ("", each.role) and port in (0, each.port)
    ]
    for each in chosen:
        each.transport.cut()
    return len(chosen)
