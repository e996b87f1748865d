"""``ps``, ``top``, ``describe`` and ``blame``: what running processors tell."""
