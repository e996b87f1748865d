"""Share one queue with other receivers, have another one alone, and handle messages twice."""

from postage import green

green.patch_all()  # before other imports

import echo_shared

from postage import messaging, microthreads
from postage.cli import exit_codes


class EchoReceiveProcessor(messaging.MessageProcessor):
    def __init__(self, fingerprint):
        shared = "echo-queue"  # receivers share its messages: round robin
        # Each receiver has such a queue of its own, so each gets every message: fan-out.
        name = f"echo-queue-{fingerprint['pid']}{fingerprint['host']}"
        own = {"name": name, "flags": {"exclusive": True}}  # it ends with our connection
        pairs = [(shared, "echo-rk"), (own, "echo-fanout-rk")]
        super().__init__(fingerprint, [(echo_shared.EchoExchange, pairs)], None, None)

    @messaging.MessageHandler("command", "echo")
    def msg_echo(self, content):
        print(content["parameters"], flush=True)

    # Both handlers run for each message, in this order.  This one gets the whole body.
    @messaging.MessageHandlerFullBody("command", "echo")
    def msg_echo_fingerprint(self, body):
        print(f"Message fingerprint: {body['fingerprint']}", flush=True)


with exit_codes():
    scheduler = microthreads.MicroScheduler()
    fingerprint = messaging.Fingerprint("echo_receive", "controller").as_dict()
    scheduler.add_microthread(EchoReceiveProcessor(fingerprint))
    print("waiting for messages", flush=True)
    for _ in scheduler.main():
        pass
