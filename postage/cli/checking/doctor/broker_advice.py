"""What the broker has told about itself means, and what to do about it.  Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from shlex import quote
from typing import Any, NamedTuple

from postage.cli.checking.doctor.diagnoses import Diagnosis, Part, Rating
from postage.errors import (
    AuthenticationFailed,
    ChannelRefused,
    PostageError,
    TemporarilyRefused,
    VhostRefused,
)
from postage.foreign_text import one_line
from postage.queues import Version
from postage.settings import Settings

LEAST_FRAME, FEW_CHANNELS = 8192, 100
SHORT_HEARTBEAT, LONG_HEARTBEAT = 5, 600
"""Seconds: below, a busy process may seem dead; above, a dead connection stays unnoticed long."""
CLOCK_DIFFERENCE = 5.0
"""Seconds that two clocks may differ: the broker's timestamps have whole seconds."""
FIRST_SUPPORTED = (3, 10)
THIS_MACHINE = ("localhost", "127.0.0.1", "::1")
LONGEST = 200
"""Characters that are quoted of a text of the broker."""


def diagnosis(name: str, rating: Rating, text: str, remedy: str = "") -> Diagnosis:
    """Return a diagnosis of the broker."""
    return Diagnosis(Part.BROKER, name, rating, text, remedy)


# --- the login


def judge_login_error(settings: Settings, error: PostageError) -> Iterator[Diagnosis]:
    """Yield the diagnoses of a login, or a virtual host, that failed with *error*."""
    text = one_line(error, 500)
    if isinstance(error, VhostRefused):
        yield diagnosis("login", Rating.OK, f"user {settings.user!r}")
        vhost, user = quote(settings.vhost), quote(settings.user)
        remedy = (
            f"rabbitmqctl add_vhost {vhost}; rabbitmqctl set_permissions -p {vhost} {user} "
            f'".*" ".*" ".*"'
        )
        yield diagnosis("virtual host", Rating.FAILED, text, remedy)
        return
    remedy = "look into the log of the broker"
    if isinstance(error, AuthenticationFailed):
        remedy = f"on the broker: rabbitmqctl change_password {quote(settings.user)} ..."
        if settings.user == "guest" and error.host not in THIS_MACHINE:
            remedy = "RabbitMQ accepts guest from its own machine only: make a user of your own"
    elif isinstance(error, TemporarilyRefused):
        remedy = "try again later, or raise the limit there"
    yield diagnosis("login", Rating.FAILED, text, remedy)


# --- what it is


def judge_product(properties: Mapping[str, Any], version: Version) -> Diagnosis:
    """Return the diagnosis of the product and the *version*, which is empty if it is not known."""
    product = one_line(properties.get("product", "an unnamed product"), 100)
    told = one_line(properties.get("version", "no version"), 100)
    text = ": ".join(filter(None, [f"{product} {told}", ", ".join(surprises(version))]))
    if not version:
        remedy = "Postage is tested on RabbitMQ and its own broker: test what you use"
        return diagnosis("version", Rating.WARNING, text, remedy)
    if product == "RabbitMQ" and version < (4,):
        remedy = "RabbitMQ 3 is out of support: plan the upgrade to 4 (docs/rabbitmq.md)"
        failed = Rating.FAILED if version < FIRST_SUPPORTED else Rating.WARNING
        return diagnosis("version", failed, text, remedy)
    return diagnosis("version", Rating.OK, text)


def surprises(version: Version) -> Iterator[str]:
    """Yield what surprises users of a broker of this *version*; docs/rabbitmq.md says more."""
    if not version:
        return
    if version >= (4, 3):
        yield "shared queues that are not durable are denied by default"
    if version >= (4, 0):
        yield "a quorum queue gives up a message after 20 returns"
    where = "of a quorum queue " if version >= (4, 3) else ""
    yield f"a handler {where}may take 30 minutes by default (consumer_timeout)"


class Agreed(NamedTuple):
    """What client and broker have agreed on (AMQP 0-9-1, connection.tune)."""

    frame: int
    channels: int
    heartbeat: float


def judge_limits(limits: Agreed) -> Iterator[Diagnosis]:
    """Yield the diagnoses of the sizes and of the heartbeat; 0 means none."""
    frame, channels = (each or "without limit" for each in (limits.frame, limits.channels))
    text = f"frame_max {frame}, channel_max {channels}"
    rating, remedies = Rating.OK, []
    if 0 < limits.frame < LEAST_FRAME:
        remedies.append(
            f"set frame_max of the broker to 131072: pika 1.5 refuses less than {LEAST_FRAME}"
        )
    if 0 < limits.channels < FEW_CHANNELS:
        remedies.append("raise channel_max of the broker: many consumers will share few channels")
    if remedies:
        rating = Rating.WARNING
    yield diagnosis("limits", rating, text, "; ".join(remedies))
    remedy = ""
    if not limits.heartbeat:
        remedy = "set heartbeat=60 in the URL: without one, a lost connection stays unnoticed"
    elif limits.heartbeat < SHORT_HEARTBEAT:
        remedy = "set heartbeat=60 in the URL: a busy process or network will seem dead"
    elif limits.heartbeat > LONG_HEARTBEAT:
        remedy = "set heartbeat=60 in the URL: a lost connection stays unnoticed for too long"
    text = f"every {limits.heartbeat:g} s" if limits.heartbeat else "none"
    yield diagnosis("heartbeat", Rating.WARNING if remedy else Rating.OK, text, remedy)


# --- what it permits


class Act(NamedTuple):
    """Something that a component does, and the right that it needs."""

    name: str
    right: str
    kind: str


DECLARE_QUEUE = Act("declare a queue", "configure", "queue")
DECLARE_EXCHANGE = Act("declare an exchange", "configure", "exchange")
BIND = Act("bind", "write on the queue or read on the exchange", "binding")
PUBLISH = Act("publish", "write", "exchange")
CONSUME = Act("consume", "read", "queue")
ACCESS_REFUSED = 403


def judge_act(act: Act, name: str, settings: Settings, error: PostageError | None) -> Diagnosis:
    """Return the diagnosis of *act* with the queue or exchange *name*; *error* is why it failed."""
    if error is None:
        return diagnosis(act.name, Rating.OK, "permitted")
    if not isinstance(error, ChannelRefused) or error.code != ACCESS_REFUSED:
        return diagnosis(
            act.name, Rating.FAILED, one_line(error, 500), "look into the log of the broker"
        )
    right = act.right if act is BIND else f"{act.right} on the {act.kind}"
    told = one_line(error.text, LONGEST)
    text = f"user {settings.user!r} lacks the permission {right} {name!r}: {told}"
    vhost, user = quote(settings.vhost), quote(settings.user)
    remedy = (
        f"rabbitmqctl set_permissions -p {vhost} {user} CONFIGURE WRITE READ; if its patterns "
        f"allow other names on purpose, give the beginning of such a name by --prefix"
    )
    return diagnosis(act.name, Rating.FAILED, text, remedy)


def judge_alarm(reason: str | None) -> Diagnosis:
    """Return the diagnosis of an alarm with this *reason*, as the broker tells it; None: none."""
    if reason is None:
        return diagnosis("alarm", Rating.OK, "none")
    text = f"the broker takes no messages: {one_line(reason, LONGEST)}"
    remedy = "let consumers empty the queues, or give it memory (vm_memory_high_watermark)"
    if "disk" in reason:
        remedy = "free disk space on the broker (disk_free_limit); rabbitmqctl status shows both"
    return diagnosis("alarm", Rating.FAILED, text, remedy)


def judge_clock(broker: float, before: float, after: float) -> Diagnosis:
    """Return the diagnosis of the time *broker*, stamped between *before* and *after* here."""
    ahead = broker - min(max(broker, before), after)
    if abs(ahead) <= CLOCK_DIFFERENCE:
        return diagnosis("clock", Rating.OK, "that of the broker agrees with that of this machine")
    direction = "ahead of" if ahead > 0 else "behind"
    text = f"that of the broker is {abs(ahead):.0f} s {direction} that of this machine"
    return diagnosis(
        "clock", Rating.WARNING, text, "set both by NTP: certificates and expiry depend on them"
    )
