"""`Settings` themselves: what their fields may be, and what beats the environment."""

from __future__ import annotations

import math
import os

import pytest

from postage import messaging
from postage.environment import Layer, Source
from postage.errors import SettingsError
from postage.settings import Settings, live
from tests.model.settings.parts import DEFAULTS, parts


@pytest.mark.parametrize(
    ("values", "named"),
    [
        *(({"host": host}, "host must be") for host in (None, 5, b"h", "", "h" * 254, "a\0b")),
        *(({"port": port}, "port must be") for port in (None, "5672", 0, 65_536, 2.5, True)),
        *(({"other_hosts": other}, "other_hosts must be") for other in (None, "h", [("h", 1)])),
        ({"other_hosts": (("h", "1"),)}, "port must be"),
        ({"other_hosts": (("h" * 300, 1),)}, "host must be"),
        *(({"user": user}, "user must be") for user in (None, 5, "\ud800")),
        *(({"password": word}, "password must be") for word in (None, b"hush", "hush\ud800")),
        *(({"vhost": vhost}, "vhost must be") for vhost in (None, 5, "v" * 256, "\udc80")),
        *(({"heartbeat": beat}, "heartbeat must be") for beat in (None, "60", 1.5, -1, 65_536)),
        *(({"late_after": late}, "late_after must be") for late in (None, "1", math.nan)),
        *(({name: "yes"}, f"{name} must be") for name in ("tls", "verify", "wait_for_broker")),
        *(({"certfile": name, "tls": True}, "certfile must be") for name in (None, 5, "a\0b")),
        *(
            ({"server_name_indication": name, "tls": True}, "server_name_indication must be")
            for name in (None, 5, "h" * 300)
        ),
        ({"auth_mechanism": None}, "auth_mechanism must be one of PLAIN, EXTERNAL"),
    ],
    ids=lambda value: ascii(value)[:30],
)
def test_every_field_of_settings_is_checked(values, named):
    with pytest.raises(SettingsError, match=named) as caught:
        Settings(**values)

    assert "hush" not in str(caught.value)


@pytest.mark.parametrize("name", ["connect_timeout", "operation_timeout"])
@pytest.mark.parametrize("value", [0, -1, -0.5, math.nan, math.inf, "5", None, True, 10**400])
def test_durations_are_positive(name, value):
    with pytest.raises(SettingsError, match=f"{name} must be > 0 seconds"):
        Settings(**{name: value})


def test_every_port_is_checked():
    with pytest.raises(SettingsError, match="from 1 to 65535"):
        Settings(other_hosts=(("h2", 0),))


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"cacertfile": "/ca.pem"}, "cacertfile is for TLS: write amqps://"),
        ({"certfile": "/me.pem"}, "certfile is for TLS"),
        ({"auth_mechanism": "MAGIC"}, "auth_mechanism must be one of PLAIN, EXTERNAL"),
        ({"late_after": -1}, "late_after must be >= 0 seconds"),
        ({"memory": 65535}, "memory must be an int of at least 65536"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(values, text):
    with pytest.raises(SettingsError, match=text):
        Settings(**values)


def test_settings_are_frozen_and_compare_by_value():
    assert Settings(host="a") == Settings(host="a")
    assert len({Settings(host="a"), Settings(host="a"), Settings(host="b")}) == 2
    with pytest.raises(AttributeError):
        Settings().host = "other"  # type: ignore[misc]


@pytest.mark.behaviour("debug-mode")
def test_no_repr_shows_a_password():
    messaging.global_password = "hush"
    settings = Settings.resolve()

    assert settings.password == messaging.global_hup["password"] == "hush"
    assert "hush" not in f"{settings!r} {settings} {messaging.global_hup!r} {messaging.global_hup}"


# --- settings that are given


GIVEN = Settings(host="given", vhost="/given", heartbeat=7)


def test_given_settings_beat_every_other_source(env):
    env(URL="amqp://elsewhere/lab", HEARTBEAT="9")

    assert Settings.resolve({"host": "rabbit"}, "/hup", GIVEN) is GIVEN


def test_a_command_line_puts_its_options_over_the_environment(env, monkeypatch):
    env(HOST="elsewhere", VHOST="/lab")
    options = Layer(Source.COMMAND_LINE, {"POSTAGE_HOST": "here"})
    monkeypatch.setattr(live, "layers", live.layers.above(options))

    assert parts() == ("here", *DEFAULTS[1:4], "/lab")
    assert "here" not in os.environ.values()


def test_in_a_sandbox_components_choose_nothing_but_their_vhost(env, monkeypatch):
    env(URL="amqps://elsewhere/lab")
    monkeypatch.setattr(live, "sandbox", Settings(host="embedded://check"))

    assert Settings.resolve({"host": "rabbit"}) == Settings(host="embedded://check", vhost="lab")
    assert Settings.resolve({"host": "rabbit"}, "/a").vhost == "/a"
    assert Settings.resolve(None, "/a", GIVEN) == Settings(host="embedded://check", vhost="/given")
