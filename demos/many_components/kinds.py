"""The four kinds of components.  They know each other by name and command only."""

import itertools

from component import Component
from tally import tally

from postage.messaging import MessageHandler, RpcHandler


class NumberGiver(Component):
    numbers = itertools.count(1)

    @RpcHandler("command", "next")
    def next(self, content, reply_func):
        reply_func(next(self.numbers))


class Squarer(Component):
    @RpcHandler("command", "square")
    def square(self, content, reply_func):
        reply_func(content["parameters"] ** 2)


class Adder(Component):
    @RpcHandler("command", "add_squares")
    def add_squares(self, content, reply_func):
        reply_func(sum(self.ask("Squarer", "square", n) for n in content["parameters"]))


class Gatherer(Component):
    @MessageHandler("command", "gather")
    def gather(self, content):
        n = self.ask("NumberGiver", "next")
        found = self.ask("Adder", "add_squares", n, n + 1)
        tally["errors"] += found != n**2 + (n + 1) ** 2
        self.tell("Gatherer", "gather")  # any gatherer starts the next round
