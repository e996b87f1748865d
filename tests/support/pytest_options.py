"""What runs of pytest as child processes have in common."""

from __future__ import annotations

from itertools import chain

_PLUGINS = "cacheprovider", "hypothesispytest", "anyio"
WITHOUT = [*chain(*(("-p", f"no:{name}") for name in _PLUGINS))]
"""Options: leave no file behind, and load no plugin that takes longer than the rest of pytest."""
