from postage.testing.waiting import *  # noqa: F403
