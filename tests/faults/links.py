"""Faults of the network, made by the proxy."""

from __future__ import annotations

from functools import partial

from postage.testing.polling import wait_until
from tests.faults.account import Limits
from tests.faults.fault import LATE, Fault
from tests.faults.load import Load
from tests.faults.scene import HEARTBEAT, Scene, lasting

FOUND_OUT = 2 * (HEARTBEAT + 5) + 1.0
"""Seconds within which a client must know that nobody is there.  pika looks every heartbeat + 5 s,
and the first time it sees bytes that came before."""


def cut(scene: Scene, _load: Load) -> None:
    """Cut all links; new ones are fine."""
    assert scene.proxy.cut() >= 2


def unreachable(scene: Scene, _load: Load, seconds: float = 2.0) -> None:
    """Cut all links, and refuse new ones for a while."""
    scene.proxy.refuse()
    scene.proxy.cut()
    lasting(seconds)
    scene.proxy.accept()


def half_open(scene: Scene, _load: Load) -> None:
    """Swallow what is said on all links; it is over when their clients have found out."""
    assert scene.proxy.half_open() >= 2
    wait_until(lambda: not scene.proxy.fooled, FOUND_OUT, "a client has found out")


def dark(scene: Scene, _load: Load, seconds: float = 3.0) -> None:
    """Swallow everything on all links, new ones too; then cut them, and all is well."""
    scene.proxy.half_open(new=True)
    lasting(seconds)
    scene.proxy.clear()


def slow(
    scene: Scene, _load: Load, *, delay: float = 0, rate: float | None = None, seconds: float = 4.0
) -> None:
    """Let every byte take its time for a while."""
    scene.proxy.slow(delay=delay, rate=rate)
    lasting(seconds)
    scene.proxy.slow()


def cut_in_mid_frame(scene: Scene, load: Load, sizes: tuple[int, int] = (777, 95)) -> None:
    """Cut each link after so many bytes on the way up; once that is mended, on the way down.

    Few on the way down, for what publishes hears of little but confirms, of 21 bytes each.
    """
    for downwards, size in enumerate(sizes):
        assert scene.proxy.cut_after(size, downwards=bool(downwards)) >= 2
        wait_until(lambda: not scene.proxy.doomed, 5.0, "bytes cross")
        before = dict(load.ledger.good)
        wait_until(lambda: load.at_work(1, before), 15.0, "everybody goes on")  # noqa: B023 - it is called here


LINKS = [
    Fault(name="link cut", strike=cut),
    Fault(name="link cut and refused for 2 s", strike=unreachable, brief=("embedded",)),
    Fault(name="link half-open", strike=half_open, brief=()),
    Fault(name="network dark for 3 s", strike=dark, brief=()),
    Fault(name="delay of 2 s", strike=partial(slow, delay=2.0), limits=LATE, brief=()),
    Fault(
        name="10 kB/s",
        strike=partial(slow, rate=10_000),
        limits=Limits(duplicates=0),
        brief=("embedded",),
    ),
    Fault(name="cut in mid-frame", strike=cut_in_mid_frame, brief=("embedded",)),
]
