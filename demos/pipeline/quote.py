"""The second stage: ask all suppliers at once, and choose the cheapest."""

from pipeline_shared import Component
from suppliers import SUPPLIERS

from postage import messaging


class Quote(Component):
    @messaging.MessageHandler("command", "quote")
    def quote(self, content):
        order = content["parameters"]
        # Scatter: later() makes a call in a greenlet of its own, so all suppliers work at once.
        calls = {name: self.sender.rpc_price.later(order["item"], _key=name) for name in SUPPLIERS}
        # Gather: get() waits for the result.  It is false if a supplier has no such item, or does
        # not answer in time.
        answers = {name: call.get() for name, call in calls.items()}
        prices = {name: each.value for name, each in answers.items() if each}
        if not prices:
            raise messaging.RejectMessage(f"nobody sells {order['item']}")
        best = min(prices, key=prices.get)
        self.sender.message_ship(**order, supplier=best, price=prices[best], _key="ship")
