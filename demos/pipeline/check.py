"""The first stage: drop orders that order nothing."""

from pipeline_shared import Component

from postage import messaging


def some(content):
    """Give the content to the handler, or keep it away by raising: this is a filter."""
    if content["parameters"]["count"] < 1:
        raise messaging.FilterError("nothing is ordered")
    return content


class Check(Component):
    @messaging.MessageFilter(some)
    @messaging.MessageHandler("command", "check")
    def check(self, content):
        order = content["parameters"]
        self.sender.message_quote(item=order["item"].lower(), count=order["count"], _key="quote")
