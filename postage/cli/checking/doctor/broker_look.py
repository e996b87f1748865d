"""Logs in to the broker, reads what it tells about itself, and tries what components do."""

from __future__ import annotations

from collections.abc import Generator

from postage.cli.checking.doctor import broker_advice as advice
from postage.cli.checking.doctor.broker_advice import Agreed
from postage.cli.checking.doctor.broker_trial import BrokerTrial, connect
from postage.cli.checking.doctor.diagnoses import Diagnosis, Rating
from postage.errors import PostageError
from postage.settings import Settings
from postage.url import Address


def look_at_broker(
    settings: Settings, address: Address, prefix: str, limit: float
) -> Generator[Diagnosis, None, None]:
    """Yield a diagnosis for each check of the broker at *address*; switches.

    Each step may take *limit* seconds.  What it makes on the broker has names that begin with
    *prefix*, and is removed when the iterator ends, or is closed.  Raises no `PostageError`.
    """
    try:
        connection = connect(settings, "postage doctor", address)
    except PostageError as exc:
        yield from advice.judge_login_error(settings, exc)
        return
    trial = BrokerTrial(connection, prefix, limit)
    try:
        yield advice.diagnosis("login", Rating.OK, f"user {settings.user!r}")
        yield advice.diagnosis("virtual host", Rating.OK, repr(settings.vhost))
        transport = connection.transport
        yield advice.judge_product(transport.server_properties or {}, connection.version)
        agreed = transport.params
        limits = Agreed(agreed.frame_max, agreed.channel_max, agreed.heartbeat or 0)
        yield from advice.judge_limits(limits)
        yield from trial.diagnoses()
    finally:
        trial.close()
