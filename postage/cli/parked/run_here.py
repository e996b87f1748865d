"""``postage dlq run``: the handler of one message that failed, in this process."""

from __future__ import annotations

import contextlib
import logging
import pdb  # noqa: T100 - the user asks for it
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from postage.cli.exits import Code, CommandFailed, print_error
from postage.cli.options import examples
from postage.cli.output import print_json, print_text
from postage.cli.parked.pages import parked_arguments
from postage.cli.running.targets import Target, make_components, prepare_imports
from postage.foreign_text import one_line, traceback_text

if TYPE_CHECKING:
    from postage.around import Handled
    from postage.green import MessageProcessor
    from postage.parking import FailedMessage


@click.command(
    epilog=examples(
        "postage dlq run orders 81d0 shop.orders:Orders",
        "postage dlq run orders 1 shop.orders --pdb",
    )
)
@parked_arguments
@click.argument("id")
@click.argument("target", metavar="MODULE[:NAME]", type=Target.parse)
@click.option("--pdb", "debug", is_flag=True, help="Enter the debugger where the handler failed.")
@click.option(
    "--live",
    is_flag=True,
    help="Make the processor on the broker, as `postage run` does, so that what its handlers send "
    "is sent.  Without it, that goes nowhere.",
)
def command(  # noqa: PLR0913 - its options
    *,
    queue: str,
    id: str,  # noqa: A002 - what it is
    target: Target,
    debug: bool,
    live: bool,
    anyway: bool,
) -> None:
    """Run the handlers for one message of QUEUE in this process; the broker keeps the message.

    ID is the id of a message, the beginning of one, or the number of its place in the queue.  NAME
    is a processor class, or a function that makes a processor; without NAME it is the class in
    MODULE in which the message failed, or the only one.  Without --live, messages that handlers
    send go nowhere; everything else that handlers do is real.  Exit code 4: a handler failed, or
    none takes the message.
    """
    prepare_imports()
    from postage.green import close  # noqa: PLC0415 - after patching
    from postage.parking import find  # noqa: PLC0415 - as above
    from postage.testing.sandbox import sandbox  # noqa: PLC0415 - as above

    message = find(queue, id, anyway=anyway)
    close()  # a debugger would let the connection starve
    if message.dossier.why == "poisonous":
        print_error("Note: the message was never settled: its handler may kill this process.")
    with contextlib.nullcontext() if live else sandbox():
        handled = _handled(message, _made(target, message.dossier.processor), debug=debug)
    if not handled.handlers:
        name = one_line(message.name) or "without a name"
        raise CommandFailed(f"no handler takes the message {name}", Code.ERROR_RESULT)
    print_text(f"handled by {handled.handlers} handler{'s' * (handled.handlers > 1)}")
    if handled.result is not None:
        print_json(handled.result.body["content"])


def _made(target: Target, told: str) -> MessageProcessor:
    """Return the processor for messages that failed in the class *told*; raises `CommandFailed`."""
    from postage.cli.parked.processor_for import processor_for  # noqa: PLC0415 - after patching
    from postage.green import MessageProcessor  # noqa: PLC0415 - as above

    name, source = processor_for(target, told)
    made = [each for each in make_components(source, target) if isinstance(each, MessageProcessor)]
    if len(made) > 1:
        made = [each for each in made if type(each).__qualname__ == told]
    if len(made) != 1:
        raise CommandFailed(f"{target.module}:{name} does not make one processor: name a class")
    return made[0]


def _handled(message: FailedMessage, processor: MessageProcessor, *, debug: bool) -> Handled:
    """Let *processor* handle *message*; if it fails, show where and raise `CommandFailed`."""
    from postage.cli.parked.as_it_failed import AsItFailed  # noqa: PLC0415 - after patching
    from postage.green.handling.without_broker import users_part  # noqa: PLC0415 - as above
    from postage.testing import handle  # noqa: PLC0415 - as above

    then = AsItFailed.of(message)
    try:
        with _without_log_of_dispatch():
            return handle(
                processor,
                then.body,
                properties=then.properties,
                headers=then.headers,
                queue=then.queue,
                exchange=then.exchange,
                routing_key=then.routing_key,
            )
    except KeyboardInterrupt:
        raise
    except BaseException as exc:  # a handler may raise anything
        error = exc
    error.__traceback__ = users_part(error.__traceback__)
    print_error(traceback_text(error))
    if debug:
        pdb.post_mortem(error.__traceback__)
    text = f"the handler failed: {type(error).__name__}: {one_line(error)}"
    raise CommandFailed(text, Code.ERROR_RESULT) from None


@contextlib.contextmanager
def _without_log_of_dispatch() -> Iterator[None]:
    """Print no record of the failure, unless the user's code has set up logging: we print it."""
    log, handler = logging.getLogger("postage.dispatch"), logging.NullHandler()
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)
