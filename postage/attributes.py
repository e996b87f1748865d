"""Which values the class attributes of components may have: a rule for each attribute."""

from __future__ import annotations

from collections.abc import Mapping

from postage.addressing import check_eks
from postage.supervision import check_policy
from postage.values import MAX_SHORT_INT, Rule, encoder_class, flag, number, seconds

__all__ = ["CONSUMER", "PROCESSOR", "PRODUCER"]

PRODUCER: Mapping[str, Rule] = {
    "eks": lambda name, eks: check_eks(eks, name),
    "encoder_class": encoder_class,
    "rpc_timeout": seconds(zero=True),
    "max_retry": number(0),
    **dict.fromkeys(("confirm", "mandatory"), flag),
    "publish_timeout": seconds(endless=True),
    "delivery_mode": number(1, 2),
    "max_body": number(1, none=True),
}
"""The attributes of `GenericProducer`."""

CONSUMER: Mapping[str, Rule] = {
    "encoder_class": encoder_class,
    "prefetch": number(0, MAX_SHORT_INT),
    "max_body": number(1, none=True),
    "discard_all_messages": flag,
}
"""The attributes of `GenericConsumer`."""

PROCESSOR: Mapping[str, Rule] = {
    "concurrency": number(1, MAX_SHORT_INT),
    "prefetch": number(0, MAX_SHORT_INT, none=True),
    "max_deliveries": number(1, none=True),
    **dict.fromkeys(("answer_unknown", "remote_control"), flag),
    "shutdown_timeout": seconds(zero=True, endless=True),
    "restart": check_policy,
    "restart_intensity": number(0),
    "restart_period": seconds(endless=True),
}
"""The attributes of `MessageProcessor`."""
