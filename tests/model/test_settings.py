"""Settings: arguments override classic globals, the environment and the defaults, in this order."""

from __future__ import annotations

import math
import os

import pytest

from postage import messaging
from postage.errors import SettingsError
from postage.settings import Settings, live

PARTS = ("host", "port", "user", "password", "vhost")
DEFAULTS = ("localhost", 5672, "guest", "guest", "/")


@pytest.fixture(autouse=True)
def bare(monkeypatch):
    """No variable of Postage is set, and nothing was assigned to the globals."""
    for name in [name for name in os.environ if name.startswith("POSTAGE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(live, "overrides", {})
    monkeypatch.setattr(messaging.global_hup, "_assigned", {})


@pytest.fixture
def env(monkeypatch):
    """A function that sets environment variables, given without their prefix."""

    def set_them(**variables):
        for name, value in variables.items():
            monkeypatch.setenv(f"POSTAGE_{name}", value)

    return set_them


def parts(hup=None, vhost=None):
    """Return host, port, user, password, vhost of a component with these arguments."""
    settings = Settings.resolve(hup, vhost)
    return tuple(getattr(settings, name) for name in PARTS)


# --- the environment


@pytest.mark.behaviour("environment-variables", "hup")
def test_the_defaults():
    assert parts() == DEFAULTS
    assert (messaging.global_vhost, messaging.global_user, messaging.global_password) == (
        *("/", "guest", "guest"),
    )
    assert messaging.global_hup["host"] == "localhost"


@pytest.mark.behaviour("environment-variables")
@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        ("HOST", "rabbit", ("rabbit", *DEFAULTS[1:])),
        ("PORT", "5673", ("localhost", 5673, *DEFAULTS[2:])),
        ("USER", "alice", (*DEFAULTS[:2], "alice", "guest", "/")),
        ("PASSWORD", "hush", (*DEFAULTS[:3], "hush", "/")),
        ("VHOST", "/lab", (*DEFAULTS[:4], "/lab")),
    ],
)
def test_each_variable_is_read_on_use_and_not_at_import(env, variable, value, expected):
    env(**{variable: value})

    assert parts() == expected


@pytest.mark.behaviour("environment-variables")
@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("amqp://", DEFAULTS),
        ("AMQP://rabbit", ("rabbit", *DEFAULTS[1:])),
        ("Amqps://rabbit/Lab", ("rabbit", 5671, "guest", "guest", "Lab")),
        ("EMBEDDED://Lab", ("embedded://Lab", *DEFAULTS[1:])),
        ("embedded://a?like=3.10&heartbeat=5", ("embedded://a?like=3.10", *DEFAULTS[1:])),
        ("amqp://rabbit", ("rabbit", *DEFAULTS[1:])),
        ("amqp://rabbit:5673/lab", ("rabbit", 5673, "guest", "guest", "lab")),
        ("amqp://al%40ice:h%2Fush@rabbit/%2Flab", ("rabbit", 5672, "al@ice", "h/ush", "/lab")),
        ("amqp://alice@rabbit/", ("rabbit", 5672, "alice", "guest", "/")),
        ("amqp://alice:@[::1]:1/%2F", ("::1", 1, "alice", "", "/")),
    ],
)
def test_the_url_sets_the_parts_that_it_names(env, url, expected):
    env(URL=url)

    assert parts() == expected


@pytest.mark.behaviour("environment-variables")
def test_the_url_beats_single_variables_for_its_parts(env):
    env(URL="amqp://alice@rabbit", HOST="other", USER="bob", PASSWORD="hush", VHOST="/lab")

    assert parts() == ("rabbit", 5672, "alice", "hush", "/lab")


@pytest.mark.behaviour("environment-variables")
def test_durations_stand_after_the_question_mark_of_the_url(env):
    env(URL="amqp://rabbit/lab?heartbeat=30&connect_timeout=2.5&operation_timeout=7")
    settings = Settings.resolve()

    assert (settings.heartbeat, settings.connect_timeout, settings.operation_timeout) == (
        30,
        2.5,
        7,
    )


@pytest.mark.parametrize(
    ("variables", "text"),
    [
        ({"PORT": "amqp"}, "port must be a number"),
        ({"PORT": "0"}, "from 1 to 65535"),
        ({"PORT": "65536"}, "from 1 to 65535"),
        ({"URL": "http://rabbit"}, r"must begin with amqp://.*, not http://"),
        ({"URL": "rabbit"}, "must begin with amqp://"),
        ({"URL": "amqp://rabbit:port"}, "port must be a number"),
        ({"URL": "amqp://rabbit:99999"}, "from 1 to 65535"),
        ({"URL": "amqp://rabbit?heartbeet=1"}, "unknown option 'heartbeet'; known: heartbeat,"),
        ({"URL": "amqp://rabbit?heartbeat=often"}, "often"),
        ({"URL": "amqp://rabbit?heartbeat=-1"}, "heartbeat must be an int from 0 to 65535, not -1"),
        ({"HEARTBEAT": "100000"}, "POSTAGE_HEARTBEAT must be an int from 0 to 65535, not 100000"),
        ({"HEARTBEAT": "2.5"}, "POSTAGE_HEARTBEAT must be an int .*, not '2.5'"),
        (
            {"CONNECT_TIMEOUT": "nan"},
            "POSTAGE_CONNECT_TIMEOUT must be > 0 seconds .a finite number.",
        ),
        (
            {"OPERATION_TIMEOUT": "inf"},
            "POSTAGE_OPERATION_TIMEOUT must be > 0 seconds .a finite number.",
        ),
        (
            {"LATE_AFTER": "soon"},
            "POSTAGE_LATE_AFTER must be >= 0 seconds .a finite number., not 'soon'",
        ),
        ({"URL": "amqp://rabbit?heartbeat"}, "option 'heartbeat' has no value"),
        ({"URL": "amqps://rabbit?verify="}, "option 'verify' has no value"),
        ({"VHOST": "v" * 256}, "vhost must be a text of 0 to 255 bytes"),
        ({"HOST": "h" * 254}, "host must be a name of at most 253 characters"),
        ({"URL": "amqp://rabbit?connect_timeout=-1"}, "connect_timeout must be > 0"),
        ({"URL": "amqp://rabbit?colour=red"}, "unknown option"),
    ],
)
def test_impossible_settings_are_refused_with_one_clear_line(env, variables, text):
    env(**variables)

    with pytest.raises(SettingsError, match=text) as caught:
        Settings.resolve()

    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "amqp://a:hush@h:port",
        "amqp://a:hush@h?x=1",
        "http://a:hush@h",
        "amqp://a:1/hush@h",
        "amqp://a:1?hush=hush@h",
        "amqp://a:1#hush@h",
        "amqp://a:hush@h1,h2:port",
        "amqp://a:hush@h1,,h2",
        "amqp://a:hush@[::1",
        "amqp://a:hush@[::1]hush",
        "amqp://a:hush@h?heartbeat=often",
        "embedded://a:hush@h",
    ],
)
def test_an_error_about_the_url_does_not_tell_the_password(env, url):
    env(URL=url)

    with pytest.raises(SettingsError) as caught:
        Settings.resolve()

    assert "hush" not in str(caught.value)


@pytest.mark.parametrize("url", ["amqp://a:hush@\u2100", "amqp://a:h\u2100sh@h", "amqp://a:h@sh@h"])
def test_odd_characters_are_taken_as_they_are(env, url):
    env(URL=url)

    assert Settings.resolve().user == "a"


# --- several hosts

THREE = (("h1", 5672), ("h2", 5673), ("::1", 5674))


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("amqp://a:b@h1,h2:5673,[::1]:5674/lab", THREE),
        ("amqp://h1:1,h2:2", (("h1", 1), ("h2", 2))),
        ("amqp://rabbit:5673", (("rabbit", 5673),)),
        ("amqps://h1,h2:5672", (("h1", 5671), ("h2", 5672))),
        ("amqp://", (("localhost", 5672),)),
    ],
)
def test_the_url_names_any_number_of_hosts_in_order(env, url, expected):
    env(URL=url)
    settings = Settings.resolve()

    assert settings.addresses == expected
    assert (settings.host, settings.port) == expected[0]


def test_hosts_without_a_port_have_that_of_the_variable(env):
    env(URL="amqp://h1,h2:5673", PORT="5670")

    assert Settings.resolve().addresses == (("h1", 5670), ("h2", 5673))


def test_a_variable_and_hup_name_several_hosts_as_well(env):
    env(HOST="h1, h2:5673,[::1]:5674")

    assert Settings.resolve().addresses == THREE
    assert Settings.resolve({"host": "a,b:2,::1", "port": 1}).addresses == (
        *(("a", 1), ("b", 2), ("::1", 1)),
    )


def test_every_port_is_checked():
    with pytest.raises(SettingsError, match="from 1 to 65535"):
        Settings(other_hosts=(("h2", 0),))


# --- TLS


@pytest.mark.parametrize("variables", [{"URL": "amqps://rabbit"}, {"HOST": "rabbit", "TLS": "1"}])
def test_tls_is_asked_for_by_the_scheme_or_by_a_variable(env, variables):
    env(**variables)
    settings = Settings.resolve()

    assert (settings.tls, settings.verify, settings.addresses) == (True, True, (("rabbit", 5671),))


def test_without_scheme_and_variable_tls_is_off(env):
    env(URL="amqp://rabbit")

    assert not Settings.resolve().tls


OPTIONS = {
    "wait_for_broker": ("true", True),
    "late_after": ("0.5", 0.5),
    "memory": ("1000000", 1_000_000),
    "cacertfile": ("/ca.pem", "/ca.pem"),
    "certfile": ("/me.pem", "/me.pem"),
    "keyfile": ("/me.key", "/me.key"),
    "verify": ("verify_none", False),
    "server_name_indication": ("rabbit", "rabbit"),
    "auth_mechanism": ("external", "EXTERNAL"),
    "heartbeat": ("30", 30),
}


@pytest.mark.parametrize("name", OPTIONS)
def test_each_option_stands_in_the_url_or_in_a_variable(env, name):
    text, value = OPTIONS[name]
    default = getattr(Settings(), name)
    env(URL=f"amqps://rabbit?{name}={text}")
    assert getattr(Settings.resolve(), name) == value != default
    env(URL="amqps://rabbit", **{name.upper(): text})
    assert getattr(Settings.resolve(), name) == value


def test_an_option_of_the_url_beats_its_variable(env):
    env(URL="amqp://rabbit?heartbeat=30", HEARTBEAT="10")

    assert Settings.resolve().heartbeat == 30


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


def test_a_switch_is_on_or_off(env):
    env(VERIFY="perhaps")

    with pytest.raises(SettingsError, match="POSTAGE_VERIFY must be true or false"):
        Settings.resolve()


# --- deprecated variables


@pytest.mark.behaviour("deprecated-variables")
@pytest.mark.parametrize(("old", "new"), [("RMQ_USER", "USER"), ("RMQ_PASSWORD", "PASSWORD")])
def test_a_deprecated_variable_works_and_warns(env, old, new):
    env(**{old: "alice"})

    with pytest.warns(DeprecationWarning, match=f"POSTAGE_{old} is deprecated, set POSTAGE_{new}"):
        settings = Settings.resolve()

    assert getattr(settings, new.lower()) == "alice"


@pytest.mark.behaviour("deprecated-variables")
@pytest.mark.parametrize(("old", "new"), [("RMQ_USER", "USER"), ("RMQ_PASSWORD", "PASSWORD")])
@pytest.mark.filterwarnings("error")
def test_a_deprecated_variable_is_a_fall_back_only(env, old, new):
    env(**{old: "old", new: "new"})

    assert getattr(Settings.resolve(), new.lower()) == "new"


@pytest.mark.behaviour("deprecated-variables")
@pytest.mark.filterwarnings("error")
def test_an_unused_variable_causes_no_warning(env):
    env(RMQ_USER="old", RMQ_PASSWORD="old")

    assert parts({"user": "alice", "password": "hush"})[2:4] == ("alice", "hush")


# --- debug mode


@pytest.mark.behaviour("debug-mode")
@pytest.mark.parametrize(
    ("value", "expected"),
    [("true", True), ("True", True), ("TRUE", True), ("", False), ("1", False), ("false", False)],
)
def test_debug_mode_is_the_word_true_in_any_case(env, value, expected):
    env(DEBUG_MODE=value)

    assert live.debug_mode is expected


@pytest.mark.behaviour("debug-mode")
def test_without_the_variable_debug_mode_is_off():
    assert live.debug_mode is False


# --- host, user, password


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


# --- the live globals


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


# --- secrets and limits


@pytest.mark.behaviour("debug-mode")
def test_no_repr_shows_a_password():
    messaging.global_password = "hush"
    settings = Settings.resolve()

    assert settings.password == messaging.global_hup["password"] == "hush"
    assert "hush" not in f"{settings!r} {settings} {messaging.global_hup!r} {messaging.global_hup}"


@pytest.mark.parametrize("name", ["connect_timeout", "operation_timeout"])
@pytest.mark.parametrize("value", [0, -1, -0.5, math.nan, math.inf, "5", None, True, 10**400])
def test_durations_are_positive(name, value):
    with pytest.raises(SettingsError, match=f"{name} must be > 0 seconds"):
        Settings(**{name: value})


def test_settings_are_frozen_and_compare_by_value():
    assert Settings(host="a") == Settings(host="a")
    assert len({Settings(host="a"), Settings(host="a"), Settings(host="b")}) == 2
    with pytest.raises(AttributeError):
        Settings().host = "other"  # type: ignore[misc]


# --- settings that are given


GIVEN = Settings(host="given", vhost="/given", heartbeat=7)


def test_given_settings_beat_every_other_source(env):
    env(URL="amqp://elsewhere/lab", HEARTBEAT="9")

    assert Settings.resolve({"host": "rabbit"}, "/hup", GIVEN) is GIVEN


def test_a_command_line_puts_its_options_over_the_environment(env, monkeypatch):
    env(HOST="elsewhere", VHOST="/lab")
    monkeypatch.setattr(live, "environment", {**os.environ, "POSTAGE_HOST": "here"})

    assert parts() == ("here", *DEFAULTS[1:4], "/lab")
    assert "here" not in os.environ.values()


def test_in_a_sandbox_components_choose_nothing_but_their_vhost(env, monkeypatch):
    env(URL="amqps://elsewhere/lab")
    monkeypatch.setattr(live, "sandbox", Settings(host="embedded://check"))

    assert Settings.resolve({"host": "rabbit"}) == Settings(host="embedded://check", vhost="lab")
    assert Settings.resolve({"host": "rabbit"}, "/a").vhost == "/a"
    assert Settings.resolve(None, "/a", GIVEN) == Settings(host="embedded://check", vhost="/given")


# --- where a wrong port came from


@pytest.mark.parametrize("port", ["amqp", "0", "65536", ""])
def test_the_error_of_a_port_names_its_variable(env, port):
    env(PORT=port)

    with pytest.raises(SettingsError, match=r"^POSTAGE_PORT: port must be"):
        Settings.resolve()


@pytest.mark.parametrize("port", ["amqp", 0, 70000, None, 5.5])
def test_the_error_of_a_port_names_the_hup(env, port):
    env(PORT="5673")
    with pytest.raises(SettingsError, match=r"^hup: port must be"):
        Settings.resolve({"host": "rabbit", "port": port})
    messaging.global_hup["port"] = port
    with pytest.raises(SettingsError, match=r"^messaging.global_hup: port must be"):
        Settings.resolve()


def test_the_error_of_a_port_names_the_url_before_the_variable(env):
    env(PORT="wrong", URL="amqp://rabbit:99999")

    with pytest.raises(SettingsError, match=r"^POSTAGE_URL: port must be"):
        Settings.resolve()


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
