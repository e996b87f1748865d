"""Where the broker is and how patient we are: one frozen `Settings`, passed down.

An argument beats the class attribute, that beats the classic globals (``messaging.global_hup``...),
those beat the environment, and that beats the defaults.  Everything is looked up when it is used.
"""

from __future__ import annotations

import os
import types
import urllib.parse
import warnings
from collections.abc import Iterator, Mapping, MutableMapping
from dataclasses import dataclass, field, fields
from typing import Any

from postage.errors import SettingsError

__all__ = ["ClassicGlobals", "Hup", "Settings", "live"]

Hup = Mapping[str, Any]
"""Host, user, password as a dictionary, with the optional key ``port``."""

EMBEDDED = "embedded://"
"""How a host begins which is no host, but the name of a broker inside this process."""

_DEPRECATED = {"POSTAGE_USER": "POSTAGE_RMQ_USER", "POSTAGE_PASSWORD": "POSTAGE_RMQ_PASSWORD"}
_DEFAULTS = {
    "host": "localhost",
    "port": "5672",
    "user": "guest",
    "password": "guest",
    "vhost": "/",
}


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How to reach the broker.  Durations are seconds; the password never shows in ``repr``."""

    host: str = "localhost"
    """A host, or ``embedded://name``: the broker of that name inside this process."""
    port: int = 5672
    user: str = "guest"
    password: str = field(default="guest", repr=False)
    vhost: str = "/"
    heartbeat: int = 60
    """Agreed with the broker; a handler that computes longer than this loses the connection."""
    connect_timeout: float = 10.0
    """How long connecting may take, from the look-up of the host to the opened virtual host."""
    operation_timeout: float = 30.0
    """How long to wait for the broker's answer to a declare, bind, consume and the like."""
    plain_pika: bool = False
    """Use pika's own codec for everything, not the hot path of ours."""

    def __post_init__(self) -> None:
        """Refuse what can never work, before anything connects."""
        if not 0 < self.port < 65536:  # noqa: PLR2004 - the ports that TCP has
            raise SettingsError(f"port must be from 1 to 65535, not {self.port!r}")
        for name in ("heartbeat", "connect_timeout", "operation_timeout"):
            if getattr(self, name) <= 0:
                raise SettingsError(f"{name} must be > 0 seconds, not {getattr(self, name)!r}")

    @property
    def embedded(self) -> str | None:
        """The name of the broker inside this process, or None where it is another one."""
        inside = self.host.startswith(EMBEDDED)
        return self.host.removeprefix(EMBEDDED) if inside else None

    @classmethod
    def resolve(cls, hup: Hup | None = None, vhost: str | None = None) -> Settings:
        """Return the settings for a component with these arguments (None: not given)."""
        return cls(
            host=str(_part_of(hup, "host")),
            port=_port(_part_of(hup, "port")),
            user=str(_part_of(hup, "user")),
            password=str(_part_of(hup, "password")),
            vhost=str(live.vhost if vhost is None else vhost),
            plain_pika=os.environ.get("POSTAGE_PLAIN_PIKA", "") == "1",
            **_options_of(os.environ.get("POSTAGE_URL", "")),
        )


class LiveSettings:
    """What the classic globals and the environment say right now.

    *overrides* is what a program assigned to ``messaging.global_vhost`` and its kin.
    """

    def __init__(self) -> None:
        self.overrides: dict[str, Any] = {}

    def lookup(self, name: str) -> str:
        """Return one of host, port, user, password, vhost, as text."""
        if name in self.overrides:
            return str(self.overrides[name])
        from_url = _parts_of(os.environ.get("POSTAGE_URL", "")).get(name)
        if from_url is not None:
            return from_url
        return _environment(f"POSTAGE_{name.upper()}", _DEFAULTS[name])

    @property
    def vhost(self) -> str:
        """The virtual host of components that name none."""
        return self.lookup("vhost")

    @property
    def hup(self) -> Hup:
        """The host, user and password of components that name none."""
        hup: Hup = self.overrides.get("hup", global_hup)
        return hup

    @property
    def debug_mode(self) -> bool:
        """True when ``POSTAGE_DEBUG_MODE`` is ``true``, in any case."""
        return os.environ.get("POSTAGE_DEBUG_MODE", "").lower() == "true"


live = LiveSettings()


class _GlobalHup(MutableMapping[str, Any]):
    """The classic ``global_hup``: what was assigned to its keys, over what is live.

    It has a ``port`` only where a port was set.
    """

    KEYS = ("host", "user", "password", "port")

    def __init__(self) -> None:
        self._assigned: dict[str, Any] = {}

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
        # As with the other globals: restoring what was saved leaves it live.
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
    """Return a module attribute that reads what is live and, assigned, overrides it."""

    def read(_module: object) -> Any:
        return live.hup if name == "hup" else live.lookup(name)

    def assign(module: object, value: Any) -> None:
        # What is live anyway is no override: who saves and restores it (pytest's monkeypatch does)
        # leaves it live.
        live.overrides.pop(name, None)
        if value != read(module):
            live.overrides[name] = value

    def forget(_module: object) -> None:
        live.overrides.pop(name, None)

    return property(read, assign, forget, f"The default {name}; see `Settings`.")


class ClassicGlobals(types.ModuleType):
    """A module whose classic globals are live: read when used, honoured when assigned."""

    global_vhost = _classic("vhost")
    global_user = _classic("user")
    global_password = _classic("password")
    global_hup = _classic("hup")


def _part_of(hup: Hup | None, name: str) -> Any:
    """Return host, port, user or password from the first that names it: *hup*, globals, the rest.

    Whoever comes later is not even asked, so that nothing warns of what is not used.
    """
    for known in (hup, live.hup):
        if known is not None and name in known:
            return known[name]
    return live.lookup(name)


def _environment(name: str, default: str) -> str:
    if name in os.environ:
        return os.environ[name]
    old = _DEPRECATED.get(name, "")
    if old not in os.environ:
        return default
    warnings.warn(f"{old} is deprecated, set {name} instead", DeprecationWarning, stacklevel=3)
    return os.environ[old]


def _port(text: Any) -> int:
    try:
        return int(text)
    except (TypeError, ValueError):
        raise SettingsError(f"port must be a number, not {text!r}") from None


def _parts_of(url: str) -> dict[str, str]:
    """Return the parts that an ``amqp://`` URL names (https://www.rabbitmq.com/docs/uri-spec)."""
    if not url:
        return {}
    parsed = urllib.parse.urlsplit(url)
    if parsed.scheme == "embedded":
        return _embedded_parts(parsed)
    if parsed.scheme != "amqp":
        raise SettingsError(
            f"POSTAGE_URL must begin with amqp:// or embedded://, not {parsed.scheme or '?'}://"
        )
    try:
        port = parsed.port
    except ValueError:
        raise SettingsError("POSTAGE_URL: the port must be a number up to 65535") from None
    parts = {
        "host": parsed.hostname,
        "port": str(port) if port else None,
        "user": parsed.username,
        "password": parsed.password,
        "vhost": parsed.path[1:] or None,
    }
    return {name: urllib.parse.unquote(part) for name, part in parts.items() if part is not None}


def _embedded_parts(parsed: urllib.parse.SplitResult) -> dict[str, str]:
    """Return the parts of ``embedded://name/vhost``; what the broker is called stands as host."""
    if parsed.username is not None or ":" in parsed.netloc:
        raise SettingsError("POSTAGE_URL: embedded:// takes a name and a vhost, no user or port")
    parts = {"host": EMBEDDED + urllib.parse.unquote(parsed.netloc)}
    if parsed.path[1:]:
        parts["vhost"] = urllib.parse.unquote(parsed.path[1:])
    return parts


def _options_of(url: str) -> dict[str, Any]:
    """Return the durations after the ``?`` of the URL, such as ``heartbeat=30``."""
    kinds = {f.name: f.default for f in fields(Settings) if isinstance(f.default, (int, float))}
    known = {name: type(kind) for name, kind in kinds.items() if name not in ("port", "plain_pika")}
    options = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(url).query))
    for name in options.keys() - known.keys():
        raise SettingsError(f"POSTAGE_URL: unknown option {name!r}; known: {', '.join(known)}")
    try:
        return {name: known[name](text) for name, text in options.items()}
    except ValueError as exc:
        raise SettingsError(f"POSTAGE_URL: {exc}") from None
