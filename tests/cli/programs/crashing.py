"""Ends as if it were killed, again and again."""

import os

from postage import green


class Crashing(green.MicroThread):
    def step(self):
        os._exit(9)
