from postage.testing.rabbitmq import *  # noqa: F403
