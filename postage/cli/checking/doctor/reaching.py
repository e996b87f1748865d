"""Looks up the hosts of the settings, connects to each address, and asks what answers there."""

from __future__ import annotations

import contextlib
import ssl
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import gevent
import gevent.socket
import gevent.ssl

from postage.cli.checking.doctor import reaching_advice as advice
from postage.cli.checking.doctor.diagnoses import Diagnosis, Rating
from postage.cli.checking.doctor.first_answer import HEADER, NUDGE, Speech, speech_of
from postage.errors import OperationTimeout, SettingsError
from postage.green.amqp.connecting import connect_socket, targets
from postage.green.amqp.error_translation import tls_advice
from postage.settings import Settings
from postage.url import Address

ENOUGH = len(HEADER)
"""Bytes that tell what a server speaks."""


class Reaching:
    """Checks the addresses of *settings*; each step may take *limit* seconds.

    Greenlets switch while they iterate `diagnoses`, which never raises.
    """

    def __init__(self, settings: Settings, limit: float) -> None:
        self._limit = limit
        self._settings = settings
        self._plain = replace(settings, **_WITHOUT_TLS)
        self.speaking: list[Address] = []
        """The hosts, each with its port, at which an AMQP broker has answered."""

    def diagnoses(self) -> Iterator[Diagnosis]:
        """Yield a diagnosis for each step at each address of each host."""
        for host, port in self._settings.addresses:
            started = time.monotonic()
            try:
                found = [target for target, _ in targets(host, port, self._limit)]
            except (OSError, UnicodeError) as exc:
                yield advice.judge_look_up_error(host, exc)
                continue
            took = time.monotonic() - started
            shown = ", ".join(str(each[4][0]) for each in found)
            text = f"{shown}, in {took * 1000:.0f} ms"
            yield advice.diagnosis(f"look up {host}", Rating.OK, text)
            steps = [each for target in found for each in self._at(host, port, target)]
            yield from advice.softened(steps, answers=(host, port) in self.speaking)

    def _at(self, host: str, port: int, target: Any) -> Iterator[Diagnosis]:
        address = str(target[4][0])
        where = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
        started = time.monotonic()
        try:
            with self._in_time("connecting"):
                sock = connect_socket(self._plain, host, target)
        except OSError as exc:
            yield advice.judge_connect_error(where, exc)
            return
        took = (time.monotonic() - started) * 1000
        yield advice.diagnosis(f"connect {where}", Rating.OK, f"in {took:.0f} ms")
        if self._settings.tls:
            sock.close()
            started = time.monotonic()
            try:
                with self._in_time("the TLS handshake"):
                    sock = connect_socket(self._settings, host, target)
            except (OSError, SettingsError) as exc:
                yield advice.judge_tls_error(where, exc, tls_advice(exc, tls=True))
                return
            yield self._certificate(where, sock, time.monotonic() - started)
        with contextlib.closing(sock):
            started = time.monotonic()
            speech = self._speech(sock, target)
            took = time.monotonic() - started
        if speech is Speech.AMQP:
            self.speaking.append((host, port))
        yield advice.judge_speech(where, speech, took, tls=self._settings.tls)

    def _certificate(self, where: str, sock: Any, took: float) -> Diagnosis:
        shown, verify = sock.getpeercert() or {}, self._settings.verify
        return advice.judge_certificate(where, shown, took, time.time(), verify=verify)

    def _speech(self, sock: Any, target: Any) -> Speech:
        """Return what the server at the other end of *sock* speaks."""
        answer, ended = self._answer(sock, HEADER)
        if not answer and not ended:
            answer, ended = self._answer(sock, NUDGE)
        speech = speech_of(answer, ended=ended)
        if speech in (Speech.SILENT, Speech.CLOSED) and not self._settings.tls:
            return Speech.TLS if self._takes_tls(target) else speech
        return speech

    def _answer(self, sock: Any, request: bytes) -> tuple[bytes, bool]:
        """Send *request*; return the first bytes of the answer, and whether the stream has ended.

        Takes at most half of the limit: a silent server is asked twice.
        """
        answer = b""
        try:
            with self._in_time("answering", 0.5):
                sock.sendall(request)
                while len(answer) < ENOUGH:
                    received = sock.recv(1 << 12)
                    if not received:
                        return answer, True
                    answer += received
        except OperationTimeout:
            return answer, False
        except OSError:  # reset by the other end
            return answer, True
        return answer, False

    def _takes_tls(self, target: Any) -> bool:
        """Whether a TLS handshake succeeds, whatever the certificate."""
        context = gevent.ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with contextlib.suppress(OSError), self._in_time("the TLS handshake"):
            sock = gevent.socket.create_connection(target[4][:2])
            with contextlib.closing(sock):
                sock = context.wrap_socket(sock, do_handshake_on_connect=False)
                try:
                    sock.do_handshake()
                    return True
                finally:
                    sock.close()
        return False

    def _in_time(self, what: str, share: float = 1.0) -> gevent.Timeout:
        limit = self._limit * share
        return gevent.Timeout(limit, OperationTimeout(what, limit))


_WITHOUT_TLS: dict[str, Any] = {
    "tls": False,
    **dict.fromkeys(("cacertfile", "certfile", "keyfile", "server_name_indication"), ""),
}
