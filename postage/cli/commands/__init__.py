"""The commands of ``postage``: one module for each, named after its command.

A module is imported only when its command is used, so ``postage --help`` stays fast.
"""

from __future__ import annotations

COMMANDS = {
    "run": "Run processors: in one process, or in several.",
    "call": "Call a component and print its answer.",
    "send": "Send a command to components.",
    "ps": "List the applications that answer.",
    "top": "Show the applications that answer, live.",
    "web": "Show who calls whom, live in a browser.",
    "pause": "Let applications take no messages.",
    "resume": "Let paused applications go on.",
    "describe": "Show what an application handles.",
    "blame": "Show what has held or slowed down an application.",
    "tail": "Print the messages that pass an exchange.",
    "dlq": "Look at messages that failed, and do them again.",
    "health": "Ask whether a running process is alive and ready.",
    "check": "Find faults in the components of a module.",
    "doctor": "Find what is wrong here or on the broker.",
    "config": "Show the settings of `postage run`, and what has set them.",
    "explain": "Explain an error or a line of the log.",
    "contract": "Write the contracts of services, and check changes of them.",
    "broker": "Run an embedded broker.",
    "completion": "Print the script that completes commands in a shell.",
}
"""What ``postage --help`` says of each command, most useful first."""
