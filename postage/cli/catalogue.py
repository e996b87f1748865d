"""The commands, and what ``postage --help`` says of each.  None is imported before it is used."""

from __future__ import annotations

__all__ = ["COMMANDS"]

COMMANDS = {
    "run": "Run processors: in one process, or in several.",
    "call": "Call a component and print its answer.",
    "send": "Send a command to components.",
    "broker": "Run an embedded broker.",
}
"""By the name of the command, which is that of its module, too."""
