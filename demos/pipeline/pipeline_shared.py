"""What all components of the pipeline share: the exchange, and one key and queue for each."""

from postage import messaging


class PipelineExchange(messaging.Exchange):
    name = "pipeline-exchange"


class Sender(messaging.GenericProducer):
    """Sends to a stage, or calls a supplier: by its name, as ``_key``."""

    eks = [(PipelineExchange, "check")]
    rpc_timeout, max_retry = 5, 0


class Component(messaging.MessageProcessor):
    """Its queue keeps what comes while nobody of the name runs; several of a name share it."""

    def __init__(self, name=None):
        name = name or type(self).__name__.lower()
        fingerprint = messaging.Fingerprint(name, "pipeline").as_dict()
        super().__init__(fingerprint, [(PipelineExchange, [(f"pipeline-{name}", name)])])
        self.sender = Sender(fingerprint)
