"""The suppliers that the pipeline asks for prices."""

import time

from pipeline_shared import Component

from postage import messaging

SUPPLIERS = {
    "acme": {"bolt": 5, "nut": 2},
    "bolts-r-us": {"bolt": 3},
    "nuts-and-more": {"nut": 1, "screw": 4},
}


class Supplier(Component):
    @messaging.RpcHandler("command", "price")
    def price(self, content, reply_func):
        time.sleep(0.3)  # other calls are handled meanwhile
        item, prices = content["parameters"], SUPPLIERS[self.fingerprint["name"]]
        missing = messaging.MessageResultError(f"there is no {item} here")
        reply_func(prices.get(item, missing))


def everybody():
    return [Supplier(name) for name in SUPPLIERS]
