"""``postage dlq export``: a message that failed, as a test for pytest."""

from __future__ import annotations

import contextlib
import keyword
import sys
from pathlib import Path
from typing import Any

import click

from postage.cli.exits import Code, CommandFailed
from postage.cli.options import examples
from postage.cli.output import print_text
from postage.cli.parked.pages import parked_arguments
from postage.cli.running.targets import Target, prepare_imports
from postage.encoding import JsonEncoder


@click.command(
    epilog=examples(
        "postage dlq export orders 81d0 shop.orders:Orders -o tests/test_bolts.py",
        "postage dlq export orders 1 shop.orders",
    )
)
@parked_arguments
@click.argument("id")
@click.argument("target", metavar="MODULE[:NAME]", type=Target.parse)
@click.option("-o", "--output", type=Path, metavar="FILE", help="Write to this new file.")
def command(
    *,
    queue: str,
    id: str,  # noqa: A002 - what it is
    target: Target,
    output: Path | None,
    anyway: bool,
) -> None:
    """Write a test that lets a processor handle one message of QUEUE, and fails as the message did.

    ID is the id of a message, the beginning of one, or the number of its place in the queue.  NAME
    is a processor class, or a function that makes a processor; without NAME it is the class in
    MODULE in which the message failed, or the only one.  The test needs Postage and pytest, and no
    broker.
    """
    prepare_imports()
    from postage.cli.parked.processor_for import processor_for  # noqa: PLC0415 - after patching
    from postage.cli.parked.pytest_file import pytest_file  # noqa: PLC0415 - as above
    from postage.parking import find  # noqa: PLC0415 - as above
    from postage.testing.sandbox import sandbox  # noqa: PLC0415 - as above

    message = find(queue, id, anyway=anyway)
    # A module may connect and print when it is imported.
    with sandbox(), contextlib.redirect_stdout(sys.stderr):
        name, processor = processor_for(target, message.dossier.processor)
    words = (*target.module.split("."), *name.split("."))
    if not all(word.isidentifier() and not keyword.iskeyword(word) for word in words):
        raise CommandFailed(f"{target.module}:{name} cannot be imported by a name")
    text = pytest_file(message, target.module, name, as_json=_takes_json(processor))
    if output is None:
        print_text(text.rstrip("\n"))
    else:
        _write(output, text)


def _takes_json(processor: Any) -> bool:
    """Tell whether bodies of *processor* are JSON; so are those of what a function makes."""
    consumer = getattr(processor, "consumer_class", None)
    return getattr(consumer, "encoder_class", JsonEncoder) is JsonEncoder


def _write(path: Path, text: str) -> None:
    """Write *text* to a new file; an old one may have been edited."""
    try:
        file = path.open("x", encoding="utf-8", newline="\n")
    except FileExistsError:
        raise CommandFailed(f"{path} exists: choose another name, or delete it") from None
    except OSError as exc:
        raise CommandFailed(f"cannot write {path}: {exc.strerror}") from None
    try:
        with file:
            file.write(text)
    except OSError as exc:
        path.unlink()
        raise CommandFailed(f"cannot write {path}: {exc.strerror}", Code.UNHANDLED) from None
