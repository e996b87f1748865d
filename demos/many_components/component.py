"""The base class of the four kinds of components."""

from tally import tally

from postage import messaging
from postage.errors import PostageError


class Exchange(messaging.Exchange):
    name = "many-components"


class Component(messaging.MessageProcessor):
    """Components of a kind share a queue, which ends with them; its key is their class name."""

    def __init__(self):
        kind = type(self).__name__
        fingerprint = messaging.Fingerprint(kind, "demo").as_dict()
        queue = {"name": f"many-components-{kind}", "flags": {"auto_delete": True}}
        super().__init__(fingerprint, [(Exchange, [(queue, kind)])])
        self.producer = messaging.GenericProducer(fingerprint)

    def ask(self, kind, what, *numbers):
        """Call a component of *kind*, return its answer; other messages are handled meanwhile."""
        result = getattr(self.producer, f"rpc_{what}")(*numbers, _eks=[(Exchange, kind)])
        tally.update(calls=1, errors=int(not result))  # int: an empty Counter would keep a bool
        if not result:
            raise RuntimeError(str(result))  # logged by the processor; this round ends
        return result.value

    def tell(self, kind, what):
        getattr(self.producer, f"message_{what}")(_eks=[(Exchange, kind)])
        tally["messages"] += 1

    def run(self, over):
        try:
            self.start_consuming()
        except PostageError as exc:  # the connection was lost
            over.set_exception(exc)
