"""Send one ``echo`` command."""

from postage import green

green.patch_all()  # before other imports

import echo_shared

from postage import messaging
from postage.cli import exit_codes


class EchoProducer(messaging.GenericProducer):
    """``message_echo`` needs no code: it sends the command ``echo`` with its arguments."""

    eks = [(echo_shared.EchoExchange, "echo-rk")]


with exit_codes():
    # It returns when the broker has the message.  The broker drops the message if no queue is bound
    # to the key, which is so before the first receiver has run.
    EchoProducer().message_echo("A test message")
    print("sent", flush=True)
