"""Programs with many components: ``python -m benchmarks.fleets.MODULE URL NAME COUNT``.

Each makes COUNT components with a queue each: ``NAME-0`` and so on, bound to `EXCHANGE` by its own
name.  It writes the line ``declared`` when all queues exist, and answers each call with the name of
the queue that it came from.  Queues are durable, as Postage declares them.
"""

from __future__ import annotations

import sys

EXCHANGE = "postage-benchmark-components"
PREFETCH = 100


def arguments() -> tuple[str, list[str]]:
    """Return the URL of the broker and the names of the queues."""
    _, url, name, count = sys.argv
    return url, [f"{name}-{number}" for number in range(int(count))]
