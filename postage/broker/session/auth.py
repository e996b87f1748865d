"""Credentials of clients, in the two mechanisms that RabbitMQ offers."""

from __future__ import annotations

import hmac

from postage.broker.wire.exceptions import ConnectionFault
from postage.broker.wire.fields import decode_table

__all__ = ["MECHANISMS", "credentials", "same"]

MECHANISMS = "PLAIN AMQPLAIN"


def credentials(mechanism: str, response: bytes) -> tuple[str, str]:
    """Return user and password from a SASL response; raise 503 for an unknown mechanism."""
    if mechanism == "PLAIN":
        parts = response.split(b"\x00")
        if len(parts) == 3:  # noqa: PLR2004 - identity to act as, user, password (RFC 4616)
            return parts[1].decode("utf-8", "replace"), parts[2].decode("utf-8", "replace")
    elif mechanism == "AMQPLAIN":
        table, _ = decode_table(len(response).to_bytes(4, "big") + response, 0)
        return str(table.get("LOGIN", "")), str(table.get("PASSWORD", ""))
    else:
        raise ConnectionFault(503, f"unknown authentication mechanism '{mechanism}'")
    return "", ""


def same(one: str, other: str) -> bool:
    """Compare two secrets in a time that does not depend on where they differ."""
    return hmac.compare_digest(*(each.encode("utf-8", "surrogatepass") for each in (one, other)))
