"""docs/rabbitmq.md: a node takes its settings and its commands."""

from __future__ import annotations

import re
import shlex

import pytest

from postage.testing.rabbitmq import RabbitMQNode
from tests.support.programs import ROOT

PAGE = (ROOT / "docs" / "rabbitmq.md").read_text()
pytestmark = pytest.mark.slow


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def commands() -> list[list[str]]:
    return [shlex.split(line)[1:] for block in blocks("sh") for line in block.splitlines()]


def test_a_node_takes_the_settings_and_policies(rabbitmq: RabbitMQNode) -> None:
    general, of_4_3 = blocks("ini")
    is_new = not rabbitmq.ctl("version").startswith("3.")
    with RabbitMQNode(configuration=general + (of_4_3 if is_new else "")) as node:
        for command in commands():
            if is_new or "quorum_queues" not in command:
                node.ctl(*command)
        policies = node.ctl("list_policies")

    assert policies.count("\t{") == len(commands()) - (not is_new)
