"""Variables that end with ``_FILE`` name a file of the value, as images of Docker do it."""

from __future__ import annotations

import os
import traceback

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from postage.environment import MOST_IN_SECRET, Layer, Layers, Source
from postage.errors import SettingsError
from postage.settings import Settings, live, origins

HUSH = "hush-hush"


@pytest.fixture
def secret_file(tmp_path, env):
    """Write a text or bytes into a file, and name it in the variable given without its ending."""

    def write(variable, content):
        path = tmp_path / variable.lower()
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        env(**{f"{variable}_FILE": str(path)})
        return path

    return write


@pytest.mark.parametrize(
    ("variable", "content", "name", "value"),
    [
        ("PASSWORD", HUSH, "password", HUSH),
        ("PASSWORD", f"{HUSH}\n", "password", HUSH),
        ("PASSWORD", f"{HUSH}\r\n", "password", HUSH),
        ("PASSWORD", f"\n {HUSH} \n\n", "password", f"\n {HUSH} \n"),
        ("PASSWORD", f"\ufeff{HUSH}\n", "password", HUSH),
        ("USER", "ä€\n", "user", "ä€"),
        ("URL", f"amqp://alice:{HUSH}@rabbit/lab\n", "password", HUSH),
        ("URL", "amqps://rabbit", "tls", True),
        ("URL", "\ufeffamqps://rabbit\r\n", "tls", True),
        ("HOST", "h1,h2:5673\n", "addresses", (("h1", 5672), ("h2", 5673))),
        ("PORT", "5673\n", "port", 5673),
        ("VHOST", "/lab", "vhost", "/lab"),
        ("HEARTBEAT", "7\n", "heartbeat", 7),
        ("WAIT_FOR_BROKER", "yes\n", "wait_for_broker", True),
        ("TLS", "1\n", "tls", True),
    ],
)
def test_a_file_holds_the_value_of_any_variable(secret_file, variable, content, name, value):
    secret_file(variable, content)

    assert getattr(Settings.resolve(), name) == value


def test_a_file_that_has_changed_is_read_again(secret_file):
    path = secret_file("PASSWORD", "before\n")
    assert Settings.resolve().password == "before"
    path.write_text("afterwards\n")

    assert Settings.resolve().password == "afterwards"


def test_a_link_to_a_file_is_followed(secret_file, tmp_path, env):
    """Kubernetes mounts secrets as links, and changes them all at once."""
    path = secret_file("PASSWORD", HUSH)
    (tmp_path / "link").symlink_to(path)
    env(PASSWORD_FILE=str(tmp_path / "link"))

    assert Settings.resolve().password == HUSH


def test_an_empty_name_of_a_file_counts_as_none(env):
    env(PASSWORD_FILE="", PASSWORD="mine")

    assert Settings.resolve().password == "mine"


@pytest.mark.parametrize("name", ["URL", "PASSWORD", "HEARTBEAT"])
def test_a_value_and_a_file_of_it_are_one_too_many(secret_file, env, name):
    secret_file(name, HUSH)
    env(**{name: ""})

    text = f"^POSTAGE_{name} and POSTAGE_{name}_FILE set the same thing: remove one of them$"
    with pytest.raises(SettingsError, match=text):
        Settings.resolve()


def test_a_stronger_layer_hides_a_file(secret_file, monkeypatch):
    secret_file("URL", "amqp://below")
    options = Layer(Source.COMMAND_LINE, {"POSTAGE_URL": "amqp://above"})
    monkeypatch.setattr(live, "layers", live.layers.above(options))

    assert Settings.resolve().host == "above"


# --- files that cannot be used


def complaint() -> tuple[str, str]:
    """Return the text of the error that settings raise now, and its traceback with all causes."""
    with pytest.raises(SettingsError) as caught:
        Settings.resolve()
    return str(caught.value), "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("variable", ["URL", "PASSWORD"])
@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (HUSH.encode() + b"\xff", "is not UTF-8"),
        (HUSH.encode() * (MOST_IN_SECRET // len(HUSH) + 1), "has more than 65536 bytes"),
        (b"", "is empty"),
        (b"\n", "is empty"),
    ],
    ids=["no UTF-8", "too large", "empty", "a newline"],
)
def test_an_odd_file_is_named_and_never_quoted(secret_file, variable, content, reason):
    path = secret_file(variable, content)
    text, whole = complaint()

    assert text == f"POSTAGE_{variable}_FILE: {str(path)!r} {reason}"
    assert HUSH not in whole


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (lambda path: None, "No such file or directory"),
        (os.mkdir, "no regular file"),
        (os.mkfifo, "no regular file"),
        (lambda path: path.symlink_to(path), "symbolic links"),
    ],
    ids=["missing", "folder", "pipe", "circle"],
)
def test_a_path_that_is_no_file_is_named(tmp_path, env, made, reason):
    path = tmp_path / "secret"
    made(path)
    env(PASSWORD_FILE=str(path))
    text, _ = complaint()

    assert text.startswith("POSTAGE_PASSWORD_FILE: ")
    assert repr(str(path)) in text
    assert reason in text


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_file_of_another_user_is_named(secret_file):
    path = secret_file("PASSWORD", HUSH)
    path.chmod(0)

    assert complaint()[0] == f"POSTAGE_PASSWORD_FILE: cannot read {str(path)!r}: Permission denied"


@pytest.mark.parametrize(
    ("variable", "content"),
    [
        ("URL", f"{HUSH}:x"),
        ("URL", f"{HUSH}://x"),
        ("URL", f"amqp://rabbit?{HUSH}=1"),
        ("URL", f"amqp://rabbit?{HUSH}"),
        ("URL", f"amqp://rabbit?heartbeat={HUSH}"),
        ("URL", f"amqp://a:1/{HUSH}@rabbit"),
        ("HOST", f"{HUSH} {'h' * 300}"),
        ("PORT", HUSH),
        ("VHOST", HUSH + "v" * 300),
        ("HEARTBEAT", HUSH),
        ("VERIFY", HUSH),
        ("AUTH_MECHANISM", HUSH),
        ("MEMORY", HUSH),
    ],
)
def test_a_wrong_value_in_a_file_is_not_quoted(secret_file, variable, content):
    """The file may be that of another secret."""
    secret_file(variable, content)
    text, whole = complaint()

    assert f"POSTAGE_{variable}_FILE" in text or (variable == "HOST" and "host" in text)
    assert HUSH.lower() not in whole.lower()


def test_errors_about_the_broker_name_the_file(secret_file, monkeypatch):
    secret_file("URL", "amqp://alice@rabbit/lab")
    secret_file("PASSWORD", HUSH)

    found = origins(Settings.resolve(), "user", "password")

    assert found == "POSTAGE_URL_FILE and POSTAGE_PASSWORD_FILE"


# --- layers

NAMES = st.sampled_from(["host", "user", "password", "vhost", "heartbeat"])
TEXTS = st.text("abc", min_size=1, max_size=3)
LAYERS = st.lists(
    st.tuples(
        st.dictionaries(NAMES, TEXTS),
        st.none() | st.dictionaries(st.sampled_from(["host", "user", "vhost"]), TEXTS),
    ),
    max_size=4,
)


def url_of(parts: dict[str, str]) -> str:
    login = f"{parts['user']}@" if "user" in parts else ""
    return f"amqp://{login}{parts.get('host', '')}/{parts.get('vhost', '')}"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(drawn=LAYERS, name=NAMES)
def test_the_first_layer_decides_and_the_first_url_alone(drawn, name):
    layers = Layers(())
    for single, url in drawn:
        variables = {f"POSTAGE_{key.upper()}": text for key, text in single.items()}
        variables |= {} if url is None else {"POSTAGE_URL": url_of(url)}
        layers = layers.below(Layer(Source.FILE, variables))

    first_url = next((n for n, (_, url) in enumerate(drawn) if url is not None), None)
    ranked = [
        text
        for n, (single, url) in enumerate(drawn)
        for text in ((url or {}).get(name) if n == first_url else None, single.get(name))
        if text is not None
    ]
    found = layers.find(name)

    assert (found and found.text) == (ranked[0] if ranked else None)
