"""Generic applications in one process: one for each argument, ``name`` or ``name#group,group``."""

import sys

from postage import generic_application, green, messaging


class Application(generic_application.GenericApplication):
    """Remembers the marks that reach it, and says which when asked."""

    def __init__(self, *args):
        self.marks = []
        super().__init__(*args)

    @messaging.MessageHandler("command", "mark")
    def mark(self, content):
        self.marks.append(content["parameters"])

    @messaging.RpcHandler("command", "marks")
    def tell(self, content, reply_func):
        reply_func(self.marks.count(content["parameters"]))


def application(argument):
    name, _, groups = argument.partition("#")
    fingerprint = messaging.Fingerprint(name, "application").as_dict()
    return Application(fingerprint, None, groups.split(",") if groups else [])


if __name__ == "__main__":
    applications = [application(argument) for argument in sys.argv[1:]]
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    green.run(*applications)
