"""``postage run``: targets, the process, its workers, and its probes."""
