"""Customers of the shop at PORT, who come at a steady pace: ``customers.py PORT``.

Prints a line after each look at the stock: the time by ``time.monotonic``, and the numbers of looks
and of orders so far.  Ends by a signal.
"""

import itertools
import json
import sys
import time
from http.client import HTTPConnection

LOOKS = 12  # a second: at the stock
ORDERED = 3  # looks at the stock for each order
ITEMS = itertools.cycle(("bolt", "nut", "screw"))  # so that the stock lasts for a minute

connection = HTTPConnection("127.0.0.1", int(sys.argv[1]), timeout=20)


def ask(method: str, path: str, body: object = None) -> object:
    data = None if body is None else json.dumps(body)
    connection.request(method, path, data, {"Content-Type": "application/json"})
    return json.loads(connection.getresponse().read())


began, orders = time.monotonic(), 0
for looks in itertools.count(1):
    time.sleep(max(0.0, began + looks / LOOKS - time.monotonic()))
    ask("GET", "/stock")
    if looks % ORDERED == 0:
        orders += 1
        ordered = ask("POST", "/orders", {"customer": "alice", "items": {next(ITEMS): 1}})
        if isinstance(ordered, dict) and "order" in ordered:
            ask("GET", f"/orders/{ordered['order']}")
    sys.stdout.write(f"{time.monotonic()} {looks} {orders}\n")
    sys.stdout.flush()
