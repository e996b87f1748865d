"""Answer the call ``echo``."""

from postage import patch_all

patch_all()  # before other imports

import echo_shared

from postage import Fingerprint, MessageProcessor, RpcHandler, run
from postage.cli import exit_codes


class EchoReceiveProcessor(MessageProcessor):
    @RpcHandler("command", "echo")
    def msg_echo(self, content, reply):
        print(content["parameters"], flush=True)
        # What the handler returns is the answer: any value, or a result message.  If it raises, or
        # returns nothing, its caller gets an exception result at once.
        return "RPC message received"


with exit_codes():
    fingerprint = Fingerprint("echo_receive", "controller").as_dict()
    eqk = [(echo_shared.EchoExchange, [("echo-queue", "echo-rk")])]
    receiver = EchoReceiveProcessor(fingerprint, eqk)
    print("waiting for messages", flush=True)
    run(receiver)
