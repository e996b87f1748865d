"""A component that crashes again and again, beside one that does not."""

from fleet import Echo

from postage import messaging

__all__ = ["Echo", "Fragile", "both"]


class Fragile(messaging.MessageProcessor):
    restart_intensity = 2

    def step(self):
        raise ZeroDivisionError("a crash")


def both():
    """Return one of each."""
    return [Echo, Fragile]
