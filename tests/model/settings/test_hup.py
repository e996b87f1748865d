"""The dictionary of host, user and password that components of Postage 1.2.1 take."""

from __future__ import annotations

import pytest

from postage import messaging
from postage.errors import SettingsError
from postage.settings import Settings
from tests.model.settings.parts import parts


@pytest.mark.behaviour("hup")
def test_a_hup_gives_host_user_and_password():
    hup = {"host": "rabbit", "user": "alice", "password": "hush"}

    assert parts(hup) == ("rabbit", 5672, "alice", "hush", "/")


@pytest.mark.behaviour("hup")
@pytest.mark.parametrize("port", [5673, "5673"])
def test_a_hup_may_have_a_port(port):
    assert parts({"host": "rabbit", "port": port}) == ("rabbit", 5673, "guest", "guest", "/")


@pytest.mark.behaviour("hup")
@pytest.mark.parametrize("port", ["five", None, "", 0, -1, 70_000])
def test_a_port_that_is_none_is_refused(port):
    with pytest.raises(SettingsError, match="port must be"):
        parts({"host": "rabbit", "port": port})


@pytest.mark.behaviour("hup")
def test_missing_hup_keys_come_from_global_hup_then_environment(env):
    messaging.global_hup = {"user": "global", "password": "global"}
    env(USER="environment", PASSWORD="environment", PORT="5673")

    assert parts({"host": "rabbit", "user": "alice"})[:4] == ("rabbit", 5673, "alice", "global")


@pytest.mark.behaviour("hup")
def test_arguments_beat_everything(env):
    env(URL="amqp://u:p@url:1/url", HOST="env", USER="env", PASSWORD="env", VHOST="env")
    messaging.global_hup = {"host": "global", "user": "global", "password": "global"}
    messaging.global_vhost = "global"
    hup = {"host": "rabbit", "port": 5673, "user": "alice", "password": "hush"}

    assert parts(hup, "/lab") == ("rabbit", 5673, "alice", "hush", "/lab")


COMPLETE = {"host": "rabbit", "user": "alice", "password": "hush"}


@pytest.mark.behaviour("hup")
@pytest.mark.parametrize("key", ["hots", "vhost", "usr", "Host", "", None, b"host", 5, "heartbeat"])
def test_a_misspelt_key_of_a_hup_is_refused(key):
    for hup in ({key: "secret"}, {"host": "rabbit", key: "secret"}):
        with pytest.raises(SettingsError, match=r"unknown keys, .*: it has host, user") as caught:
            parts(hup)
        assert "secret" not in str(caught.value)
        messaging.global_hup = hup
        with pytest.raises(SettingsError, match="unknown keys"):
            parts()
        del messaging.global_hup


@pytest.mark.behaviour("hup")
@pytest.mark.parametrize("key", ["vhost", "ssl", "comment"])
def test_other_keys_of_a_complete_hup_are_logged_once(key, caplog):
    """Classic Postage ignores them."""
    for _ in range(3):
        assert parts({**COMPLETE, key: f"for-{key}"})[:3] == ("rabbit", 5672, "alice")

    (record,) = caplog.records
    assert (record.levelname, repr(key) in record.getMessage()) == ("WARNING", True)


@pytest.mark.behaviour("hup")
@pytest.mark.parametrize("hup", [[], "", (), 0, False, "rabbit", ["host"], {"host"}])
def test_a_hup_that_is_no_dictionary_is_refused(hup):
    with pytest.raises(SettingsError, match="hup must be a dictionary"):
        parts(hup)


@pytest.mark.parametrize("port", ["amqp", 0, 70000, None, 5.5])
def test_the_error_of_a_port_names_the_hup(env, port):
    env(PORT="5673")
    with pytest.raises(SettingsError, match=r"^hup: port must be"):
        Settings.resolve({"host": "rabbit", "port": port})
    messaging.global_hup["port"] = port
    with pytest.raises(SettingsError, match=r"^messaging.global_hup: port must be"):
        Settings.resolve()
