"""Who may ask the console for what: requests as an attacker sends them."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.console.raw_http import TOKEN, Target, console

REFUSED = range(400, 500)
FORBIDDEN = {400, 401, 403, 421}


@pytest.fixture(scope="module")
def reader() -> Iterator[Target]:
    """A console that only shows."""
    with console() as target:
        yield target


@pytest.fixture(scope="module")
def writer() -> Iterator[Target]:
    """A console with `--write`, and a session."""
    with console("--write") as target:
        assert target.log_in().status < 300
        yield target


# --- what every answer has

HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
}


@pytest.mark.parametrize(
    "path", ["/", "/api/state", "/api/none", "/assets/none", "/none", "/api/components/none"]
)
def test_every_answer_tells_browsers_to_be_careful(reader: Target, path: str):
    answer = reader.ask("GET", path)

    assert {name: answer.headers.get(name) for name in HEADERS} == HEADERS
    assert not [name for name in answer.headers if name.startswith("access-control")]
    if path.startswith("/api"):
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["content-type"].startswith("application/json")


def test_a_refusal_is_json_and_as_careful(reader: Target):
    answer = reader.ask("GET", "/api/state", host="evil.example")

    assert answer.status in FORBIDDEN
    assert answer.json["error"]
    assert answer.headers["x-content-type-options"] == "nosniff"


# --- DNS rebinding: a page of another name that resolves to 127.0.0.1

FOREIGN_HOSTS = [
    "evil.example",
    "evil.example:{port}",
    "127.0.0.1.evil.example:{port}",
    "localhost.evil.example",
    "evil.example#127.0.0.1:{port}",
    "127.0.0.1@evil.example",
    "127.0.0.1:{port}, evil.example",
    "0.0.0.0:{port}",
    "0x7f000001:{port}",
    "[::ffff:127.0.0.1]:{port}",
    "169.254.169.254",
    "127.0.0.1:{port}:{port}",
    "127.0.0.1:nonsense",
    "[",
    "\xff",
    "",
]


@pytest.mark.parametrize("path", ["/", "/api/state", "/api/events"])
@pytest.mark.parametrize("host", FOREIGN_HOSTS)
def test_a_foreign_name_of_the_host_is_refused(reader: Target, host: str, path: str):
    answer = reader.ask("GET", path, host=host.format(port=reader.port))

    assert answer.status in FORBIDDEN
    assert b"components" not in answer.body


@pytest.mark.parametrize("host", ["127.0.0.1:{port}", "localhost:{port}", "LOCALHOST:{port}"])
def test_the_names_of_loopback_are_served(reader: Target, host: str):
    assert reader.ask("GET", "/api/state", host=host.format(port=reader.port)).status == 200


def test_a_request_without_a_host_is_refused(reader: Target):
    for version in ("1.0", "1.1"):
        answer = reader.send(f"GET /api/state HTTP/{version}\r\nConnection: close\r\n\r\n".encode())

        assert int(answer.split()[1]) in FORBIDDEN


def test_two_hosts_are_refused(reader: Target):
    for hosts in (("evil.example", reader.address), (reader.address, "evil.example")):
        head = "".join(f"Host: {each}\r\n" for each in hosts)
        answer = reader.send(f"GET /api/state HTTP/1.1\r\n{head}Connection: close\r\n\r\n".encode())

        assert int(answer.split()[1]) in FORBIDDEN


def test_an_absolute_address_of_another_host_is_refused(reader: Target):
    assert reader.ask("GET", "http://evil.example/api/state").status in REFUSED


# --- other pages in the same browser

FOREIGN_PAGES = {
    "origin": {"origin": "http://evil.example"},
    "null": {"origin": "null"},
    "other port": {"origin": "http://127.0.0.1:1"},
    "other sort": {"origin": "file://127.0.0.1:{port}"},
    "prefix": {"origin": "http://127.0.0.1:{port}.evil.example"},
    "user": {"origin": "http://127.0.0.1:{port}@evil.example"},
    "nonsense": {"origin": "\xff"},
    "cross-site": {"sec-fetch-site": "cross-site"},
    "cross-site with our origin": {
        "origin": "http://127.0.0.1:{port}",
        "sec-fetch-site": "cross-site",
    },
}


@pytest.mark.parametrize("page", FOREIGN_PAGES)
def test_requests_of_other_pages_are_refused(writer: Target, page: str):
    headers: dict[str, str | None] = {
        name: value.format(port=writer.port) for name, value in FOREIGN_PAGES[page].items()
    }

    assert writer.ask("GET", "/api/state", **headers).status == 403
    assert writer.ask("GET", "/api/events", **headers).status == 403
    assert writer.post("/api/session", {"token": TOKEN}, **headers).status == 403
    assert writer.post("/api/parked/q/replay", {"all": True}, **headers).status == 403


@pytest.mark.parametrize("method", ["OPTIONS", "TRACE", "PUT", "DELETE", "PATCH", "CONNECT", "X"])
def test_other_methods_are_refused(writer: Target, method: str):
    for path in ("/", "/api/state", "/api/parked/q/replay", "/api/call"):
        answer = writer.ask(method, path, origin="http://evil.example")

        assert answer.status in REFUSED or (method == "OPTIONS" and not answer.body)
        assert not [name for name in answer.headers if name.startswith("access-control")]


def test_get_changes_nothing(writer: Target):
    for path in ("/api/parked/q/replay", "/api/call", "/api/send", "/api/session"):
        assert writer.ask("GET", path).status >= 400
    assert writer.ask("GET", "/api/state").json["jobs"] == {}


# --- writing

ACTIONS = {
    "/api/parked/q/replay": {"all": True},
    "/api/call": {"component": "x", "handler": "x", "parameters": {}},
    "/api/send": {"component": "x", "handler": "x", "parameters": {}},
}


@pytest.mark.parametrize("path", ACTIONS)
def test_without_write_nothing_can_be_done(reader: Target, path: str):
    reader.log_in()

    answer = reader.post(path, ACTIONS[path])

    assert answer.status == 403
    assert "--write" in answer.json["error"]
    assert reader.ask("GET", "/api/state").json["jobs"] == {}


LACKING: dict[str, dict[str, str | None]] = {
    "no session": {"cookie": ""},
    "wrong session": {"cookie": "{name}=x"},
    "empty session": {"cookie": "{name}="},
    "odd session": {"cookie": "{name}=\xff\xfe"},
    "the token as session": {"cookie": "{name}=" + TOKEN + "x"},
    "no header": {"x-postage": None},
    "wrong header": {"x-postage": "0"},
    "form": {"content-type": "application/x-www-form-urlencoded"},
    "text": {"content-type": "text/plain"},
    "multipart": {"content-type": "multipart/form-data; boundary=x"},
    "no type": {"content-type": None},
}


@pytest.mark.parametrize("path", ACTIONS)
@pytest.mark.parametrize("lacking", LACKING)
def test_a_request_without_all_that_writing_needs(writer: Target, lacking: str, path: str):
    name = writer.cookie.partition("=")[0]
    headers = {
        key: value if value is None else value.replace("{name}", name)
        for key, value in LACKING[lacking].items()
    }

    answer = writer.post(path, ACTIONS[path], **headers)

    assert answer.status in {400, 401, 403, 415}
    assert writer.ask("GET", "/api/state").json["jobs"] == {}


def test_with_all_of_it_the_request_is_done(writer: Target):
    answer = writer.post("/api/call", ACTIONS["/api/call"])

    assert "no queue of 'x' is known" in answer.json["error"]
    assert answer.status == 404


WRONG_TOKENS = [
    {"token": ""},
    {"token": TOKEN[:-1]},
    {"token": TOKEN + "\0"},
    {"token": TOKEN.upper()},
    {"token": "\N{SNOWMAN}"},
    {"token": "\ud800"},
    {"token": None},
    {"token": True},
    {"token": [TOKEN]},
    {"token": "x" * 500_000},
    {},
    [],
    TOKEN,
    None,
]


@pytest.mark.parametrize("sent", WRONG_TOKENS, ids=range(len(WRONG_TOKENS)))
def test_a_wrong_token_opens_nothing(writer: Target, sent: object):
    answer = writer.post("/api/session", sent, cookie=None)

    assert answer.status in {400, 403}
    assert "set-cookie" not in answer.headers
    assert TOKEN.encode() not in answer.body


def test_the_cookie_is_for_this_page_only(writer: Target):
    answer = writer.post("/api/session", {"token": TOKEN})
    attributes = {each.strip().lower() for each in answer.headers["set-cookie"].split(";")[1:]}

    assert {"httponly", "samesite=strict", "path=/"} <= attributes


BAD_BODIES = {
    "empty": b"",
    "half": b'{"token": ',
    "latin-1": b'{"token": "\xff"}',
    "deep": b"[" * 100_000,
    "deep object": b'{"a":' * 100_000,
    "long number": b'{"token": ' + b"9" * 50_000 + b"}",
    "NaN": b'{"token": NaN}',
    "UTF-16": json.dumps({"token": TOKEN + "x"}).encode("utf-16"),
    "twice": b'{"token": "a", "token": "b"}',
}


@pytest.mark.parametrize("path", ["/api/session", *ACTIONS])
@pytest.mark.parametrize("kind", BAD_BODIES)
def test_a_body_that_is_none_is_refused(writer: Target, kind: str, path: str):
    answer = writer.ask("POST", path, BAD_BODIES[kind])

    assert answer.status in {400, 403, 413}
    assert answer.json["error"]


WRONG_CHOICES = [
    {},
    {"all": False},
    {"all": "yes"},
    {"ids": "x"},
    {"ids": [1]},
    {"ids": [], "all": True},
    {"group": 1},
    {"group": "x", "all": True},
    {"ids": []},
    {"group": ""},
    {"all": 1},
    {"all": True, "queue": "x"},
    [],
]


@pytest.mark.parametrize("chosen", WRONG_CHOICES, ids=range(len(WRONG_CHOICES)))
def test_a_replay_of_no_clear_choice_is_refused(writer: Target, chosen: object):
    answer = writer.post("/api/parked/q/replay", chosen)

    assert answer.status in {400, 413}
    assert writer.ask("GET", "/api/state").json["jobs"] == {}


@pytest.mark.parametrize("wrong", [{"component": 1}, {"handler": None}, {"handler": "x" * 70_000}])
def test_a_call_of_no_names_is_refused(writer: Target, wrong: dict[str, object]):
    for path in ("/api/call", "/api/send"):
        answer = writer.post(path, ACTIONS[path] | wrong)

        assert answer.status in {400, 404, 413}


# --- files and names

TRAVERSALS = [
    "/assets/../guard.py",
    "/assets/..%2fguard.py",
    "/assets/%2e%2e/guard.py",
    "/assets/%252e%252e/guard.py",
    "/assets/..\\guard.py",
    "/assets/..%5cguard.py",
    "/assets/....//guard.py",
    "/assets//etc/passwd",
    "/assets/%2fetc%2fpasswd",
    "//etc/passwd",
    "/assets/../../../../../../../../etc/passwd",
    "/assets/index.html%00.py",
    "/assets/%00",
    "/assets/.",
    "/assets/",
    "/assets/%ff%fe",
    "/assets/" + "a" * 5000,
    "/guard.py",
    "/../guard.py",
]


@pytest.mark.parametrize("path", TRAVERSALS, ids=range(len(TRAVERSALS)))
def test_only_the_files_of_the_page_are_served(reader: Target, path: str):
    answer = reader.ask("GET", path)

    assert answer.status in REFUSED
    assert b"import" not in answer.body
    assert b"root:" not in answer.body


ODD_NAMES = [
    "%0d%0aSet-Cookie:%20x=1",
    "%3Cscript%3Ealert(1)%3C%2Fscript%3E",
    "%1b]0;owned%07",
    "%e2%80%ae",
    "%ff",
    "%00",
    "a" * 5000,
    "..%2f..%2fstate",
]


@pytest.mark.parametrize("name", ODD_NAMES, ids=range(len(ODD_NAMES)))
def test_odd_names_are_answered_as_json(reader: Target, name: str):
    for path in (f"/api/components/{name}", f"/api/parked/{name}", f"/api/parked/q/{name}"):
        answer = reader.ask("GET", path)

        assert answer.status >= 400
        assert answer.headers["content-type"].startswith("application/json")
        assert "set-cookie" not in answer.headers
        assert "error" in answer.json
        assert b"\x1b" not in answer.body


# --- other machines


def test_with_an_address_of_the_network_a_session_is_needed():
    names = ("--allow-host", "map.example", "--allow-host", "Other.example.:8088")
    with console("--host", "0.0.0.0", *names) as target:
        for host in (target.address, "map.example", f"MAP.example:{target.port}", "other.example"):
            assert target.ask("GET", "/", host=host).status == 200
            for path in ("state", "events", "components/x", "parked/q", "parked/q/diff?a=1&b=2"):
                assert target.ask("GET", f"/api/{path}", host=host).status in {401, 403}
        assert target.ask("GET", "/api/state", host="evil.example").status in FORBIDDEN
        assert target.log_in("wrong").status == 403

        assert target.log_in().status < 300

        assert target.ask("GET", "/api/state").status == 200
        assert target.ask("GET", "/api/state", host="map.example").status == 200
        assert target.ask("GET", "/api/state", host="evil.example").status in FORBIDDEN
        assert target.post("/api/call", ACTIONS["/api/call"]).status == 403


def test_a_token_of_the_address_line_opens_nothing():
    with console("--host", "0.0.0.0") as target:
        for path in (f"/api/state?token={TOKEN}", f"/api/events?token={TOKEN}"):
            assert target.ask("GET", path).status in {401, 403}
        assert target.ask("GET", "/api/state", authorization=f"Bearer {TOKEN}").status != 200
