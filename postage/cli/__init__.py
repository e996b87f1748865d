"""The command line, and what programs need to end like it does."""

from postage.cli.exits import exit_codes
from postage.cli.main import main

__all__ = ["exit_codes", "main"]
