"""Runs a program on Postage 1.2.1: ``python2.7 old.py server.py NAME``, broker as in POSTAGE_*.

1.2.1 takes user, password and vhost from the environment, but always connects to the default port
of pika on ``localhost``.  This program changes both; the library itself is unchanged.
"""

import os
import runpy
import sys

import pika
from pika.connection import Parameters

if __name__ == "__main__":
    Parameters.DEFAULT_PORT = int(os.environ["POSTAGE_PORT"])
    from postage import messaging

    assert pika.__version__ == "0.9.14", pika.__version__
    messaging.global_hup["host"] = os.environ["POSTAGE_HOST"]
    del sys.argv[0]
    runpy.run_path(sys.path[0] + os.sep + sys.argv[0], run_name="__main__")
