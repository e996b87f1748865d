"""Options that several commands share, the type `Seconds`, and examples for help pages."""

from __future__ import annotations

import math
from collections import ChainMap
from collections.abc import Callable
from typing import Any

import click

from postage.settings import live
from postage.url import Url

LONGEST = 1_000_000
"""Seconds: more than 11 days, and short enough for every system call that waits."""


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


def _use_url(ctx: click.Context, _param: click.Parameter, value: str | None) -> None:
    if value is not None:
        Url.parse(value, "--url")
        set_defaults(ctx, {"POSTAGE_URL": value})
        before, live.url_source = live.url_source, "--url"
        ctx.call_on_close(lambda: setattr(live, "url_source", before))


def set_defaults(ctx: click.Context, variables: dict[str, str]) -> None:
    """Let *variables* beat the environment variables of the same names, until *ctx* is closed.

    Components of the user's own code see them, because they look up what no argument names.  The
    environment of the process, which its children inherit, stays as it is.
    """
    before = live.environment
    live.environment = ChainMap(variables, before)  # type: ignore[arg-type]  # only read
    ctx.call_on_close(lambda: setattr(live, "environment", before))


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


def seconds_option(flag: str, default: float, text: str) -> Callable[[Any], Any]:
    """Return a decorator that adds the option *flag*, a time in seconds, with the help *text*."""
    return click.option(flag, type=Seconds(), default=default, show_default=True, help=text)


def examples(*lines: str) -> str:
    """Return *lines* as the end of a help page, each on a line of its own."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)
