"""``ps``, ``top`` and ``describe``: the answers of running generic applications."""
