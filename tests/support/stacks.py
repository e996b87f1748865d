from postage.testing.stacks import *  # noqa: F403
