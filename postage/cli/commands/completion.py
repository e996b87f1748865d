"""``postage completion``: what makes a shell complete our commands."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from postage.cli.output import say

__all__ = ["command"]

SHELLS = ("bash", "zsh", "fish")


@click.command(
    epilog="\b\nWhere the script goes:\n"
    '  bash   eval "$(postage completion bash)"      in ~/.bashrc\n'
    '  zsh    eval "$(postage completion zsh)"       in ~/.zshrc\n'
    "  fish   postage completion fish > ~/.config/fish/completions/postage.fish"
)
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def command(ctx: click.Context, shell: str) -> None:
    """Print the script that makes SHELL complete commands and options of postage."""
    kind = get_completion_class(shell)
    assert kind is not None, shell
    say(kind(ctx.find_root().command, {}, "postage", "_POSTAGE_COMPLETE").source())
