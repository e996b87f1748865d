"""A process of a deployment: ``python -m benchmarks.scaling.member URL NUMBER``.

It runs the service of this number, and calls the one whose number it reads from standard input.
"""

from __future__ import annotations

from postage import green

green.patch_all()

import json  # noqa: E402 - after patching
import os  # noqa: E402
import sys  # noqa: E402

import gevent  # noqa: E402

from postage import Exchange, Service, client, rpc  # noqa: E402

QUEUE = "postage-benchmark-member-{}"


class Members(Exchange):
    """The exchange of all members."""

    name = "postage-benchmark-members"


def member(number: str) -> type[Service]:
    """Return the service of this *number*."""

    class Member(Service):
        """Tells its number."""

        exchange, queue = Members, QUEUE.format(number)

        @rpc
        def tell(self) -> str:
            """Return the number."""
            return number

    return Member


def main() -> None:
    """Run."""
    _, os.environ["POSTAGE_URL"], number = sys.argv
    member(number)({"name": f"member-{number}"}).start()
    print(json.dumps({"started": number}), flush=True)
    other = gevent.get_hub().threadpool.apply(sys.stdin.readline).strip()
    there = client(member(other), fingerprint={"name": f"member-{number}"})
    answers = [there.tell() for _ in range(2)]  # the first call may take another way
    print(json.dumps({"answers": answers}), flush=True)
    gevent.get_hub().threadpool.apply(sys.stdin.readline)


if __name__ == "__main__":
    main()
