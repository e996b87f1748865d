"""The third stage: print what is shipped."""

from pipeline_shared import Component

from postage import messaging


class Ship(Component):
    @messaging.MessageHandler("command", "ship")
    def ship(self, content):
        order = content["parameters"]
        total = order["count"] * order["price"]
        print(f"{order['count']} {order['item']} from {order['supplier']}: {total}", flush=True)
