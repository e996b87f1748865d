"""``${NAME}`` in a configuration file."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postage.cli.running.references import expanded, expanded_url, has_reference
from postage.errors import SettingsError
from postage.url import Url, addresses

NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,5}", fullmatch=True)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
#: Texts with many dollars and braces, which references are made of.
ODD = st.text("${}a_1", max_size=12)


def as_itself(text: str) -> str:
    """Return how a text is written that is to be taken as it is."""
    return text.replace("${", "$${")


@given(TEXTS | ODD)
def test_each_text_can_be_written_without_a_reference(text: str):
    assert expanded(as_itself(text), {}) == text
    assert not has_reference(as_itself(text))


@given(st.lists(st.tuples(TEXTS | ODD, NAMES, TEXTS | ODD)), TEXTS | ODD)
def test_each_reference_becomes_its_value_and_nothing_else(parts, last: str):
    """A value that looks like a reference stays as it is."""
    variables = {name: value for _, name, value in parts}
    template = "".join(f"{as_itself(text)}\0${{{name}}}" for text, name, _ in parts)
    expected = "".join(f"{text}\0{variables[name]}" for text, name, _ in parts)

    assert expanded(template + "\0" + as_itself(last), variables) == f"{expected}\0{last}"
    assert has_reference(template) == bool(parts)


@given(ODD, st.dictionaries(NAMES, TEXTS, max_size=2))
def test_any_text_is_replaced_or_refused(text: str, variables):
    complaint = ""
    try:
        expanded(text, variables)
    except SettingsError as exc:
        complaint = str(exc)

    assert not complaint or ("${" in text and complaint.endswith(("is not set", "write $${")))


@given(TEXTS, TEXTS, TEXTS.filter(bool))
def test_any_user_password_and_vhost_fit_into_a_url(user: str, password: str, vhost: str):
    variables = {"USER_": user, "PASSWORD": password, "VHOST": vhost}
    text = expanded_url("amqps://${USER_}:${PASSWORD}@rabbit:5673/${VHOST}?heartbeat=3", variables)
    url = Url.parse(text)

    assert url.parts == {
        "user": user,
        "password": password,
        "host": "rabbit",
        "port": "5673",
        "vhost": vhost,
    }
    assert (url.scheme, url.options) == ("amqps", {"heartbeat": "3"})


@given(TEXTS.filter(bool))
def test_any_value_of_an_option_fits_into_a_url(path: str):
    text = expanded_url("amqps://rabbit?cacertfile=${CA}", {"CA": path})

    assert Url.parse(text).options == {"cacertfile": path}


def test_a_reference_may_be_the_hosts_or_a_whole_url():
    hosts = expanded_url("amqp://a:b@${HOSTS}/v", {"HOSTS": "h1:1,h2:2"})
    assert addresses(Url.parse(hosts).parts["host"], 5672) == (("h1", 1), ("h2", 2))

    whole = expanded_url("${URL}", {"URL": "amqp://a:b%40@h/v?heartbeat=3"})
    assert Url.parse(whole).parts["password"] == "b@"

    scheme = expanded_url("${SCHEME}://a:${P}@h", {"SCHEME": "amqps", "P": "@"})
    assert Url.parse(scheme).parts["password"] == "@"


@pytest.mark.parametrize(
    "text", ["${", "a${}", "${a-b}", "${1a}", "${a", "${a:-b}", "${ a}", "$${${"]
)
def test_what_is_no_reference_is_refused_and_not_quoted(text: str):
    with pytest.raises(SettingsError) as caught:
        expanded(text, {"a": "1"})

    assert str(caught.value) == ("${ begins no reference such as ${NAME}; for itself, write $${")


def test_a_variable_that_is_no_text_is_refused():
    with pytest.raises(SettingsError, match="the environment variable A is not UTF-8"):
        expanded("${A}", {"A": "hush\udcff"})


def test_dollars_and_braces_alone_are_themselves():
    assert expanded("$a {b} $$ $ { $}", {}) == "$a {b} $$ $ { $}"
