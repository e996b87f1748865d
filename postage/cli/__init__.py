"""The command line ``postage``, and `exit_codes` for programs that end the same way."""

from postage.cli.exits import exit_codes
from postage.cli.main import main

__all__ = ["exit_codes", "main"]
