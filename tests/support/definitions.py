"""The virtual hosts, users and settings of the broker of the suite."""

from __future__ import annotations

#: ``t00`` is for tests of logging in; each test module takes one of the others, and one process may
#: run all modules.
VHOSTS = [f"t{number:02}" for number in range(200)]
ALICE, SECRET_OF_ALICE = "alice", "secret-of-alice"
#: Alice has all permissions in ``t00``, and none elsewhere.
#: The user of a certificate: see the fixture `certificates`.
CERTIFIED = "tls-client"
LOGINS = {ALICE: (SECRET_OF_ALICE, ["t00"]), CERTIFIED: ("no password", ["/"])}
#: Tests send up to 20 MiB; RabbitMQ 4 refuses messages of more than 16 MiB by default.
LARGE_MESSAGES = "max_message_size = 67108864\n"
