"""The workloads: the same for every contestant."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Workload:
    """One workload, which is one table."""

    name: str
    title: str
    kind: str
    """``calls``, ``publishes``, ``consumption`` or ``start``: a method of `rounds.Play`."""
    columns: tuple[str, ...]
    """The fields of `Figures` that the table shows; the first one is compared."""
    callers: int = 1
    confirm: bool = False
    count: int = 0
    """How many operations; 0 means as `Round` says."""
    pause: float = 0.0
    """Seconds that the server's handler waits."""

    @property
    def key(self) -> str:
        """The figure by which contestants are compared."""
        return self.columns[0]

    @property
    def more_is_better(self) -> bool:
        """Whether a greater `key` is a better one."""
        return self.key == "rate"


CALLING = ("rate", "p50", "p99", "client", "server", "broker")
TAKING = ("rate", "client", "broker")

WORKLOADS = {
    one.name: one
    for one in (
        Workload(name="rpc", title="RPC, 1 caller", kind="calls", columns=CALLING),
        Workload(
            name="rpc100", title="RPC, 100 callers", kind="calls", columns=CALLING, callers=100
        ),
        Workload(name="publish", title="Publish without confirm", kind="publishes", columns=TAKING),
        Workload(
            name="confirm",
            title="Publish with confirm, 100 at once",
            kind="publishes",
            columns=("rate", "p50", "p99", "client", "broker"),
            callers=100,
            confirm=True,
        ),
        Workload(
            name="consume",
            title="Consume, acknowledged after the handler",
            kind="consumption",
            columns=TAKING,
        ),
        Workload(
            name="slow",
            title="200 calls at once of 0.1 s each",
            kind="calls",
            columns=("seconds", "client", "server", "broker"),
            callers=200,
            count=200,
            pause=0.1,
        ),
        Workload(
            name="start",
            title="Start until consuming, and idle memory",
            kind="start",
            columns=("seconds", "memory", "client"),
        ),
    )
}
"""In the order of the tables; the cost of many components has a program of its own."""
