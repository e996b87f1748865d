"""A producer for commands of any name, as a command line gives it."""

from __future__ import annotations

from typing import Any

from postage.exchange import Exchange
from postage.fingerprint import Fingerprint
from postage.green import GenericProducer
from postage.message import MessageCommand, RpcCommand

__all__ = ["Remote"]


class Remote(GenericProducer):
    """Sends to one exchange and key; ``message_command(name, parameters)``, ``rpc_command``."""

    def __init__(self, exchange: type[Exchange], key: str) -> None:
        self.eks = [(exchange, key)]
        super().__init__(Fingerprint("postage", "command").as_dict())

    def build_message_command(self, name: str, parameters: Any) -> MessageCommand:
        """Return the command; as the name is an argument, it may be any text."""
        return MessageCommand(name, parameters)

    def build_rpc_command(self, name: str, parameters: Any) -> RpcCommand:
        """Return the command as an RPC."""
        return RpcCommand(name, parameters)
