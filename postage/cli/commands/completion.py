"""``postage completion``: shell completion of commands and options."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from postage.cli.output import print_text


@click.command(
    epilog="\b\nWhere to put the script:\n"
    '  bash   eval "$(postage completion bash)"      in ~/.bashrc\n'
    '  zsh    eval "$(postage completion zsh)"       in ~/.zshrc\n'
    "  fish   postage completion fish > ~/.config/fish/completions/postage.fish"
)
@click.argument("shell", type=click.Choice(("bash", "zsh", "fish")))
@click.pass_context
def command(ctx: click.Context, shell: str) -> None:
    """Print the script that makes SHELL complete the commands and options of postage."""
    completion = get_completion_class(shell)
    assert completion is not None, shell
    print_text(completion(ctx.find_root().command, {}, "postage", "_POSTAGE_COMPLETE").source())
