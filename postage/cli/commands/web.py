"""``postage web``: the console in the browser."""

from __future__ import annotations

import importlib.util

import click

from postage.cli.exits import ExtraMissing
from postage.cli.options import examples, seconds_option, url_option
from postage.errors import SettingsError


@click.command(
    epilog=examples(
        "postage web                        look at the system, on this machine",
        "postage web --write                replay messages and try handlers, too",
        "postage web --host 0.0.0.0 --allow-host console.example.org",
        "postage web --json | jq '.edges'   the same map as JSON, once",
    )
)
@url_option
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8088,
    show_default=True,
    help="The port of the page; 0: any free one.",
)
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="The address to serve at.  Beyond this machine, each browser must give the token.",
)
@click.option(
    "--allow-host",
    "names",
    multiple=True,
    metavar="NAME",
    help="A name by which browsers may ask for the page; may be given several times.",
)
@click.option("--write", is_flag=True, help="Let those who have the token replay, send and call.")
@seconds_option("--interval", 2.0, "The time between two questions to all processes.")
@click.option("--json", "as_json", is_flag=True, help="Print the map once, as JSON.")
def command(  # noqa: PLR0913 - its options
    *, port: int, host: str, names: tuple[str, ...], write: bool, interval: float, as_json: bool
) -> None:
    """Show who calls whom, what fails and what waits, live in a browser.

    It learns from what running processes answer, so it needs no agent, and nothing on the broker.
    Without --write it changes nothing.  A token is made at the start and printed with the address;
    POSTAGE_WEB_TOKEN sets another one.
    """
    if importlib.util.find_spec("flask") is None:
        raise ExtraMissing("`postage web`", "Flask", "web")
    from postage.cli.console.web_server import (  # noqa: PLC0415 - `--help` needs no gevent
        Options,
        print_state,
        serve,
    )

    if as_json:
        print_state(interval)
        return
    if not host:
        raise SettingsError("--host must be an address")
    serve(Options(host, port, names, write=write, interval=interval))
