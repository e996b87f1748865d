"""Call ``echo`` and print the answer."""

import sys

from postage import patch_all

patch_all()  # before other imports

import echo_shared

from postage import Fingerprint, GenericProducer
from postage.cli import exit_codes


class EchoProducer(GenericProducer):
    eks = [(echo_shared.EchoExchange, "echo-rk")]
    rpc_timeout, max_retry = 10, 0  # wait 10 seconds and give up; the default is 5 x 30


with exit_codes():
    fingerprint = Fingerprint("echo_send", "application").as_dict()
    # Waits for the answer while other greenlets run.  It always returns a result message, which is
    # false if the server reports an error or does not answer.
    result = EchoProducer(fingerprint).call("echo", "RPC test message")
    if not result:
        sys.exit(f"RPC failed: {result.value}: {result.message}")
    print(result.value, flush=True)
