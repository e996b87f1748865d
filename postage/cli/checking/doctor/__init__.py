"""``postage doctor``: checks of the process, the addresses, the broker and a module.

`examination` has the order of the checks.  What a finding means, and what to do about it, is
decided without I/O in `installation`, `first_answer`, `reaching_advice` and `broker_advice`.  The
other modules do the I/O.
"""
