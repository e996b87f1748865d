"""The second stage: ask all suppliers at once, and take the cheapest one."""

from pipeline_shared import Component
from suppliers import SUPPLIERS

from postage import messaging


class Quote(Component):
    @messaging.MessageHandler("command", "quote")
    def quote(self, content):
        order = content["parameters"]
        # Scatter: later() makes a call in a greenlet of its own, so all suppliers think at a time.
        calls = {name: self.sender.rpc_price.later(order["item"], _key=name) for name in SUPPLIERS}
        # Gather: get() waits for the answer.  It is false where a supplier has no such item, or
        # does not answer in time.
        answers = {name: call.get() for name, call in calls.items()}
        prices = {name: each.body["content"]["value"] for name, each in answers.items() if each}
        if not prices:
            raise messaging.RejectMessage(f"nobody sells {order['item']}")
        best = min(prices, key=prices.get)
        self.sender.message_ship(**order, supplier=best, price=prices[best], _key="ship")
