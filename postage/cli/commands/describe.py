"""``postage describe``: what an application handles."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import Any

import click

from postage.cli.commands.call import failure
from postage.cli.exits import Code, CommandFailed
from postage.cli.options import Seconds, examples, json_option, url_option
from postage.cli.output import say, say_json, shown

__all__ = ["command", "page"]

TITLES = {"rpc": "Calls", "message": "Messages"}


@click.command(epilog=examples("postage describe monitor", "postage describe 4711.1@myhost --json"))
@click.argument("name")
@url_option
@json_option
@click.option("--wait", type=Seconds(), default=1.0, show_default=True, help="For the answer.")
def command(name: str, *, as_json: bool, wait: float) -> None:
    """Show what a generic application handles, with the docstrings of its handlers, and its queues.

    NAME is any key that reaches it: a name, name@host, pid@host, pid.n@host.  The first answer
    counts.
    """
    from postage.cli.fleet.query import one  # noqa: PLC0415 - `--help` does not wait for gevent

    result = one(name, wait)
    content = result.body["content"]
    if not result:
        raise CommandFailed(failure(content), Code.ERROR_RESULT)
    described = content["value"]
    if as_json or not _is_ours(described):
        say_json(described)
    else:
        say("\n".join(page(described)))


def _is_ours(described: Any) -> bool:
    """Tell whether it is not the answer of some handler of the user's that has the name, too."""
    known = {"fingerprint", "class", "doc", "version", "handlers", "queues"}
    return isinstance(described, dict) and known <= described.keys()


def page(described: dict[str, Any]) -> Iterator[str]:
    """Yield the lines about an application."""
    name = described["fingerprint"]["name"]
    yield shown(f"{name}: {described['class']}, Postage {described['version']}")
    yield from _text(described["doc"], "  ")
    for category, title in TITLES.items():
        yield f"\n{title}"
        for handler in described["handlers"]:
            if handler["category"] == category:
                yield from _handler(handler)
    yield "\nQueues"
    yield from (shown(f"  {each['queue']} by {each['key']}") for each in described["queues"])


def _handler(handler: dict[str, Any]) -> Iterator[str]:
    kind = "" if handler["type"] == "command" else f" ({handler['type']})"
    yield shown(f"  {handler['name'] or '*'}{kind}")
    yield from _text(handler["doc"], "      ")


def _text(doc: str, indent: str) -> Iterator[str]:
    for line in textwrap.dedent(doc).splitlines():
        yield f"{indent}{shown(line)}".rstrip()
