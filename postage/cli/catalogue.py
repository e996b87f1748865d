"""The commands, and what ``postage --help`` says of each.  None is imported before it is used."""

from __future__ import annotations

__all__ = ["COMMANDS"]

COMMANDS = {
    "run": "Run processors: in one process, or in several.",
    "call": "Call a component and print its answer.",
    "send": "Send a command to components.",
    "ps": "List the applications that answer.",
    "top": "Show the applications that answer, live.",
    "describe": "Show what an application handles.",
    "tail": "Print the messages that pass.",
    "health": "Ask whether a running process is alive and ready.",
    "check": "Find what is wrong with a module's components.",
    "broker": "Run an embedded broker.",
    "completion": "Print the script that completes commands in a shell.",
}
"""By the name of the command, which is that of its module, too."""
