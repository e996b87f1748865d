"""``ps``, ``top`` and ``describe``: what running processors tell."""
