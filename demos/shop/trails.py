"""What has happened with each order, in memory; readers may wait for what happens next."""

from collections import defaultdict
from threading import Condition


class Trails:
    def __init__(self) -> None:
        self._lines = defaultdict[str, list[str]](list)
        self._news = Condition()  # postage run has made it cooperative: only the greenlet waits

    def __contains__(self, order: str) -> bool:
        return order in self._lines

    def add(self, order: str, line: str) -> None:
        with self._news:
            self._lines[order].append(line)
            self._news.notify_all()

    def lines(self, order: str) -> list[str]:
        return list(self._lines[order])

    def wait_for_line(self, order: str, number: int) -> str:
        with self._news:
            self._news.wait_for(lambda: len(self._lines[order]) > number)
            return self._lines[order][number]
