"""What the RabbitMQ node of the suite knows from its first moment."""

from __future__ import annotations

#: ``t00`` belongs to tests about logging in; the others are handed out one per test module.
VHOSTS = [f"t{number:02}" for number in range(66)]
ALICE, SECRET_OF_ALICE = "alice", "secret-of-alice"
#: Alice may do everything in ``t00`` and nothing elsewhere.
LOGINS = {ALICE: (SECRET_OF_ALICE, ["t00"])}
