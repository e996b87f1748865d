"""Share a queue with the other receivers, have one alone, and handle a message twice."""

from postage import green

green.patch_all()  # before other imports

import echo_shared

from postage import messaging, microthreads
from postage.cli import exit_codes


class EchoReceiveProcessor(messaging.MessageProcessor):
    def __init__(self, fingerprint):
        shared = "echo-queue"  # the receivers get its messages in turn: round robin
        # No other receiver has a queue of this name, so each gets every message: fan-out.
        name = f"echo-queue-{fingerprint['pid']}{fingerprint['host']}"
        own = {"name": name, "flags": {"exclusive": True}}  # exclusive: it ends with our connection
        pairs = [(shared, "echo-rk"), (own, "echo-fanout-rk")]
        super().__init__(fingerprint, [(echo_shared.EchoExchange, pairs)], None, None)

    @messaging.MessageHandler("command", "echo")
    def msg_echo(self, content):
        print(content["parameters"], flush=True)

    # Both run for each message, in this order; this one gets all of the body.
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
