"""Remote commands, and the one rule that says from whom a component takes them.  Pure.

The sender of a command is the user whom the broker has verified.  AMQP's property ``user_id`` names
that user: a broker refuses a message whose ``user_id`` is not the user of its connection (RabbitMQ:
"Validated User-ID").  A fingerprint is no proof, because anybody can write any.
"""

from __future__ import annotations

from collections.abc import Collection
from enum import Enum
from typing import Any, TypeAlias

from postage.settings import Settings
from postage.values import short_text, value_error

__all__ = ["RemoteControl", "RemoteRule", "check_remote_control", "objection", "spoken", "user_of"]


class RemoteControl(Enum):
    """The rules that need no list of users."""

    OFF = "off"
    """Obey nobody; the same as False."""
    OWN_USER = "own-user"
    """Obey senders that have logged in to the broker as the user of this component."""
    ON = "on"
    """Obey every sender; the same as True."""


RemoteRule: TypeAlias = bool | str | RemoteControl | Collection[str]
"""What ``remote_control`` may be: a `RemoteControl`, its value, a bool, or the users to obey."""

_SWITCHES = {False: RemoteControl.OFF, True: RemoteControl.ON}
_WORDS = [repr(each.value) for each in RemoteControl]
_user = short_text(1)


def check_remote_control(name: str, rule: Any) -> None:
    """Raise `SettingsError` if *rule*, which is called *name*, is no rule of remote control."""
    expected = f"True, False, {', '.join(_WORDS)}, or a list of users"
    try:
        parsed = _parsed(rule)
    except (TypeError, ValueError):
        parsed = frozenset()
    if not parsed:
        raise value_error(name, expected, rule)
    if not isinstance(parsed, RemoteControl):
        for each in parsed:
            _user(f"a user in {name}", each)


def objection(rule: RemoteRule, sender: str | None, own: str | None) -> str:
    """Return why *rule* forbids to obey *sender*; empty if it allows it.

    *sender* is the verified user (None: the message names none), *own* that of the component (None:
    unknown).
    """
    parsed = _parsed(rule)
    if parsed is RemoteControl.ON:
        return ""
    if parsed is RemoteControl.OFF:
        return "its remote_control is False"
    users = {own} if parsed is RemoteControl.OWN_USER else parsed
    if sender is None:
        return f"its remote_control is {spoken(rule)}, and the message names no user (send_user_id)"
    return "" if sender in users else f"its remote_control is {spoken(rule)}"


def spoken(rule: RemoteRule) -> str:
    """Return *rule* as the log says it."""
    parsed = _parsed(rule)
    return parsed.value if isinstance(parsed, RemoteControl) else f"for {', '.join(sorted(parsed))}"


def user_of(settings: Settings) -> str | None:
    """Return the user by which the broker knows a component with *settings*; None if unknown.

    With EXTERNAL the broker takes the user from the certificate, unless the URL says its name, too.
    """
    unknown = settings.auth_mechanism != "PLAIN" and settings.user == Settings.user
    return None if unknown else settings.user


def _parsed(rule: Any) -> RemoteControl | frozenset[str]:
    """Return the `RemoteControl` or the users that *rule* stands for."""
    if isinstance(rule, (list, tuple, set, frozenset)):
        return frozenset(rule)
    if isinstance(rule, int) and rule in _SWITCHES:
        return _SWITCHES[bool(rule)]
    return RemoteControl(rule)
