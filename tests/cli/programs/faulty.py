"""What cannot be run."""

from fleet import FleetExchange

from postage import messaging

VALUE = 5


class Unmakeable(messaging.MessageProcessor):
    def __init__(self):
        raise RuntimeError("no luck")


class Demanding(messaging.MessageProcessor):
    def __init__(self, needed):
        super().__init__()


class Mismatching(messaging.MessageProcessor):
    def __init__(self):
        queue = {"name": "cli-mismatch", "flags": {"arguments": {"x-max-length": 5}}}
        messaging.GenericConsumer([(FleetExchange, [("cli-mismatch", "key")])])
        super().__init__(None, [(FleetExchange, [(queue, "key")])])


def junk():
    return "junk"


def nothing():
    return []
