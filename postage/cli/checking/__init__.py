"""``postage check``: the rules, the report, and making components without a broker."""
