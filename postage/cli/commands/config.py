"""``postage config``: what ``postage run`` would use here, and what says so."""

from __future__ import annotations

import click

from postage.cli.commands import run
from postage.cli.options import examples, json_option
from postage.cli.output import print_json, print_text, table
from postage.cli.running.config_values import values_of

CONFIG = click.option(
    "--config", metavar="FILE", help="The configuration file, as `postage run` takes it."
)


@click.group(
    epilog=examples(
        "postage config show                        what `postage run` would use here",
        "postage config show --config shop.toml     with this file",
        "postage config show --json                 for programs",
    )
)
def command() -> None:
    """Show the settings of `postage run`, and what has set them."""


@command.command(epilog=examples("postage config show --config shop.toml --json"))
@CONFIG
@json_option
def show(config: str | None, *, as_json: bool) -> None:
    """Show each value that `postage run` would use here, and what sets it.

    That is an environment variable, a key of the configuration file, or the default.  Passwords are
    masked.  No broker is contacted, and no module is imported.
    """
    file, values = values_of(run.command, config)
    if as_json:
        keys = ("value", "source", "origin")
        shown = {
            each.key: dict(zip(keys, (each.value, each.source.value, each.origin), strict=True))
            for each in values
        }
        print_json({"file": file, "values": shown})
        return
    rows = [(each.key, each.text, each.origin or "default") for each in values]
    for line in table(("KEY", "VALUE", "SET BY"), rows):
        print_text(line)
