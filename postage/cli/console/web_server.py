"""The console as a program: asks the processes, and serves the page until a signal ends it."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

import gevent
import gevent.event

from postage.cli.console.actions import Actions
from postage.cli.console.browser_events import StateStream
from postage.cli.console.guard import LOOPBACK, Access, host_in, is_loopback
from postage.cli.console.poller import Poller
from postage.cli.console.web_connections import WebServer
from postage.cli.console.web_pages import make_app
from postage.cli.exits import Code, CommandFailed
from postage.cli.options import HostPort
from postage.cli.output import print_json, print_text
from postage.environment import Found
from postage.errors import SettingsError
from postage.settings import live
from postage.signals import stopping_signals

__all__ = ["Options", "print_state", "serve"]

TOKEN_VARIABLE = "POSTAGE_WEB_TOKEN"  # noqa: S105 - the name of the variable
SHORTEST_TOKEN = 16
"""Characters of a token that a person has chosen: shorter ones can be guessed."""


@dataclass(frozen=True)
class Options:
    """The options of ``postage web``."""

    host: str
    port: int
    names: tuple[str, ...] = ()
    write: bool = False
    interval: float = 2.0


def serve(options: Options) -> None:
    """Serve the console until a signal ends it; raises `SettingsError` for what cannot be used."""
    stopped = gevent.event.Event()
    for number in stopping_signals():
        gevent.signal_handler(number, stopped.set)
    access, where = _access(options), HostPort(options.host, options.port)
    about = {"write": access.may_write, "needs_token": access.token is not None}
    poller = Poller(options.interval, about)
    stream = StateStream(poller.history)
    poller.publish_to(stream.publish)
    app = make_app(access, stream, Actions(poller), cookie=f"postage-{options.port}")
    server = WebServer((where.host, where.port), app)
    try:
        server.start()
    except (OSError, UnicodeError) as exc:  # an address that is taken, or no name of a host
        why = getattr(exc, "strerror", None) or exc
        raise SettingsError(f"cannot serve the console on {where}: {why}") from None
    polling = gevent.spawn(poller.run)
    try:
        print_text(_greeting(HostPort(where.host, int(server.server_port or 0)), access))
        stopped.wait()
    finally:
        polling.kill(block=False)
        server.stop(timeout=0)


def print_state(interval: float) -> None:
    """Print the state once as JSON, with the rates of so many seconds.

    Raises `CommandFailed` if the broker cannot be asked.
    """
    poller = Poller(interval)
    poller.begin(interval)
    if problem := poller.about["problem"]:
        raise CommandFailed(str(problem), Code.UNREACHABLE)
    print_json(poller.state)


def _access(options: Options) -> Access:
    """Return what this server allows; raises `SettingsError` for a token that can be guessed."""
    is_remote = not is_loopback(options.host)
    names = {*LOOPBACK, options.host, *map(_name, options.names)}
    token = None
    if options.write or is_remote:
        own = _own_token()
        if own and len(own.text) < SHORTEST_TOKEN:
            text = f"{own.origin} must have at least {SHORTEST_TOKEN} characters"
            raise SettingsError(text)
        token = own.text if own else secrets.token_urlsafe(24)
    return Access(
        hosts=frozenset(each.lower() for each in names),
        token=token,
        guards_reading=is_remote,
        may_write=options.write,
    )


def _name(given: str) -> str:
    """Return the name that ``--allow-host`` gives, without its port, as `host_in` finds it."""
    name = host_in(given) or host_in(f"[{given}]")  # an address of IPv6 may lack its brackets
    if not name:
        raise SettingsError(f"--allow-host must be a name such as shop.example.org, not {given!r}")
    return name


def _own_token() -> Found | None:
    """Return the token that the user has chosen, and its place; None: there is none."""
    found = live.layers.variable(TOKEN_VARIABLE)
    return found if found and found.text else None


def _greeting(where: HostPort, access: Access) -> str:
    """Return the line with the address; a token is in the fragment, which is sent to no server."""
    url = f"http://{where}/"
    if access.token is None:
        return f"The console is at {url}, for this machine, and only reads.  Ctrl-C ends it."
    own = _own_token()
    shown = f"{url}, with the token of {own.origin}" if own else f"{url}#token={access.token}"
    return f"The console is at {shown}\nCtrl-C ends it."
