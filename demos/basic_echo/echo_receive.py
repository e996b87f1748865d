"""Print what each ``echo`` command says, until the command ``quit`` or Ctrl-C."""

from postage import green

green.patch_all()  # before other imports, so that sleep() and sockets in handlers cooperate

import echo_shared

from postage import messaging, microthreads
from postage.cli import exit_codes


class EchoReceiveProcessor(messaging.MessageProcessor):
    """Each decorated method handles messages of one type and name; others are ignored."""

    @messaging.MessageHandler("command", "echo")
    def msg_echo(self, content):
        """Print the parameters that the sender gave to ``message_echo``."""
        print(content["parameters"], flush=True)


# Messages with this key go to this queue.  All receivers that name the queue share it, so each
# message reaches one of them.  The queue remains when they end, and keeps new messages.
eqk = [(echo_shared.EchoExchange, [("echo-queue", "echo-rk")])]

with exit_codes():  # if the broker cannot be used: one line, and exit code 3
    scheduler = microthreads.MicroScheduler()
    scheduler.add_microthread(EchoReceiveProcessor({}, eqk, None, None))
    print("waiting for messages", flush=True)
    for _ in scheduler.main():
        pass
print("the receiver has quit", flush=True)
