"""What is wrong with an address, and what to do about it.  Pure."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from postage.cli.checking.doctor.diagnoses import Diagnosis, Part, Rating
from postage.cli.checking.doctor.first_answer import Speech
from postage.errors import OperationTimeout, SettingsError
from postage.foreign_text import one_line

DAY = 86400.0
SOON = 14 * DAY
"""Seconds before its end in which a certificate should be renewed."""
TLS_REMEDY = "write amqps://, or set POSTAGE_TLS=1"


def diagnosis(name: str, rating: Rating, text: str, remedy: str = "") -> Diagnosis:
    """Return a diagnosis of an address."""
    return Diagnosis(Part.ADDRESS, name, rating, text, remedy)


def softened(diagnoses: Iterable[Diagnosis], *, answers: bool) -> list[Diagnosis]:
    """Return the diagnoses of the addresses of one host; *answers*: a broker does, at one of them.

    Then a failure at another one is a warning: components go on to the next address, as from the
    one of IPv6 to that of IPv4.
    """
    return [
        replace(each, rating=Rating.WARNING) if answers and each.rating is Rating.FAILED else each
        for each in diagnoses
    ]


def judge_look_up_error(host: str, error: BaseException) -> Diagnosis:
    """Return the diagnosis of a *host* that was not found."""
    name = f"look up {host}"
    if isinstance(error, OperationTimeout):
        text, remedy = f"no answer within {error.seconds:g} s", "check the name servers"
    elif isinstance(error, socket.gaierror):
        text = one_line(error.strerror or error, 200)
        remedy = "correct the host, or check the name servers (/etc/resolv.conf)"
    else:
        text, remedy = one_line(error, 200), "correct the host"
    return diagnosis(name, Rating.FAILED, text, remedy)


def judge_connect_error(where: str, error: BaseException) -> Diagnosis:
    """Return the diagnosis of an address that cannot be connected."""
    if isinstance(error, ConnectionRefusedError):
        text = "refused: no program listens on this port"
        remedy = "start the broker there, or correct host and port (AMQP: 5672, with TLS: 5671)"
    elif isinstance(error, OperationTimeout):
        text = f"no answer within {error.seconds:g} s"
        remedy = "a firewall swallows the packets, or the host is down: check both"
    else:
        text = one_line(error, 200) or type(error).__name__
        remedy = "check the route to the host, and that host and port are right"
    return diagnosis(f"connect {where}", Rating.FAILED, text, remedy)


def judge_tls_error(where: str, error: BaseException, advice: str | None) -> Diagnosis:
    """Return the diagnosis of a failed handshake; *advice* is that of the runtime."""
    if isinstance(error, OperationTimeout):
        text = f"no answer to the handshake within {error.seconds:g} s"
        remedy = "a port without TLS waits in this way: use the one for TLS, usually 5671"
    elif isinstance(error, SettingsError):
        text, remedy = str(error), "correct the file, or its name in the settings"
    else:
        text = advice or one_line(error, 200) or type(error).__name__
        remedy = "see docs/tls.md"
    return diagnosis(f"TLS {where}", Rating.FAILED, text, remedy)


def judge_certificate(
    where: str, certificate: Mapping[str, Any], took: float, now: float, *, verify: bool
) -> Diagnosis:
    """Return the diagnosis of the broker's *certificate*, as `ssl` shows it, at the time *now*.

    Host name and chain are right, because the handshake has checked them, unless *verify* is off.
    """
    name, handshake = f"TLS {where}", f"handshake in {took * 1000:.0f} ms"
    if not verify:
        text = f"{handshake}, but nobody has checked the certificate: verify is off"
        return diagnosis(name, Rating.WARNING, text, "give cacertfile, and leave verify out")
    ends = ssl.cert_time_to_seconds(certificate["notAfter"])
    date = time.strftime("%Y-%m-%d", time.gmtime(ends))
    text = f"{handshake}; the certificate is valid until {date}; host name and chain are right"
    if ends - now < SOON:
        return diagnosis(name, Rating.WARNING, text, "renew the certificate of the broker now")
    return diagnosis(name, Rating.OK, text)


def judge_speech(where: str, speech: Speech, took: float, *, tls: bool) -> Diagnosis:
    """Return the diagnosis of what answered at *where*, by *tls* or without."""
    name = f"protocol {where}"
    if speech is Speech.AMQP:
        return diagnosis(name, Rating.OK, f"{speech.value}, after {took * 1000:.0f} ms")
    text = f"it speaks {speech.value}, and no AMQP 0-9-1"
    if speech is Speech.SILENT:
        text = f"it accepts connections, and is silent for {took:.1f} s"
    return diagnosis(
        name, Rating.FAILED, text, _REMEDIES[speech] if not tls else _REMEDIES_TLS[speech]
    )


_ANOTHER = "correct the port: a broker listens on 5672, with TLS on 5671"
_REMEDIES = {
    Speech.OTHER_AMQP: "enable AMQP 0-9-1 there (a broker for AMQP 1.0 alone cannot be used)",
    Speech.HTTP: "correct the port: 15672 is RabbitMQ's page for people, AMQP is on 5672",
    Speech.TLS: TLS_REMEDY,
    Speech.SOMETHING: _ANOTHER,
    Speech.SILENT: "the program there hangs, or is another one: look at it, or correct the port",
    Speech.CLOSED: f"a proxy without a broker behind it, or a port for TLS: {TLS_REMEDY}",
}
_REMEDIES_TLS = _REMEDIES | {
    Speech.HTTP: "correct the port: AMQP with TLS is on 5671",
    Speech.TLS: _ANOTHER,
    Speech.CLOSED: (
        "a proxy without a broker behind it, or the broker asks for a certificate of ours: give "
        "certfile and keyfile"
    ),
}
