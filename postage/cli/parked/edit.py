"""``postage dlq edit``: another body for a message that failed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from postage.cli.exits import Code, CommandFailed, print_error
from postage.cli.options import examples
from postage.cli.output import print_text, reads_terminal, sanitized
from postage.cli.parked.editable import Editable, EditRefused
from postage.cli.parked.editor import EditedFile
from postage.cli.parked.pages import parked_arguments
from postage.errors import PostageError

if TYPE_CHECKING:
    from postage.parking import FailedMessage


@click.command(
    epilog=examples(
        "postage dlq edit orders 81d0", "EDITOR='code --wait' postage dlq edit orders 1"
    )
)
@parked_arguments
@click.argument("id")
def command(*, queue: str, id: str, anyway: bool) -> None:  # noqa: A002 - what it is
    """Edit the body of one message of QUEUE in $VISUAL or $EDITOR, and keep the old one.

    ID is the id of a message, the beginning of one, or the number of its place in the queue.  A
    body in JSON is edited as JSON, another one as text or base64.  The properties and headers of
    the message stay as they are.  The new version becomes the last message of QUEUE, and the old
    one goes to the queue QUEUE.edited.  The message stays as it is if you do not change the text,
    or if the editor fails (:cq in vi).  Exit code 4: the editor failed, or its text cannot be sent.
    """
    from postage.green import close  # noqa: PLC0415 - `--help` does not wait for gevent
    from postage.parking import find  # noqa: PLC0415 - as above

    message = find(queue, id, anyway=anyway)
    if message.damaged:
        raise CommandFailed(f"its properties cannot be copied: {message.damaged}")
    close()  # the connection would not live as long as an editor
    editable = Editable.of(message.body)
    with EditedFile(editable.text, editable.form.value) as file:
        body = edited(editable, file)
        if body is None:
            print_text("nothing is changed (an editor with a window must be told to wait)")
            return
        try:
            replaced(queue, message, body, anyway=anyway)
        except PostageError:
            file.kept = True
            print_error(f"The edited text is still in {file.path}.")
            raise


def edited(editable: Editable, file: EditedFile) -> bytes | None:
    """Let the user edit until the text can be sent; return the body, or None if it is the same.

    Raises `CommandFailed` if the user gives up, or if the editor fails.  Blocks the thread.
    """
    while True:
        text = file.edit()
        try:
            return editable.body_from(text)
        except EditRefused as exc:
            problem = f"this cannot be sent: {sanitized(exc)}"
        if not reads_terminal():
            raise CommandFailed(f"{problem}; nothing is changed", Code.ERROR_RESULT)
        print_error(problem)
        if not click.confirm("Edit again?", default=True, err=True):
            raise CommandFailed("nothing is changed", Code.ERROR_RESULT)


def replaced(queue: str, message: FailedMessage, body: bytes, *, anyway: bool) -> None:
    """Give *message* another *body*, keep the old version, and print where both are; switches."""
    from postage.parking import replace  # noqa: PLC0415 - as in `command`
    from postage.parking.versions import queue_of_versions  # noqa: PLC0415 - as above

    kept_in = queue_of_versions(queue)
    new = replace(queue, message.id, body, kept_in=kept_in, anyway=anyway)
    print_text(f"{new} is the new version, the last in {sanitized(queue)}")
    print_text(f"the old version {message.id} is in {sanitized(kept_in)}")
