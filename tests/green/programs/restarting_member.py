"""A generic application that may join two groups by command, and restarts; argument: its name."""

import sys

from postage import green
from postage.generic_application import GenericApplication


class Member(GenericApplication):
    concurrency = 1
    max_remote_groups = 2


if __name__ == "__main__":
    member = Member({"name": sys.argv[1]})
    sys.stdout.write("runs\n")
    sys.stdout.flush()
    green.run(member)
