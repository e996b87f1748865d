"""Remote commands to generic applications, and what has become of them."""

from __future__ import annotations

import enum

from postage.cli.exits import Code, CommandFailed
from postage.cli.fleet.descriptions import Description, row
from postage.cli.fleet.query import everybody, remote_to
from postage.cli.output import print_json, print_text, table
from postage.errors import NoRoute, SettingsError

COLUMNS = ("NAME", "KEY", "STATE")
PAUSED = "paused"


class PauseCommand(enum.Enum):
    """The remote commands that change whether applications take messages."""

    PAUSE = "pause_consuming"
    RESUME = "resume_consuming"

    def was_obeyed(self, application: Description) -> bool:
        """Tell whether *application* is in the state that this command asks for."""
        return (_state(application) == PAUSED) is (self is PauseCommand.PAUSE)


def tell_all(target: str, command: PauseCommand, wait: float, *, as_json: bool) -> None:
    """Send *command* to the applications behind *target*, and print which answer within *wait*.

    Raises `CommandFailed` if none answers, or if one has not obeyed, and `SettingsError` for a key
    that reaches only one of them.  Switches.
    """
    _send(target, command)
    # Only applications listen to commands that are sent to such keys.
    kinds = {"application", None}
    found = [each for each in everybody(target, wait) if each.get("kind") in kinds]
    if as_json:
        print_json(found)
    else:
        print_text("\n".join(table(COLUMNS, [(*row(each)[:2], _state(each)) for each in found])))
    if not found:
        raise CommandFailed("the command is sent, but nobody has answered", Code.ERROR_RESULT)
    if not all(map(command.was_obeyed, found)):
        text = "some did not obey: see their logs, and their remote_control"
        raise CommandFailed(text, Code.ERROR_RESULT)


def _send(target: str, command: PauseCommand) -> None:
    if target.endswith("/rr"):
        raise SettingsError(
            f"the key {target!r} reaches one application, and nobody knows which: write "
            f"{target.removesuffix('/rr')!r}, or the pid@host of one"
        )
    remote = remote_to(target)
    if remote is None:
        raise CommandFailed("no generic application has run here yet", Code.ERROR_RESULT)
    remote.mandatory = True
    try:
        remote.message_command(command.value, None)
    except NoRoute:
        text = f"no generic application listens to the key {target!r}"
        raise CommandFailed(text, Code.ERROR_RESULT) from None


def _state(description: Description) -> str:
    statistics = description.get("statistics")
    state = statistics.get("state") if isinstance(statistics, dict) else None
    return state if isinstance(state, str) else "-"
