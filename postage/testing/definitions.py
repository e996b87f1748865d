"""The definitions file of a private RabbitMQ node: users, virtual hosts, permissions.

The node loads it when it starts.  ``rabbitmqctl`` would take over a second for each of them.
"""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Iterable, Mapping
from typing import Any

__all__ = ["Logins", "definitions", "password_hash"]

Logins = Mapping[str, tuple[str, Iterable[str]]]
"""Users by name, each with a password and the virtual hosts in which the user has all rights."""


def password_hash(password: str, salt: bytes | None = None) -> str:
    """Return RabbitMQ's form of *password*: base64 of a 4-byte salt and sha256(salt + password)."""
    salt = os.urandom(4) if salt is None else salt
    return base64.b64encode(salt + hashlib.sha256(salt + password.encode()).digest()).decode()


def _user(name: str, password: str, tags: str = "") -> dict[str, str]:
    algorithm = "rabbit_password_hashing_sha256"
    hashed = password_hash(password)
    return {"name": name, "password_hash": hashed, "hashing_algorithm": algorithm, "tags": tags}


def _all_rights(name: str, vhost: str) -> dict[str, str]:
    return {"user": name, "vhost": vhost, "configure": ".*", "write": ".*", "read": ".*"}


def definitions(vhosts: Iterable[str] = (), logins: Logins | None = None) -> dict[str, Any]:
    """Return the definitions file as plain data, fit for `json.dumps`.

    ``guest``/``guest`` has all rights in ``/`` and in all *vhosts*; *logins* adds other users.
    """
    names, others = ["/", *vhosts], logins or {}
    rights = [_all_rights("guest", vhost) for vhost in names]
    rights += [
        _all_rights(name, vhost) for name, (_, allowed) in others.items() for vhost in allowed
    ]
    users = [_user("guest", "guest", "administrator")]
    users += [_user(name, password) for name, (password, _) in others.items()]
    nothing: dict[str, Any] = {
        kind: [] for kind in ("parameters", "policies", "queues", "exchanges", "bindings")
    }
    vhost_entries = [{"name": name} for name in names]
    return {"users": users, "vhosts": vhost_entries, "permissions": rights, **nothing}
