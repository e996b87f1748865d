"""A producer that sends a command of any name, as the command line gives it."""

from __future__ import annotations

from typing import Any

from postage.cli.exits import CommandFailed
from postage.exchange import Exchange
from postage.fingerprint import Fingerprint
from postage.green import GenericProducer
from postage.message import MessageCommand, RpcCommand
from postage.settings import Settings
from postage.url import EMBEDDED
from postage.values import short_text


def check_reachable() -> None:
    """Raise `CommandFailed` if the broker is one inside this process, and so has no messages."""
    inside = Settings.resolve().host
    if inside.startswith(EMBEDDED):  # nobody but this short command would be its client
        raise CommandFailed(
            f"{inside} is a broker inside one process, and this command is another: give "
            f"--url, as `postage run` logs it, or run `postage broker` for all programs"
        )


class Remote(GenericProducer):
    """Sends to one exchange and key by ``message_command(name, parameters)`` or ``rpc_command``.

    Raises `CommandFailed` if the broker is one inside this process, and `SettingsError` for a *key*
    that AMQP does not take.
    """

    send_user_id = True  # so that remote commands are obeyed by components that ask for the user

    def __init__(self, exchange: type[Exchange], key: str) -> None:
        short_text()("the key", key)
        check_reachable()
        self.eks = [(exchange, key)]
        super().__init__(Fingerprint("postage", "command").as_dict())

    def build_message_command(self, name: str, parameters: Any) -> MessageCommand:
        """Return the command *name*, which may be any text: it is an argument, not an attribute."""
        return MessageCommand(name, parameters)

    def build_rpc_command(self, name: str, parameters: Any) -> RpcCommand:
        """Return the RPC command *name*."""
        return RpcCommand(name, parameters)
