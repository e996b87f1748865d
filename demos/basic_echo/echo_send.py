"""Send one ``echo`` command."""

from postage import green

green.patch_all()  # before other imports

import echo_shared

from postage import messaging
from postage.cli import exit_codes


class EchoProducer(messaging.GenericProducer):
    """``message_echo`` needs no code: without a builder it sends the command ``echo``."""

    eks = [(echo_shared.EchoExchange, "echo-rk")]


with exit_codes():
    # It returns when the broker has the message.  Whether somebody receives it is another matter:
    # while no queue is bound to the key, that is before the first receiver, messages go nowhere.
    EchoProducer().message_echo("A test message")
    print("sent", flush=True)
