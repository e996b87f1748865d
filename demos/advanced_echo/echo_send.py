"""Send one message to one receiver and one to all, with a fingerprint of this program."""

from postage import green

green.patch_all()  # before other imports

import echo_shared

from postage import messaging
from postage.cli import exit_codes


class EchoProducer(messaging.GenericProducer):
    eks = [(echo_shared.EchoExchange, "echo-rk")]


with exit_codes():
    # We choose name and type; pid, host, user and vhost come from the system.
    fingerprint = messaging.Fingerprint("echo_send", "application").as_dict()
    producer = EchoProducer(fingerprint)
    producer.message_echo("A single test message")
    producer.message_echo("A fanout test message", _key="echo-fanout-rk")
    print("sent", flush=True)
