from postage.testing.watchdog import *  # noqa: F403
