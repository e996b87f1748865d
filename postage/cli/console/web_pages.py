"""The pages of the console, and what they ask for: a Flask application."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from importlib import resources
from pathlib import PurePath
from typing import Any
from urllib.parse import unquote

from flask import Flask, Response, jsonify, request
from werkzeug.exceptions import HTTPException

from postage.cli.console.actions import Actions
from postage.cli.console.browser_events import StateStream, TooManyBrowsers
from postage.cli.console.guard import HEADERS, Access, Request
from postage.cli.console.web_connections import LARGEST_BODY
from postage.cli.exits import Code, CommandFailed
from postage.errors import (
    ChannelRefused,
    ConnectionFailed,
    ConnectionLost,
    LookRefused,
    NoSuchMessage,
    OperationTimeout,
    PostageError,
    SettingsError,
    TopologyMismatch,
)
from postage.foreign_text import one_line
from postage.log_records import logger_of

__all__ = ["make_app"]

logger = logger_of(__name__)

LONGEST_ERROR = 2000
KINDS = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
}
"""The types of the files of the page, by their suffixes; others are not served."""
STATUSES: dict[type[PostageError], HTTPStatus] = {
    TooManyBrowsers: HTTPStatus.SERVICE_UNAVAILABLE,
    NoSuchMessage: HTTPStatus.NOT_FOUND,
    LookRefused: HTTPStatus.CONFLICT,
    SettingsError: HTTPStatus.BAD_REQUEST,
    TopologyMismatch: HTTPStatus.NOT_FOUND,
    ChannelRefused: HTTPStatus.NOT_FOUND,
    ConnectionFailed: HTTPStatus.BAD_GATEWAY,
    ConnectionLost: HTTPStatus.BAD_GATEWAY,
    OperationTimeout: HTTPStatus.GATEWAY_TIMEOUT,
}


def make_app(access: Access, stream: StateStream, actions: Actions, cookie: str) -> Flask:
    """Return the application; *cookie* is the name of the cookie of a session."""
    app = Flask(__name__, static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = LARGEST_BODY
    app.json.sort_keys = False  # type: ignore[attr-defined]  # of Flask's own provider
    app.before_request(lambda: _refused(access, cookie))
    app.after_request(_with_headers)
    app.register_error_handler(Exception, _failed)
    _add_page(app)
    _add_reading(app, stream, actions)
    _add_changing(app, actions)

    @app.post("/api/session")
    def session() -> Response:
        if not access.knows(_given().get("token")):
            return _error(HTTPStatus.FORBIDDEN, "this is not the token that `postage web` printed")
        answer = _json({})
        answer.set_cookie(cookie, access.session, httponly=True, samesite="Strict", path="/")
        return answer

    return app


# --- before and after each request


def _refused(access: Access, cookie: str) -> Response | None:
    session = request.cookies.get(cookie, "")
    headers: Any = request.headers  # a mapping in all but its base class
    refusal = access.refusal(Request(request.method, request.path, headers, session))
    return None if refusal is None else _error(refusal.status, refusal.text)


def _with_headers(answer: Response) -> Response:
    answer.headers.update(HEADERS)
    if request.path.startswith("/api/"):
        answer.headers["Cache-Control"] = "no-store"
    return answer


def _failed(error: Exception) -> Response:
    if isinstance(error, HTTPException):
        code = HTTPStatus(error.code or HTTPStatus.INTERNAL_SERVER_ERROR)
        return _error(code, error.description or code.phrase)
    if isinstance(error, CommandFailed):
        is_missing = error.code is Code.TOPOLOGY
        status = HTTPStatus.NOT_FOUND if is_missing else HTTPStatus.BAD_REQUEST
        return _error(status, str(error))
    for kind, status in STATUSES.items():
        if isinstance(error, kind):
            return _error(status, str(error))
    if not isinstance(error, PostageError):
        logger.error("The console could not answer %s.", one_line(request.path), exc_info=error)
    return _error(HTTPStatus.INTERNAL_SERVER_ERROR, f"{type(error).__name__}: {error}")


def _error(status: HTTPStatus, text: str) -> Response:
    return _json({"error": one_line(text, LONGEST_ERROR)}, status)


def _json(data: Any, status: HTTPStatus = HTTPStatus.OK) -> Response:
    answer = jsonify(data)
    answer.status_code = status
    return answer


def _given() -> dict[str, Any]:
    """Return the JSON object of the request; raises `SettingsError` if it is none."""
    try:
        given = request.get_json(silent=True)
    except RecursionError:
        given = None  # levels in levels
    if not isinstance(given, dict):
        raise SettingsError("send a JSON object")
    return given


# --- the page


def _add_page(app: Flask) -> None:
    folder = resources.files("postage.cli.console") / "assets"
    files = {
        each.name: (each.read_bytes(), kind)
        for each in folder.iterdir()
        if (kind := KINDS.get(PurePath(each.name).suffix)) is not None
    }

    def file(name: str) -> Response:
        if name not in files:
            return _error(HTTPStatus.NOT_FOUND, "there is no such file")
        content, kind = files[name]
        answer = Response(content, content_type=kind)
        answer.add_etag()
        answer.headers["Cache-Control"] = "no-cache"  # ask whether it has changed
        answer.make_conditional(request)
        return answer

    app.add_url_rule("/", view_func=lambda: file("index.html"), endpoint="page")
    app.add_url_rule("/assets/<name>", view_func=file, endpoint="asset")


# --- reading


def _add_reading(app: Flask, stream: StateStream, actions: Actions) -> None:
    @app.get("/api/events")
    def events() -> Response:
        return Response(stream.events(), content_type="text/event-stream")

    @app.get("/api/state")
    def state() -> Response:
        return Response(stream.whole(), content_type="application/json")

    answers: dict[str, Callable[..., Any]] = {
        "/api/components/<path:name>": actions.component,
        "/api/parked/<queue>": actions.parked,
        "/api/parked/<queue>/<id_>": actions.parked_message,
        "/api/parked/<queue>/diff": lambda queue: actions.difference(
            queue, request.args.get("a", ""), request.args.get("b", "")
        ),
    }
    for rule, answer in answers.items():
        app.add_url_rule(rule, rule, _answering(answer))


def _answering(answer: Callable[..., Any]) -> Callable[..., Response]:
    """Return a view; a name in its path is escaped twice, since it may hold a slash."""
    return lambda **values: _json(answer(**{key: unquote(each) for key, each in values.items()}))


# --- changing


def _add_changing(app: Flask, actions: Actions) -> None:
    @app.post("/api/parked/<queue>/replay")
    def replay(queue: str) -> Response:
        return _json({"job": actions.replay(unquote(queue), **_chosen(_given()))})

    @app.post("/api/call")
    def call() -> Response:
        return _json(actions.call(*_target()))

    @app.post("/api/send")
    def send() -> Response:
        return _json(actions.send(*_target()))


def _chosen(given: dict[str, Any]) -> dict[str, Any]:
    """Return what to replay.  Nothing but a clear wish may mean all messages."""
    match given:
        case {"all": True, **others} if not others and given["all"] is True:
            return {}
        case {"group": str(group), **others} if group and not others:
            return given
        case {"ids": [*ids], **others} if ids and not others:
            if all(isinstance(each, str) for each in ids):
                return given
    raise SettingsError('give "ids", a list of texts, or "group", a text, or "all": true')


def _target() -> tuple[str, str, Any]:
    given = _given()
    component, handler = given.get("component"), given.get("handler")
    if not isinstance(component, str) or not isinstance(handler, str):
        raise SettingsError('give "component" and "handler", which are texts')
    return component, handler, given.get("parameters", {})
