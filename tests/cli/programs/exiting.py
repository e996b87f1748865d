"""A script that somebody takes for a module."""

import sys

sys.exit("used as a module")
