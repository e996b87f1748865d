"""An application that refuses the commands quit and restart."""

from postage import generic_application, messaging


class Locked(generic_application.GenericApplication):
    remote_control = False

    def __init__(self):
        super().__init__(messaging.Fingerprint("locked", "application").as_dict())
