"""The commands of ``postage dlq``: one module for each, named after its command."""

from __future__ import annotations

PARKED_COMMANDS = {
    "ls": "List messages that failed, in groups.",
    "show": "Show one of them, with all that is known.",
    "diff": "Show in what two of them differ.",
    "run": "Run the handler of one of them here, in this process.",
    "export": "Write a test that fails as one of them did.",
    "edit": "Edit the body of one of them.",
    "replay": "Send them back to the queue in which they failed.",
}
"""What ``postage dlq --help`` says of each command, most useful first."""
RENAMED = {"run": "run_here"}
"""The modules of commands that have the names of other modules."""
