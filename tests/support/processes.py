from postage.testing.processes import *  # noqa: F403
