"""``postage check``: the rules, the report, and a sandbox to make components without a broker."""
