"""The classic names of microthreads and their scheduler."""

from postage.errors import ExitScheduler
from postage.green import MicroScheduler, MicroThread

__all__ = ["ExitScheduler", "MicroScheduler", "MicroThread"]
