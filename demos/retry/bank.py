"""A bank behind a network that is often away."""

ACCOUNTS = {"landlord", "tax office"}


class Bank:
    """Does not answer the next *away* transfers."""

    def __init__(self):
        self.away = 0

    def transfer(self, to):
        if self.away > 0:
            self.away -= 1
            raise ConnectionError("the bank does not answer")
        if to not in ACCOUNTS:
            raise LookupError(f"nobody has the account {to!r}")
