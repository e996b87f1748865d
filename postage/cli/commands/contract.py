"""``postage contract``: what services take, answer and publish, and whether a change breaks it."""

from __future__ import annotations

import click

from postage.cli.exits import Code, CommandFailed
from postage.cli.options import examples, json_option, seconds_option, url_option
from postage.cli.output import print_json, print_text
from postage.cli.running.targets import Target, prepare_imports

TARGETS = click.argument("targets", nargs=-1, type=Target.parse, metavar="MODULE[:NAME]...")


@click.group(
    epilog=examples(
        "postage contract export shop.stock > stock.json",
        "postage contract check stock.json shop.stock       does a change break a caller?",
        "postage contract stubs stock.json > stubs.py       interfaces for clients",
        "postage contract html stock.json > stock.html      a page for readers",
    )
)
def command() -> None:
    """Write the contracts of services, and check changes of them."""


@command.command(
    epilog=examples(
        "postage contract export shop.stock:Stock --yaml > stock.yaml",
        "postage contract export --from shop stock > stock.json",
    )
)
@TARGETS
@click.option("--yaml", "as_yaml", is_flag=True, help="Write YAML; needs the extra yaml.")
@click.option("--title", default="", help="The title of the document; by default the targets.")
@click.option(
    "--version", default="", help="The version of your program; by default its __version__."
)
@click.option(
    "--from",
    "place",
    nargs=2,
    metavar="EXCHANGE KEY",
    help="Ask a running service, in place of a module.",
)
@url_option
@seconds_option("--wait", 1.0, "How long the answer of a running service may take.")
def export(  # noqa: PLR0913 - the options of the command
    targets: tuple[Target, ...],
    *,
    place: tuple[str, str] | None,
    wait: float,
    as_yaml: bool,
    title: str,
    version: str,
) -> None:
    """Write what the services of modules take, answer and publish, as AsyncAPI 3.0.

    Modules are imported, and your broker is not contacted.  Of classic handlers only names, kinds
    and docstrings are known.  With --from, a running service tells its contract.
    """
    if bool(place) == bool(targets):
        raise CommandFailed("give MODULE[:NAME]..., or --from EXCHANGE KEY")
    prepare_imports()
    from postage.cli.checking import contracts  # noqa: PLC0415 - after patching

    if place:
        contracts.print_contract(contracts.contract_told(*place, wait=wait), as_yaml=as_yaml)
        return
    document = contracts.contract_of(targets, title=title, version=version)
    contracts.print_contract(document, as_yaml=as_yaml)


@command.command(epilog=examples("postage contract check stock.json shop.stock"))
@click.argument("old")
@click.argument("new")
@json_option
def check(old: str, new: str, *, as_json: bool) -> None:
    """Name the changes from OLD to NEW that break a peer which knows only OLD.

    OLD and NEW are files of `contract export`, - for stdin, or MODULE[:NAME].  What a service takes
    may become wider; results and published events may become narrower.  Exit code 4: there are
    breaking changes.
    """
    if old == new == "-":
        raise CommandFailed("OLD and NEW are both stdin, which has one contract: name a file")
    prepare_imports()
    from postage.cli.checking.contracts import contract_from  # noqa: PLC0415 - after patching
    from postage.services.contract.changes import breaking_changes  # noqa: PLC0415 - as above

    before, after = contract_from(old), contract_from(new)
    changes = breaking_changes(before, after)
    if as_json:
        print_json([each._asdict() for each in changes])
    else:
        lines = [f"{each.where}: {each.text}" for each in changes]
        print_text("\n".join(lines or ["No breaking change was found."]))
    if changes:
        count = len(changes)
        raise CommandFailed(f"{count} breaking change{'s' * (count > 1)}", Code.ERROR_RESULT)


@command.command(epilog=examples("postage contract stubs stock.json > stock_client.py"))
@click.argument("source")
def stubs(source: str) -> None:
    """Write a Python module with the interfaces of SOURCE, by which clients call its services.

    SOURCE is a file of `contract export`, - for stdin, or MODULE[:NAME].  The module needs postage
    and msgspec, and not the code of the services.
    """
    prepare_imports()
    from postage.cli.checking.contracts import stubs_from  # noqa: PLC0415 - after patching

    # Letters that the encoding of stdout lacks are in texts only, where Python knows the escapes.
    print_text(stubs_from(source).rstrip())


@command.command(epilog=examples("postage contract html stock.json > stock.html"))
@click.argument("source")
def html(source: str) -> None:
    """Write the contract SOURCE as one page of HTML, which loads nothing.

    SOURCE is a file of `contract export`, - for stdin, or MODULE[:NAME].
    """
    prepare_imports()
    from postage.cli.checking.contracts import contract_from  # noqa: PLC0415 - after patching
    from postage.services.contract.html_page import html_of  # noqa: PLC0415 - as above

    print_text(html_of(contract_from(source)))
