"""The globals of `postage.messaging`: they follow the environment until a program assigns them."""

from __future__ import annotations

import pytest

from postage import messaging
from postage.errors import SettingsError
from postage.settings import Settings
from tests.model.settings.parts import DEFAULTS, parts


@pytest.mark.behaviour("environment-variables", "hup")
def test_the_defaults():
    assert parts() == DEFAULTS
    assert (messaging.global_vhost, messaging.global_user, messaging.global_password) == (
        *("/", "guest", "guest"),
    )
    assert messaging.global_hup["host"] == "localhost"


@pytest.mark.behaviour("environment-variables")
def test_globals_read_the_present_environment(env):
    env(VHOST="/a", USER="alice", PASSWORD="hush", HOST="rabbit")
    first = (messaging.global_vhost, messaging.global_user, messaging.global_password)
    hup = messaging.global_hup
    env(VHOST="/b", HOST="other")

    assert first == ("/a", "alice", "hush")
    assert messaging.global_vhost == "/b"
    assert dict(hup) == {"host": "other", "user": "alice", "password": "hush"}


@pytest.mark.behaviour("environment-variables", "separate-vhosts")
@pytest.mark.parametrize("name", ["vhost", "user", "password"])
def test_assigning_a_global_beats_the_environment(env, name):
    env(**{name.upper(): "environment"})
    setattr(messaging, f"global_{name}", "assigned")

    assert getattr(messaging, f"global_{name}") == "assigned"
    assert getattr(Settings.resolve(), name) == "assigned"


@pytest.mark.behaviour("environment-variables", "hup")
def test_assigning_global_hup_beats_the_environment(env):
    env(HOST="environment", USER="environment")
    messaging.global_hup = {"host": "rabbit", "user": "alice", "password": "hush"}

    assert parts()[:4] == ("rabbit", 5672, "alice", "hush")


@pytest.mark.behaviour("environment-variables", "hup")
def test_assigning_one_key_of_global_hup_leaves_the_others_live(env):
    messaging.global_hup["host"] = "rabbit"
    env(HOST="environment", USER="alice")

    assert parts()[:3] == ("rabbit", 5672, "alice")


@pytest.mark.behaviour("environment-variables")
def test_deleting_an_assigned_key_makes_it_live_again(env):
    messaging.global_vhost = "/assigned"
    messaging.global_hup["host"] = "assigned"
    del messaging.global_vhost, messaging.global_hup["host"]
    env(VHOST="/lab", HOST="rabbit")

    assert (messaging.global_vhost, messaging.global_hup["host"]) == ("/lab", "rabbit")


@pytest.mark.behaviour("environment-variables")
@pytest.mark.parametrize("name", ["global_vhost", "global_user", "global_password"])
def test_a_global_is_live_again_after_a_monkeypatch(env, name):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(messaging, name, "patched")
        assert getattr(Settings.resolve(), name.removeprefix("global_")) == "patched"
    env(**{name.removeprefix("global_").upper(): "changed"})

    assert getattr(messaging, name) == "changed"


@pytest.mark.behaviour("environment-variables")
def test_global_hup_is_live_again_after_a_monkeypatch(env):
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(messaging.global_hup, "host", "patched")
        assert parts()[0] == "patched"
        patch.setattr(messaging, "global_hup", {"host": "other"})
        assert parts()[0] == "other"
    env(HOST="changed")

    assert (messaging.global_hup["host"], parts()[0]) == ("changed", "changed")


@pytest.mark.behaviour("hup")
def test_global_hup_has_a_port_only_where_one_was_set(env):
    assert dict(messaging.global_hup) == {"host": "localhost", "user": "guest", "password": "guest"}
    env(PORT="5673")
    assert messaging.global_hup["port"] == "5673"
    messaging.global_hup["port"] = 5674
    assert (len(messaging.global_hup), parts()[1]) == (4, 5674)


@pytest.mark.parametrize("key", ["vhost", "heartbeat", "port"])
def test_global_hup_has_no_other_keys(key):
    assert key not in messaging.global_hup
    with pytest.raises(KeyError):
        messaging.global_hup[key]


@pytest.mark.parametrize("name", ["global_vhost", "global_user", "global_password", "global_hup"])
@pytest.mark.parametrize("value", [5, b"x", "\ud800", ["x"]], ids=ascii)
def test_values_of_the_classic_globals_are_checked(name, value):
    setattr(messaging, name, value)
    try:
        if value == 5 and name in ("global_user", "global_password"):
            assert getattr(Settings.resolve(), name[7:]) == "5"  # digits without quotes in YAML
        else:
            with pytest.raises(SettingsError, match=f"{name[7:]} must be"):
                Settings.resolve()
    finally:
        delattr(messaging, name)
