"""The exchange of the pipeline, and the base class that gives each component key and queue."""

from postage import messaging


class PipelineExchange(messaging.Exchange):
    name = "pipeline-exchange"


class Sender(messaging.GenericProducer):
    """Sends to a stage or calls a supplier, whose name is the ``_key``."""

    eks = [(PipelineExchange, "check")]
    rpc_timeout, max_retry = 5, 0


class Component(messaging.MessageProcessor):
    """Has a queue that is named after it; components of one name share their queue."""

    def __init__(self, name=None):
        name = name or type(self).__name__.lower()
        fingerprint = messaging.Fingerprint(name, "pipeline").as_dict()
        super().__init__(fingerprint, [(PipelineExchange, [(f"pipeline-{name}", name)])])
        self.sender = Sender(fingerprint)
