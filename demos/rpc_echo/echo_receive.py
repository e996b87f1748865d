"""Answer the call ``echo``."""

from postage import green

green.patch_all()  # before other imports

import echo_shared

from postage import messaging, microthreads
from postage.cli import exit_codes


class EchoReceiveProcessor(messaging.MessageProcessor):
    def __init__(self, fingerprint):
        eqk = [(echo_shared.EchoExchange, [("echo-queue", "echo-rk")])]
        super().__init__(fingerprint, eqk, None, None)

    @messaging.RpcHandler("command", "echo")
    def msg_echo(self, content, reply_func):
        print(content["parameters"], flush=True)
        # Reply once, with any value or result message; code after this still runs.  If a handler
        # raises or does not reply, its caller gets an exception result at once.
        reply_func(messaging.MessageResult("RPC message received"))


with exit_codes():
    scheduler = microthreads.MicroScheduler()
    fingerprint = messaging.Fingerprint("echo_receive", "controller").as_dict()
    scheduler.add_microthread(EchoReceiveProcessor(fingerprint))
    print("waiting for messages", flush=True)
    for _ in scheduler.main():
        pass
