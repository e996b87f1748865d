"""Settings of a component: the address of its broker, and its timeouts.

When a component is made, each setting comes from the first of these places that has it:

1. the argument ``settings`` of the component,
2. its arguments ``hup`` and ``vhost``, then its class attributes of these names,
3. the classic globals, such as ``messaging.global_hup``,
4. ``POSTAGE_URL``, then the other environment variables; a command line adds to them, as
   `postage.environment` describes,
5. the defaults.
"""

from __future__ import annotations

import logging
import os
import types
from collections.abc import Iterator, Mapping, MutableMapping
from dataclasses import dataclass, field, fields, replace
from functools import lru_cache
from typing import Any

from postage.environment import Found, Layer, Layers, Source
from postage.errors import SettingsError
from postage.log_records import logger_of
from postage.url import EMBEDDED, Address, Url, addresses, check_addresses, port_number
from postage.values import (
    MAX_SHORT_INT,
    Rule,
    check_values,
    flag,
    host_name,
    number,
    path,
    rule,
    seconds,
    secret,
    short_text,
    value_error,
)

__all__ = [
    "MECHANISMS",
    "ClassicGlobals",
    "Hup",
    "Settings",
    "enable_debug_log",
    "live",
    "origins",
    "truth",
]

Hup = Mapping[str, Any]
"""Host, user and password as a dictionary ("host-user-password"), with the optional key ``port``.
``host`` may list several nodes of a broker, as in ``h1,h2:5673``."""

TLS_PORT = "5671"
MECHANISMS = ("PLAIN", "EXTERNAL")
"""The ways to log in that we know."""
_FILES = ("cacertfile", "certfile", "keyfile")
_FLAGS = ("wait_for_broker", "discovery", "tls", "verify")


def _are_addresses(value: object) -> bool:
    return isinstance(value, tuple) and all(
        isinstance(each, tuple) and len(each) == 2  # noqa: PLR2004 - a pair
        for each in value
    )


_RULES: Mapping[str, Rule] = {
    "other_hosts": rule("a tuple of (host, port)", _are_addresses),
    **dict.fromkeys(("user", "password"), secret),
    "vhost": short_text(),
    "heartbeat": number(0, MAX_SHORT_INT),
    **dict.fromkeys(("connect_timeout", "operation_timeout"), seconds()),
    "late_after": seconds(zero=True),
    "memory": number(1 << 16),
    **dict.fromkeys(_FLAGS, flag),
    **dict.fromkeys(_FILES, path),
    "server_name_indication": lambda name, value: None if value == "" else host_name(name, value),
    "auth_mechanism": rule(f"one of {', '.join(MECHANISMS)}", lambda value: value in MECHANISMS),
}


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How to reach the broker.  Durations are seconds; the password never shows in ``repr``.

    The names from *cacertfile* to *auth_mechanism* are those of RabbitMQ's own URIs.
    """

    host: str = "localhost"
    """A host, or ``embedded://name``: the broker of that name inside this process."""
    port: int = 5672
    other_hosts: tuple[Address, ...] = ()
    """Further nodes of the same broker, each with its port, tried in this order."""
    user: str = "guest"
    password: str = field(default="guest", repr=False)
    vhost: str = "/"
    heartbeat: int = 60
    """Seconds; the broker closes a connection on which nothing arrives for about twice as long.
    0: no heartbeat, so a lost connection stays unnoticed while nothing is sent."""
    connect_timeout: float = 10.0
    """Seconds that connecting may take, from the look-up of the host to the open virtual host."""
    operation_timeout: float = 30.0
    """Seconds to wait for the broker's answer to a declare, bind, consume and the like."""
    wait_for_broker: bool = False
    """Retry, instead of failing at the start, until a broker answers and accepts connections."""
    late_after: float = 1.0
    """Seconds after which the hub monitor logs a handler that blocks all other greenlets.  0: there
    is no monitor, so a handler that computes for long loses the connection, and delays what was
    written; see docs/heartbeats.md."""
    memory: int = 256 << 20
    """Bytes of messages that the process may have in hand, received but not yet acknowledged or
    rejected.  The decoded form counts, too, by an estimate.  Beyond it, consumers with many bytes
    in hand take one message at a time."""
    discovery: bool = True
    """Let `postage ps`, `top` and `describe` find the processors: see docs/discovery.md."""
    tls: bool = False
    """Speak TLS, as an ``amqps://`` URL asks for."""
    cacertfile: str = ""
    """A file with the certificates (PEM) of trusted authorities; empty: those of the system."""
    certfile: str = ""
    """The certificate (PEM) of this client, with its chain, for brokers that ask for one."""
    keyfile: str = ""
    """The private key (PEM) of *certfile*; empty: *certfile* contains the key, too."""
    verify: bool = True
    """Refuse a broker if its certificate is not trusted, or names another host."""
    server_name_indication: str = ""
    """The host name that the broker's certificate must contain; empty: *host*."""
    auth_mechanism: str = "PLAIN"
    """``PLAIN``: user and password; ``EXTERNAL``: the broker identifies us by *certfile*."""

    def __post_init__(self) -> None:
        """Raise `SettingsError` for values that can never work."""
        check_values(self, _RULES)
        check_addresses(self.addresses)
        for name in (*_FILES, "server_name_indication"):
            if getattr(self, name) and not self.tls:
                # These settings show that the user wants TLS; without TLS they would be ignored.
                raise SettingsError(f"{name} is for TLS: write amqps://, or set POSTAGE_TLS=1")

    @property
    def addresses(self) -> tuple[Address, ...]:
        """All hosts with their ports, in the order in which they are tried."""
        return ((self.host, self.port), *self.other_hosts)

    @property
    def embedded(self) -> str | None:
        """The name of the broker inside this process; None if the broker is another one."""
        return self.host.removeprefix(EMBEDDED) if self.host.startswith(EMBEDDED) else None

    @classmethod
    def resolve(
        cls, hup: Hup | None = None, vhost: str | None = None, given: Settings | None = None
    ) -> Settings:
        """Return the settings of a component with these arguments (None: not given).

        *given* is its argument ``settings``, and overrides the other two.
        """
        if given is not None and not isinstance(given, cls):
            raise value_error("settings", "an object of the class Settings", given)
        for each in (hup, live.overrides.get("hup")):
            _check_hup(each)
        if live.sandbox is not None:
            vhost = vhost if given is None else given.vhost
            return _shared(replace(live.sandbox, vhost=str(vhost or live.lookup("vhost"))))
        if given is not None:
            return given
        layers = live.layers.now()
        port = _port_of(hup, layers)
        (host, first), *others = addresses(_part_of(hup, "host", layers), port)
        settings = cls(
            host=host,
            port=first,
            other_hosts=tuple(others),
            user=_login_of(hup, "user", layers),
            password=_login_of(hup, "password", layers),
            vhost=_vhost(layers) if vhost is None else vhost,
            tls=_asks_for_tls(layers),
            **_options(layers),
        )
        return _shared(settings)


_DEFAULTS = {
    name: str(getattr(Settings, name)) for name in ("host", "port", "user", "password", "vhost")
}


class LiveSettings:
    """The present values of the classic globals and of the environment."""

    def __init__(self) -> None:
        self.overrides: dict[str, Any] = {}
        """The values that the program has assigned to ``messaging.global_vhost`` and the like."""
        self.layers = Layers((Layer(Source.ENVIRONMENT, os.environ),))
        """The environment variables; a command line adds its options, and a file."""
        self.sandbox: Settings | None = None
        """If set, every component has these settings, with a vhost of its own choice."""

    @property
    def url(self) -> Url:
        """The parts of ``POSTAGE_URL``, or of ``--url``."""
        return self.layers.url().url

    def find(self, name: str, layers: Layers | None = None) -> Found | None:
        """Return what sets *name*, a part of the address or an option; None: it has its default.

        *layers* are those of a moment, for a caller that asks for many settings.
        """
        if name in self.overrides:
            return Found(self.overrides[name], "messaging.global_hup", Source.PROGRAM)
        return (layers or self.layers).find(name)

    def lookup(self, name: str, layers: Layers | None = None) -> str:
        """Return the host, port, user, password or vhost of components that do not name one."""
        if (found := self.find(name, layers)) is not None:
            return found.text
        is_tls = name == "port" and _asks_for_tls(layers or self.layers)
        return TLS_PORT if is_tls else _DEFAULTS[name]

    def origin(self, name: str) -> str:
        """Return what errors call the place where `lookup` finds *name*; empty: a default."""
        if "hup" in self.overrides or name in global_hup.assigned:
            return "messaging.global_hup"
        found = self.find(name)
        return "" if found is None else found.origin

    @property
    def hup(self) -> Hup:
        """The host, user and password of components that do not name them."""
        hup: Hup = self.overrides.get("hup", global_hup)
        return hup

    @property
    def debug_mode(self) -> bool:
        """True if ``POSTAGE_DEBUG_MODE`` is ``true``, in upper or lower case."""
        found = self.layers.variable("POSTAGE_DEBUG_MODE")
        return found is not None and found.text.lower() == "true"


live = LiveSettings()


def origins(settings: Settings, *names: str) -> str:
    """Return what has set these fields of *settings*, as errors call it; empty: only defaults."""
    try:
        usual = Settings.resolve()
    except SettingsError:  # the environment is wrong, so *settings* do not come from there
        usual = None
    if usual is None or any(getattr(usual, name) != getattr(settings, name) for name in names):
        return "the vhost argument" if names == ("vhost",) else "the hup or settings argument"
    return " and ".join(dict.fromkeys(filter(None, map(live.origin, names))))


def enable_debug_log() -> None:
    """In debug mode, let the loggers of Postage log everything that is sent and received.

    If the program has not set up logging, the log goes to stderr, as in classic Postage.
    """
    root = logging.getLogger("postage")
    if not live.debug_mode or root.level == logging.DEBUG:
        return
    root.setLevel(logging.DEBUG)
    if not root.hasHandlers():
        root.addHandler(logging.StreamHandler())


class _GlobalHup(MutableMapping[str, Any]):
    """The classic ``global_hup``: the values assigned to its keys, and otherwise the live ones.

    It has the key ``port`` only if a port was set.
    """

    KEYS = ("host", "user", "password", "port")

    def __init__(self) -> None:
        self._assigned: dict[str, Any] = {}

    @property
    def assigned(self) -> Mapping[str, Any]:
        """The values that the program has assigned."""
        return self._assigned

    def __getitem__(self, key: str) -> Any:
        if key in self._assigned:
            return self._assigned[key]
        if key not in self.KEYS:
            raise KeyError(key)
        value = live.lookup(key)
        if key == "port" and value == _DEFAULTS["port"]:
            raise KeyError(key)
        return value

    def __setitem__(self, key: str, value: Any) -> None:
        # Assigning the live value does not override it, see `_classic`.
        self._assigned.pop(key, None)
        if key not in self.KEYS or value != live.lookup(key):
            self._assigned[key] = value

    def __delitem__(self, key: str) -> None:
        del self._assigned[key]

    def __iter__(self) -> Iterator[str]:
        return (key for key in dict.fromkeys((*self.KEYS, *self._assigned)) if key in self)

    def __len__(self) -> int:
        return len(list(iter(self)))

    def __repr__(self) -> str:
        return repr({**self, "password": "***"})


global_hup = _GlobalHup()


def _classic(name: str) -> property:
    """Return a module attribute that reads the live value; assigning to it overrides that."""

    def read(_module: object) -> Any:
        return live.hup if name == "hup" else live.lookup(name)

    def assign(module: object, value: Any) -> None:
        # Assigning the live value does not override it.  So the global stays live if a test saves
        # and restores it, as pytest's monkeypatch does.
        live.overrides.pop(name, None)
        if value != read(module):
            live.overrides[name] = value

    def discard(_module: object) -> None:
        live.overrides.pop(name, None)

    return property(read, assign, discard, f"The default {name}; see `Settings`.")


class ClassicGlobals(types.ModuleType):
    """A module whose classic globals are live: looked up at each use, overridden by assignment."""

    global_vhost = _classic("vhost")
    global_user = _classic("user")
    global_password = _classic("password")
    global_hup = _classic("hup")


def _check_hup(hup: Any) -> None:
    """Raise `SettingsError` if *hup* is no hup; no error quotes its values, as one is a password.

    Classic Postage needs host, user and password, and ignores other keys.  So these are allowed
    beside all three, and only logged; otherwise one of them is probably misspelt.
    """
    if hup is None:
        return
    if not isinstance(hup, Mapping):
        form = "a dictionary with host, user and password"
        raise SettingsError(f"hup must be {form}, not of the type {type(hup).__name__}")
    unknown = [repr(key)[:50] for key in hup if key not in _GlobalHup.KEYS]
    if unknown:
        text = f"hup has unknown keys, {', '.join(unknown)}: it has {', '.join(_GlobalHup.KEYS)}"
        text += "; vhost is an argument of its own" if "vhost" in hup else ""
        if not {"host", "user", "password"}.issubset(hup):
            raise SettingsError(text)
        _warn_once(text)


@lru_cache(maxsize=64)
def _warn_once(text: str) -> None:
    logger_of(__name__).warning(text)


def _login_of(hup: Hup | None, name: str, layers: Layers) -> Any:
    """Return user or password; a number, as YAML makes it of a password of digits, is a text."""
    part = _part_of(hup, name, layers)
    return str(part) if type(part) is int else part


def _port_of(hup: Hup | None, layers: Layers) -> int:
    """Return the port of components with this *hup*; an error names the place of a wrong one."""
    port = _part_of(hup, "port", layers)
    try:
        return port_number(port, quote=True)
    except SettingsError as exc:
        if hup is not None and "port" in hup:
            raise SettingsError(f"hup: {exc}") from None
        found = live.find("port")
        text = str(exc) if found is None or found.is_quotable else "port must be from 1 to 65535"
        raise SettingsError(f"{live.origin('port')}: {text}") from None


def _vhost(layers: Layers) -> str:
    """Return the vhost of components that do not name one."""
    found = live.find("vhost", layers)
    if found is None:
        return _DEFAULTS["vhost"]
    if not found.is_quotable:
        _check_found("vhost", found, found.text)
    return found.text


def _part_of(hup: Hup | None, name: str, layers: Layers) -> Any:
    """Return host, port, user or password from the first of *hup*, globals and environment.

    Stops there, because an environment variable that is not used must not cause a warning.
    """
    for known in (hup, live.overrides.get("hup", global_hup.assigned)):
        if known is not None and name in known:
            return known[name]
    return live.lookup(name, layers)


def _asks_for_tls(layers: Layers) -> bool:
    """Tell whether the URL or ``POSTAGE_TLS`` asks for TLS."""
    if layers.url().url.scheme == "amqps":
        return True
    found = layers.variable("POSTAGE_TLS")
    return found is not None and truth(found.origin, found.text)


@lru_cache(maxsize=64)
def _shared(settings: Settings) -> Settings:
    """Return the first settings that were equal to these, so that components share one object."""
    return settings


_TRUTHS = {
    **dict.fromkeys(("1", "true", "yes", "on", "verify_peer"), True),
    **dict.fromkeys(("", "0", "false", "no", "off", "verify_none"), False),
}


def truth(name: str, text: str) -> bool:
    """Return the truth that *text*, the value of an option, means; raise `SettingsError`."""
    if text.lower() not in _TRUTHS:
        raise SettingsError(f"{name} must be true or false")
    return _TRUTHS[text.lower()]


# Fields that are not options: the parts and the scheme of a URL.
_NO_OPTION = {*_DEFAULTS, "other_hosts", "tls"}


def _options(layers: Layers) -> dict[str, Any]:
    """Return the options after the ``?`` of the URL, such as ``heartbeat=30``, or in variables."""
    known = {f.name: f.default for f in fields(Settings) if f.name not in _NO_OPTION}
    url, whole, _ = layers.url()
    for name in url.options.keys() - known.keys():
        assert whole is not None
        which = f"unknown option {name!r}" if whole.is_quotable else "unknown option"
        raise SettingsError(f"{whole.origin}: {which}; known: {', '.join(known)}")
    options: dict[str, Any] = {}
    for name, default in known.items():
        if (found := layers.find(name)) is not None:
            options[name] = _typed(found.origin, found.text, default)
            _check_found(name, found, options[name])
    return options


def _check_found(name: str, found: Found, value: object) -> None:
    """Raise `SettingsError` if *value*, which was *found*, cannot be used; quotes no secret."""
    try:
        _RULES[name](found.origin, value)
    except SettingsError:
        if found.is_quotable:
            raise
        raise SettingsError(f"{found.origin}: this is no {name} that can be used") from None


def _typed(source: str, text: str, default: Any) -> Any:
    """Return *text* as a value of the type of *default*; as it is if that is impossible."""
    if isinstance(default, bool):
        return truth(source, text)
    if isinstance(default, str):
        # RabbitMQ's URIs write it in lower case.
        return text.upper() if default == Settings.auth_mechanism else text
    try:
        return type(default)(text)
    except ValueError:
        return text
