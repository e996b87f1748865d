"""An application that claims to be another process."""

from postage import generic_application, messaging


class Twin(generic_application.GenericApplication):
    def __init__(self):
        super().__init__(messaging.Fingerprint("twin", "application", pid=1, host="x").as_dict())
