"""The shipped fixtures lead to the broker of the suite, as the commands of these tests do."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.fixture
def postage_url(broker_env: Any) -> str:
    """The URL of the module's virtual host, which is also in the environment."""
    return str(broker_env.url)
