"""What has happened: events, which their senders publish, and whoever wants to know handles."""

from dataclasses import dataclass


@dataclass
class Ordered:
    """All items of a basket have been reserved."""

    order: str
    customer: str
    total: int


@dataclass
class Paid:
    """The bank has transferred the money for an order."""

    order: str
    total: int
