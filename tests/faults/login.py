"""Who logs in where faults happen, and where: what a node must know that is meant for them."""

from __future__ import annotations

from urllib.parse import quote

USER, PASSWORD = "faulty", "Kn0ck:Zebra/42%?"
"""Nobody else's, so that whoever shows the password is found out."""
SHOWN = (PASSWORD, quote(PASSWORD, safe=""))
"""How it looks where it is shown."""
VHOSTS = [f"f{number}" for number in range(60)]
LOGINS = {USER: (PASSWORD, VHOSTS)}
