"""``postage check``: the rules, and the report on the components of modules."""
