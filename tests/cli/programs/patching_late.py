"""Takes a function that blocks, and patches the standard library after that."""

from socket import create_connection  # noqa: F401

from gevent import monkey

monkey.patch_all()
