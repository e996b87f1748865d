"""What a private RabbitMQ node knows from its first moment: users, vhosts, permissions.

Loaded at boot, so that a test module gets a fresh vhost by taking the next name.
"""

from __future__ import annotations

import base64
import hashlib
import os
from typing import Any

#: ``t00`` belongs to tests about logging in; the others are handed out one per test module.
VHOSTS = [f"t{number:02}" for number in range(60)]
ALICE, SECRET_OF_ALICE = "alice", "secret-of-alice"


def password_hash(password: str, salt: bytes | None = None) -> str:
    """Return RabbitMQ's form of *password*: base64 of a 4-byte salt and sha256(salt + password)."""
    salt = os.urandom(4) if salt is None else salt
    return base64.b64encode(salt + hashlib.sha256(salt + password.encode()).digest()).decode()


def user(name: str, password: str, tags: str) -> dict[str, str]:
    """Return the definition of one user."""
    algorithm = "rabbit_password_hashing_sha256"
    hashed = password_hash(password)
    return {"name": name, "password_hash": hashed, "hashing_algorithm": algorithm, "tags": tags}


def all_rights(name: str, vhost: str) -> dict[str, str]:
    """Return the permission of the user *name* to do everything in *vhost*."""
    return {"user": name, "vhost": vhost, "configure": ".*", "write": ".*", "read": ".*"}


def definitions() -> dict[str, Any]:
    """Return the whole definitions file as plain data, fit for `json.dumps`."""
    vhosts = ["/", *VHOSTS]
    return {
        "users": [user("guest", "guest", "administrator"), user(ALICE, SECRET_OF_ALICE, "")],
        "vhosts": [{"name": name} for name in vhosts],
        "permissions": [*(all_rights("guest", name) for name in vhosts), all_rights(ALICE, "t00")],
        "parameters": [],
        "policies": [],
        "queues": [],
        "exchanges": [],
        "bindings": [],
    }
