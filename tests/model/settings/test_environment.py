"""The variables of the environment: addresses, durations, switches, and names from before."""

from __future__ import annotations

import pytest

from postage.errors import SettingsError
from postage.settings import Settings, live
from postage.url import masked
from tests.model.settings.parts import DEFAULTS, parts


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


# --- TLS and other options


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


def test_a_switch_is_on_or_off(env):
    env(VERIFY="perhaps")

    with pytest.raises(SettingsError, match="POSTAGE_VERIFY must be true or false"):
        Settings.resolve()


# --- where a wrong port came from


@pytest.mark.parametrize("port", ["amqp", "0", "65536", ""])
def test_the_error_of_a_port_names_its_variable(env, port):
    env(PORT=port)

    with pytest.raises(SettingsError, match=r"^POSTAGE_PORT: port must be"):
        Settings.resolve()


def test_the_error_of_a_port_names_the_url_before_the_variable(env):
    env(PORT="wrong", URL="amqp://rabbit:99999")

    with pytest.raises(SettingsError, match=r"^POSTAGE_URL: port must be"):
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


# --- URLs to be shown


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("amqp://a:hush@h/v?heartbeat=1", "amqp://a:***@h/v?heartbeat=1"),
        ("amqp://a:hu sh@h1,h2:1", "amqp://a:***@h1,h2:1"),
        ("amqp://a:h@sh@h", "amqp://a:***@h"),
        ("amqp://:hush@h", "amqp://:***@h"),
        ("amqp://a@h:5672/v", "amqp://a@h:5672/v"),
        ("embedded://a/v", "embedded://a/v"),
        ("", ""),
    ],
)
def test_the_password_of_a_url_can_be_masked(url, shown):
    assert masked(url) == shown
