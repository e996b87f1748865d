"""Patches the standard library before it takes anything from it."""

from gevent import monkey

monkey.patch_all()

from socket import create_connection  # noqa: E402, F401
