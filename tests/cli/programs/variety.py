"""Microthreads of several kinds, some of which are parts of others."""

import gevent.monkey

from postage import green

PATCHED = [gevent.monkey.is_module_patched(name) for name in ("socket", "threading", "time")]


class Part(green.MicroThread):
    """What others here inherit."""

    def step(self):
        gevent.sleep(1)


class Whole(Part):
    def __init__(self):
        assert all(PATCHED)


class _Hidden(Part):
    pass


class Made(Part):
    """Has an instance here, and is not made again."""


instance = Made()


def generated():
    """Yield a class and an instance."""
    yield Whole
    yield _Hidden()
