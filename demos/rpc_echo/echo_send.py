"""Call ``echo`` and print the answer."""

import sys

from postage import green

green.patch_all()  # before other imports

import echo_shared

from postage import messaging
from postage.cli import exit_codes


class EchoProducer(messaging.GenericProducer):
    eks = [(echo_shared.EchoExchange, "echo-rk")]
    rpc_timeout, max_retry = 10, 0  # wait 10 seconds and give up; by default five times 30


with exit_codes():
    fingerprint = messaging.Fingerprint("echo_send", "application").as_dict()
    # Waits for the answer; other greenlets of the program go on.  It always returns a result
    # message: false where the server answered with an error, or nobody answered at all.
    reply = EchoProducer(fingerprint).rpc_echo("RPC test message")
    content = reply.body["content"]
    if not reply:
        sys.exit(f"RPC failed: {content['value']}: {content['message']}")
    print(content["value"], flush=True)
