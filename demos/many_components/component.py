"""What the four kinds of components have in common."""

from tally import tally

from postage import messaging
from postage.errors import PostageError


class Exchange(messaging.Exchange):
    name = "many-components"


class Component(messaging.MessageProcessor):
    """All of a kind share one queue, which ends with them; its key is the name of the kind."""

    def __init__(self):
        kind = type(self).__name__
        fingerprint = messaging.Fingerprint(kind, "demo").as_dict()
        queue = {"name": f"many-components-{kind}", "flags": {"auto_delete": True}}
        super().__init__(fingerprint, [(Exchange, [(queue, kind)])])
        self.producer = messaging.GenericProducer(fingerprint)

    def ask(self, kind, what, *numbers):
        """Call one of *kind* and return its answer; meanwhile other messages are handled."""
        result = getattr(self.producer, f"rpc_{what}")(*numbers, _eks=[(Exchange, kind)])
        tally.update(calls=1, errors=int(not result))  # an empty Counter would keep False as it is
        if not result:
            raise RuntimeError(str(result))  # is logged, and ends this round
        return result.body["content"]["value"]

    def tell(self, kind, what):
        getattr(self.producer, f"message_{what}")(_eks=[(Exchange, kind)])
        tally["messages"] += 1

    def run(self, over):
        try:
            self.start_consuming()
        except PostageError as exc:  # the connection was lost
            over.set_exception(exc)
