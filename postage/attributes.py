"""Which values the attributes of components, and arguments of their methods, may have."""

from __future__ import annotations

from collections.abc import Mapping

from postage.addressing import check_eks, check_exchange, check_patterns
from postage.around import check_around
from postage.dispatch import EXPOSURES
from postage.errors import SettingsError
from postage.kill_switch import KillSwitch
from postage.recoverability import Retry
from postage.remote_control import check_remote_control
from postage.send_options import check_propagated
from postage.supervision import check_policy
from postage.values import (
    MAX_SHORT_INT,
    Rule,
    encoder_class,
    flag,
    number,
    rule,
    seconds,
    short_text,
)

# fmt: off
__all__ = [
    "APPLICATION", "CONSUMER", "PROCESSOR", "PRODUCER", "REPLIES", "TIMER", "refuse_misplaced",
]
# fmt: on

PRODUCER: Mapping[str, Rule] = {
    "eks": lambda name, eks: check_eks(eks, name),
    "encoder_class": encoder_class,
    "rpc_timeout": seconds(zero=True),
    "max_retry": number(0),
    **dict.fromkeys(("confirm", "mandatory", "send_user_id"), flag),
    "publish_timeout": seconds(endless=True),
    "delivery_mode": number(1, 2),
    "max_body": number(1, none=True),
    "around": check_around,
}
"""The attributes of `GenericProducer`."""

CONSUMER: Mapping[str, Rule] = {
    "encoder_class": encoder_class,
    "prefetch": number(0, MAX_SHORT_INT),
    "max_body": number(1, none=True),
    "discard_all_messages": flag,
}
"""The attributes of `GenericConsumer`."""

_callback = rule("a function", callable, none=True)


def _is_consumer_class(value: object) -> bool:
    return isinstance(value, type) and hasattr(value, "add_eqk")


_queue_name = short_text(1, none=True)


def _parking_queue(name: str, template: object) -> None:
    _queue_name(name, template)
    if template == "{queue}":
        raise SettingsError(f"{name} must be another queue than the one that a message came from")
    if isinstance(template, str) and template.startswith("amq."):
        raise SettingsError(
            f"{name} must not begin with 'amq.', which is the broker's: {template!r}"
        )


PROCESSOR: Mapping[str, Rule] = {
    "consumer_class": rule("a class that inherits from GenericConsumer", _is_consumer_class),
    "concurrency": number(1, MAX_SHORT_INT),
    "prefetch": number(0, MAX_SHORT_INT, none=True),
    "max_deliveries": number(1, none=True),
    "answer_unknown": flag,
    "remote_control": check_remote_control,
    "propagate": check_propagated,
    "around": check_around,
    "reply_to": check_patterns,
    "expose_exceptions": rule(f"one of {', '.join(EXPOSURES)}", lambda value: value in EXPOSURES),
    "shutdown_timeout": seconds(zero=True, endless=True),
    "retry": rule("a Retry", lambda value: isinstance(value, Retry), none=True),
    "park": _parking_queue,
    "park_calls": flag,
    "kill_switch": rule("a KillSwitch", lambda value: isinstance(value, KillSwitch), none=True),
    "restart": check_policy,
    "restart_intensity": number(0),
    "restart_period": seconds(endless=True),
}
"""The attributes of `MessageProcessor`."""

APPLICATION: Mapping[str, Rule] = {
    "exchange_class": lambda name, exchange: check_exchange(exchange, name),
    "logging_producer": rule("a class of producers", lambda value: isinstance(value, type)),
    "max_remote_groups": number(0),
}
"""The attributes that `GenericApplication` has besides those of processors."""

REPLIES: Mapping[str, Rule] = {
    "queue": short_text(1),
    "result_len": number(0),
    "callback": _callback,
}
"""The arguments of `GenericProducer.consume_rpc`."""

TIMER: Mapping[str, Rule] = {"seconds": seconds(zero=True), "callback": _callback}
"""The arguments of `MessageProcessor.add_timeout`."""


def refuse_misplaced(processor: object) -> None:
    """Raise `SettingsError` if *processor* has the ``max_body`` that only its consumer obeys."""
    # A method of this name may be a handler.
    if hasattr(processor, "max_body") and not callable(processor.max_body):
        raise SettingsError(
            f"{type(processor).__name__}.max_body has no effect, as the consumer reads it: set it "
            f"on a class that inherits from GenericConsumer, and assign that to consumer_class"
        )
