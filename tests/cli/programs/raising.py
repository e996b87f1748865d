"""Fails when it is imported."""


def fail():
    raise ValueError("this module is broken")


fail()
