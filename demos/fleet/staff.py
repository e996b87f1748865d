"""The clerks and couriers of a post office, found by their names and groups."""

import random

import gevent

from postage import generic_application, messaging

Exchange = generic_application.GenericApplicationExchange


class Rounds(messaging.GenericProducer):
    eks = [(Exchange, "courier/rr")]


class Clerk(generic_application.GenericApplication):
    def __init__(self):
        super().__init__(messaging.Fingerprint("clerk", "demo").as_dict())
        self.rounds = Rounds(self.fingerprint)

    @messaging.MessageHandler("command", "sort")
    def msg_sort(self, content):
        """Give a letter to one of the couriers of its district."""
        key = f"courier#{content['parameters']['district']}/rr"
        self.rounds.message_deliver(content["parameters"], _key=key)


class Courier(generic_application.GenericApplication):
    """Delivers the letters of its districts: a group for each."""

    def __init__(self, *districts):
        super().__init__(messaging.Fingerprint("courier", "demo").as_dict(), groups=districts)

    @messaging.MessageHandler("command", "deliver")
    def msg_deliver(self, content):
        """Walk to the house; other letters are delivered meanwhile."""
        gevent.sleep(random.uniform(0.05, 0.2))  # noqa: S311 - no secret
