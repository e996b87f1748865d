"""The first stage: orders that are none go no further."""

from pipeline_shared import Component

from postage import messaging


def some(content):
    """A filter: what it raises keeps the message from the handler, what it returns goes there."""
    if content["parameters"]["count"] < 1:
        raise messaging.FilterError("nothing is ordered")
    return content


class Check(Component):
    @messaging.MessageFilter(some)
    @messaging.MessageHandler("command", "check")
    def check(self, content):
        order = content["parameters"]
        self.sender.message_quote(item=order["item"].lower(), count=order["count"], _key="quote")
