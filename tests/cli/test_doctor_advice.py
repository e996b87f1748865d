"""What findings of ``postage doctor`` mean, decided without any I/O."""

from __future__ import annotations

import re
import socket
from dataclasses import replace

import pytest

from postage.cli.checking.doctor import broker_advice, installation, reaching_advice
from postage.cli.checking.doctor.broker_advice import Agreed
from postage.cli.checking.doctor.diagnoses import Diagnosis, Part, Rating, code_of_all
from postage.cli.checking.doctor.first_answer import Speech, speech_of
from postage.cli.exits import Code
from postage.errors import (
    AuthenticationFailed,
    ChannelRefused,
    OperationTimeout,
    TemporarilyRefused,
)
from postage.settings import Settings
from tests.support.programs import ROOT

OK, WARNING, FAILED = Rating.OK, Rating.WARNING, Rating.FAILED


# --- the process


@pytest.mark.parametrize(
    ("name", "version", "rating"),
    [
        ("Python", "3.9.18", FAILED),
        ("Python", "3.10.0", OK),
        ("Python", "3.14.0rc1", OK),
        ("Python", "3.15.0a1", WARNING),
        ("pika", "1.3.2", FAILED),
        ("pika", "1.4.4", OK),
        ("pika", "2.0.0b1", WARNING),
        ("gevent", "99.1.0", OK),
    ],
)
def test_versions_are_judged(name: str, version: str, rating: Rating) -> None:
    diagnosis = installation.judge_version(name, version)

    assert diagnosis.rating is rating
    assert bool(diagnosis.remedy) is (rating is not OK)


def test_a_missing_extra_is_named_with_what_it_gives() -> None:
    needed = {name for names, _ in installation.EXTRAS.values() for name in names}
    diagnosis = installation.judge_extras(needed - {"watchfiles"})

    assert (diagnosis.rating, diagnosis.text) == (
        OK,
        "not installed: reload (`postage run --reload`)",
    )
    assert "'.[reload]'" in diagnosis.remedy
    assert installation.judge_extras(needed).text == "all are installed"


def test_extras_and_versions_are_those_of_the_project() -> None:
    project = (ROOT / "pyproject.toml").read_text()
    extras = project.partition("[project.optional-dependencies]\n")[2].partition("\n\n#")[0]
    named = set(re.findall(r"^(\w+) = \[$", extras, re.MULTILINE))
    needed = re.findall(r'"(gevent|pika)>=([\d.]+)(?:,<([\d.]+))?"', project)

    assert installation.EXTRAS.keys() | {"cli", "demo"} == named
    assert len(needed) == 2
    for name, first, beyond in needed:
        known, unknown = installation.SUPPORTED[name]
        assert installation.dotted(known) == first
        assert installation.dotted(unknown or ()) == beyond


@pytest.mark.parametrize("extra", installation.EXTRAS)
def test_each_extra_exists(extra: str) -> None:
    assert f"\n{extra} = [\n" in (ROOT / "pyproject.toml").read_text()


@pytest.mark.parametrize(
    ("limit", "rating"), [(40, FAILED), (256, WARNING), (1024, OK), (1 << 20, OK)]
)
def test_the_limit_of_open_files_is_judged(limit: int, rating: Rating) -> None:
    diagnosis = installation.judge_open_files(limit, 12)

    assert diagnosis.rating is rating
    assert ("ulimit -n" in diagnosis.remedy) is (rating is not OK)


def test_a_diagnosis_names_only_some_of_the_early_modules() -> None:
    kept = {f"module{number}": "socket.socket" for number in range(12)}

    diagnosis = installation.judge_patch(kept, 2)

    assert diagnosis.rating is WARNING
    assert "module4 (socket.socket) and 7 more" in diagnosis.text
    assert "before the patch: 2" in diagnosis.text


# --- the addresses


@pytest.mark.parametrize(
    ("error", "says", "remedy"),
    [
        (ConnectionRefusedError(111, "refused"), "no program listens", "start the broker"),
        (OperationTimeout("connecting", 3), "within 3 s", "firewall"),
        (OSError(113, "No route to host"), "No route to host", "route"),
    ],
)
def test_connect_errors_are_explained(error: OSError, says: str, remedy: str) -> None:
    diagnosis = reaching_advice.judge_connect_error("h:1", error)

    assert diagnosis.rating is FAILED
    assert says in diagnosis.text
    assert remedy in diagnosis.remedy


def test_a_look_up_that_fails_is_explained() -> None:
    unknown = reaching_advice.judge_look_up_error("h", socket.gaierror(-2, "Name not known"))
    late = reaching_advice.judge_look_up_error("h", OperationTimeout("looking up", 2))

    assert (unknown.text, late.text) == ("Name not known", "no answer within 2 s")
    assert "name servers" in unknown.remedy
    assert "name servers" in late.remedy


@pytest.mark.parametrize(
    ("answer", "ended", "speech"),
    [
        (b"\x01\x00\x00\x00\x00\x01\xf0\x00\x0a\x00\x0a", False, Speech.AMQP),
        (b"AMQP\x03\x01\x00\x00", True, Speech.OTHER_AMQP),
        (b"HTTP/1.1 400 Bad", False, Speech.HTTP),
        (b"<html>", True, Speech.HTTP),
        (b"\x15\x03\x03\x00\x02", True, Speech.TLS),
        (b"220 mail.example", False, Speech.SOMETHING),
        (b"", False, Speech.SILENT),
        (b"", True, Speech.CLOSED),
    ],
)
def test_the_first_bytes_tell_the_protocol(answer: bytes, ended: bool, speech: Speech) -> None:
    assert speech_of(answer, ended=ended) is speech


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("speech", [each for each in Speech if each is not Speech.AMQP])
def test_each_other_protocol_has_a_remedy(speech: Speech, tls: bool) -> None:
    diagnosis = reaching_advice.judge_speech("h:1", speech, 0.1, tls=tls)

    assert diagnosis.rating is FAILED
    assert diagnosis.remedy


@pytest.mark.parametrize(("days", "rating"), [(90, OK), (3, WARNING)])
def test_a_certificate_that_ends_soon_is_a_warning(days: int, rating: Rating) -> None:
    end = 1_900_000_000
    certificate = {"notAfter": "Mar 17 17:46:40 2030 GMT"}
    now = end - days * reaching_advice.DAY

    diagnosis = reaching_advice.judge_certificate("h:1", certificate, 0.1, now, verify=True)

    assert diagnosis.rating is rating
    assert "2030-03-17" in diagnosis.text


def test_a_certificate_that_nobody_checks_is_a_warning() -> None:
    diagnosis = reaching_advice.judge_certificate("h:1", {}, 0.1, 0.0, verify=False)

    assert diagnosis.rating is WARNING


# --- the broker


@pytest.mark.parametrize(
    ("product", "version", "rating", "says"),
    [
        ("RabbitMQ", (3, 9, 0), FAILED, ""),
        ("RabbitMQ", (3, 10, 8), WARNING, "30 minutes"),
        ("RabbitMQ", (4, 0, 5), OK, "20 returns"),
        ("RabbitMQ", (4, 3, 6), OK, "not durable are denied"),
        ("postage-embedded", (3, 10, 0), OK, "30 minutes"),
        ("Other", (), WARNING, ""),
    ],
)
def test_products_are_judged(product: str, version: tuple[int, ...], rating: Rating, says: str):
    properties = {"product": product, "version": installation.dotted(version)}

    diagnosis = broker_advice.judge_product(properties, version)

    assert diagnosis.rating is rating
    assert says in diagnosis.text
    assert bool(diagnosis.remedy) is (rating is not OK)


@pytest.mark.parametrize(
    ("limits", "ratings"),
    [
        (Agreed(131072, 2047, 60), (OK, OK)),
        (Agreed(0, 0, 60), (OK, OK)),
        (Agreed(4096, 2047, 60), (WARNING, OK)),
        (Agreed(131072, 8, 60), (WARNING, OK)),
        (Agreed(131072, 2047, 0), (OK, WARNING)),
        (Agreed(131072, 2047, 1), (OK, WARNING)),
        (Agreed(131072, 2047, 60_000), (OK, WARNING)),
    ],
)
def test_limits_and_heartbeat_are_judged(limits: Agreed, ratings: tuple[Rating, ...]) -> None:
    diagnoses = list(broker_advice.judge_limits(limits))

    assert tuple(each.rating for each in diagnoses) == ratings
    assert all(bool(each.remedy) is (each.rating is not OK) for each in diagnoses)


@pytest.mark.parametrize(
    ("broker", "says"),
    [(100.0, "agrees"), (96.0, "agrees"), (160.0, "58 s ahead of"), (40.0, "60 s behind")],
)
def test_the_difference_of_clocks_is_told(broker: float, says: str) -> None:
    diagnosis = broker_advice.judge_clock(broker, 100.0, 102.0)

    assert says in diagnosis.text
    assert diagnosis.rating is (OK if says == "agrees" else WARNING)


@pytest.mark.parametrize(
    ("reason", "remedy"),
    [("low on memory", "vm_memory_high_watermark"), ("low on disk", "disk_free_limit")],
)
def test_an_alarm_is_explained(reason: str, remedy: str) -> None:
    diagnosis = broker_advice.judge_alarm(reason)

    assert diagnosis.rating is FAILED
    assert reason in diagnosis.text
    assert remedy in diagnosis.remedy


def test_names_in_a_command_are_quoted_for_the_shell() -> None:
    settings = Settings(user="a b", vhost="x;y")
    refused = ChannelRefused(403, "ACCESS_REFUSED - no")

    diagnosis = broker_advice.judge_act(broker_advice.PUBLISH, "e", settings, refused)

    assert "set_permissions -p 'x;y' 'a b'" in diagnosis.remedy
    assert "lacks the permission write on the exchange 'e'" in diagnosis.text


def test_guest_from_another_machine_is_explained() -> None:
    settings = Settings(host="far.example")
    refused = AuthenticationFailed("no", host="far.example", port=5672, user="guest")
    late = TemporarilyRefused("no", host="far.example", port=5672, code=530)

    (guest,) = broker_advice.judge_login_error(settings, refused)
    (other,) = broker_advice.judge_login_error(replace(settings, user="shop"), refused)
    (full,) = broker_advice.judge_login_error(settings, late)

    assert "its own machine only" in guest.remedy
    assert "change_password shop" in other.remedy
    assert "limit" in full.remedy


# --- all of them


def test_the_exit_code_follows_from_what_has_failed() -> None:
    def of(*failed: tuple[Part, str]) -> Code:
        diagnoses = [Diagnosis(part, name, FAILED, "") for part, name in failed]
        return code_of_all([Diagnosis(Part.PROCESS, "x", WARNING, ""), *diagnoses])

    assert of() is Code.CLEAN
    assert of((Part.ADDRESS, "connect")) is Code.ERROR_RESULT  # another address answers
    assert of((Part.ADDRESS, "connect"), (Part.BROKER, "broker")) is Code.UNREACHABLE
    assert of((Part.MODULE, "check"), (Part.BROKER, "login")) is Code.UNREACHABLE
    assert of((Part.BROKER, "publish")) is Code.ERROR_RESULT
    assert of((Part.MODULE, "check")) is Code.ERROR_RESULT


def test_an_address_that_fails_beside_one_that_answers() -> None:
    steps = [
        Diagnosis(Part.ADDRESS, "connect [::1]:5672", FAILED, "refused", "start it"),
        Diagnosis(Part.ADDRESS, "connect 127.0.0.1:5672", OK, "in 1 ms"),
    ]

    assert reaching_advice.softened(steps, answers=False) == steps
    first, second = reaching_advice.softened(steps, answers=True)
    assert (first.rating, first.remedy, second) == (WARNING, "start it", steps[1])
