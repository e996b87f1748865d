"""Options that several commands share, the type `Seconds`, and examples for help pages."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import click

from postage.environment import Layer, Layers, Source
from postage.errors import SettingsError
from postage.remote_control import RemoteControl, RemoteRule, check_remote_control
from postage.settings import live
from postage.url import Url

LONGEST = 1_000_000
"""Seconds: more than 11 days, and short enough for every system call that waits."""


LOOPBACK = "127.0.0.1"
EVERYWHERE = "0.0.0.0"  # noqa: S104 - the user asks for it by ":PORT"  # nosec B104
HIGHEST_PORT = 65535


class Seconds(click.ParamType):  # type: ignore[type-arg]  # generic in newer releases only
    """A time in seconds, above 0 and finite."""

    name = "seconds"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return *value* as a float; fail if it is not a number from above 0 to `LONGEST`."""
        try:
            seconds = float(value)
        except ValueError:
            seconds = math.nan
        if not 0 < seconds <= LONGEST:
            self.fail(f"{value!r} is no number of seconds above 0, up to {LONGEST}.", param, ctx)
        return seconds


@dataclass(frozen=True)
class HostPort:
    """Where probes are served or asked."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


class HostPortParam(click.ParamType):  # type: ignore[type-arg]  # as above
    """``PORT`` of this machine's own address, ``HOST:PORT``, or ``:PORT`` of all addresses."""

    name = "[HOST:]PORT"

    def __init__(self, lowest: int) -> None:
        self._lowest = lowest

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> HostPort:
        """Return *value* as a `HostPort`; fail if its port is not from the lowest to 65535."""
        host, colon, port = str(value).rpartition(":")
        in_brackets = host.startswith("[") and host.endswith("]")
        is_number = port.isascii() and port.isdigit() and len(port) <= len(str(HIGHEST_PORT))
        if not (is_number and self._lowest <= int(port) <= HIGHEST_PORT):
            text = f"{value!r} does not end with a port from {self._lowest} to {HIGHEST_PORT}."
            self.fail(text, param, ctx)
        if "/" in host or (":" in host and not in_brackets):
            self.fail(f"{value!r} is no HOST:PORT; IPv6 is written [::1]:8086.", param, ctx)
        host = host[1:-1] if in_brackets else host
        return HostPort(host or (EVERYWHERE if colon else LOOPBACK), int(port))


class RemoteRuleParam(click.ParamType):  # type: ignore[type-arg]  # as above
    """A rule of remote control: a word, or users separated by commas."""

    name = "RULE"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> RemoteRule:
        """Return *value* as ``remote_control`` takes it; fail if it is no rule."""
        text = str(value)
        words = [each.value for each in RemoteControl]
        rule: RemoteRule = text if text in words else text.split(",")
        try:
            check_remote_control("the rule", rule)
        except SettingsError as exc:
            self.fail(str(exc), param, ctx)
        return rule


def _use_url(ctx: click.Context, _param: click.Parameter, value: str | None) -> None:
    if value is not None:
        Url.parse(value, "--url")
        set_defaults(ctx, {"POSTAGE_URL": value}, {"POSTAGE_URL": "--url"})


def set_defaults(
    ctx: click.Context, variables: Mapping[str, str], names: Mapping[str, str] | None = None
) -> None:
    """Let *variables* beat the environment variables of the same names, until *ctx* is closed.

    Components of the user's own code see them, because they look up what no argument names.  The
    environment of the process, which its children inherit, stays as it is.  Errors call the
    variables by *names*.
    """
    use_layers(ctx, live.layers.above(Layer(Source.COMMAND_LINE, variables, names or {})))


def use_layers(ctx: click.Context, layers: Layers) -> None:
    """Let settings come from *layers* until *ctx* is closed."""
    before, live.layers = live.layers, layers
    ctx.call_on_close(lambda: setattr(live, "layers", before))


url_option = click.option(
    "--url",
    metavar="URL",
    expose_value=False,
    callback=_use_url,
    help="The broker, as amqp://user:password@host:port/vhost; beats POSTAGE_URL.",
)
"""Adds ``--url``: the broker of every component that does not name one itself."""

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
"""Adds ``--json``, the argument *as_json*."""


no_color_option = click.option(
    "--no-color", is_flag=True, help="Use no colours; they need a terminal, without NO_COLOR."
)
"""Adds ``--no-color``, the argument *no_color*."""


def seconds_option(flag: str, default: float, text: str) -> Callable[[Any], Any]:
    """Return a decorator that adds the option *flag*, a time in seconds, with the help *text*."""
    return click.option(flag, type=Seconds(), default=default, show_default=True, help=text)


def examples(*lines: str) -> str:
    """Return *lines* as the end of a help page, each on a line of its own."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)
