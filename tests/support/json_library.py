"""JSON as without the extra ``fast``, whether it is installed or not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from postage import encoding


@contextmanager
def by_the_standard_library() -> Iterator[None]:
    """Let `JsonEncoder` use the standard library, as if the extra were not installed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encoding, "fast_json", lambda: None)
        yield
