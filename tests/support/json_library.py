"""JSON without the extra ``fast``, whether it is installed or not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from postage import fastjson


@contextmanager
def by_the_standard_library() -> Iterator[None]:
    """Have `JsonEncoder` do without `fastjson`, as it does where that is not available."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fastjson, "AVAILABLE", False)
        yield
