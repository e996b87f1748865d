"""The command ``postage`` itself: help, completion, exit codes, and an install without click."""

from __future__ import annotations

import os
import resource
import shutil

import pytest

from postage.cli.commands import COMMANDS
from postage.cli.exits import CODES, Code, CommandFailed, exit_codes, install_line, print_error
from postage.cli.running.broker_program import HELP
from postage.errors import (
    BrokerUnreachable,
    ChannelRefused,
    ConsumerCancelled,
    GaveUp,
    LookRefused,
    OperationTimeout,
    PostageError,
    PublishFailed,
    SettingsError,
)
from tests.cli.support import in_process, postage
from tests.support.programs import ROOT, run_program

MEANINGS: dict[Code, str] = {
    Code.CLEAN: "success, or stopped as requested",
    Code.UNHANDLED: "an unexpected error; its traceback is printed before the last line",
    Code.USAGE: "a mistake in the command line or a setting, or a module that cannot be imported",
    Code.UNREACHABLE: "the broker is unreachable or silent, refuses the login, or has not taken a "
    "message; `health`: no answer",
    Code.ERROR_RESULT: "the command has done its work, and the result is bad; see below",
    Code.TOPOLOGY: "an exchange or a queue was refused, deleted, or exists with other parameters",
    Code.GAVE_UP: "supervision gave up: a component or a worker crashed again and again",
    Code.QUIT: "`run`: the remote command `quit` has ended a component, and with the last one the "
    "process",
}
WITHOUT_CLICK = (
    "import sys; sys.modules['click'] = None; import postage.cli; sys.exit(postage.cli.main())"
)


def without_click(*arguments: str):
    return run_program("-c", WITHOUT_CLICK, *arguments)


def test_help_lists_all_commands_in_a_quarter_of_a_second():
    """A quarter of a second of CPU time, which other programs do not lengthen."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    ended = postage("--help")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)

    assert ended.code == 0
    assert all(
        f"  {name} " in ended.stdout and text in ended.stdout for name, text in COMMANDS.items()
    )
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime <= 0.25


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_has_help_with_examples(name: str, capsys: pytest.CaptureFixture[str]):
    ended = in_process(capsys, name, "--help")

    assert ended.code == 0
    assert ended.stdout.startswith(f"Usage: postage {name} ")
    assert "Examples:" in ended.stdout or name in ("broker", "completion")


def test_help_loads_no_gevent():
    code = (
        "import sys\nfrom postage.cli import main\n"
        "for name in sys.argv[1:]: main([name, '--help'])\n"
        "print({'gevent', 'pika'} & set(sys.modules))"
    )
    assert run_program("-c", code, *COMMANDS).stdout.endswith("\nset()\n")


def test_an_unknown_command_is_a_mistake_in_usage(capsys: pytest.CaptureFixture[str]):
    ended = in_process(capsys, "rnu")

    assert ended.code == 2
    assert "No such command 'rnu'" in ended.stderr


@pytest.mark.parametrize(
    ("shell", "part"), [("bash", "complete"), ("zsh", "compdef"), ("fish", "complete")]
)
def test_the_script_of_a_shell(capsys: pytest.CaptureFixture[str], shell: str, part: str):
    ended = in_process(capsys, "completion", shell)

    assert (ended.code, ended.stderr) == (0, "")
    assert "_POSTAGE_COMPLETE" in ended.stdout
    assert part in ended.stdout


@pytest.mark.parametrize(
    ("words", "completed"), [("postage de", "describe"), ("postage run --wo", "--workers")]
)
def test_a_shell_gets_what_completes_a_word(words: str, completed: str):
    count = str(len(words.split()) - 1)
    asked = {"_POSTAGE_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": count}

    assert postage(env=os.environ | asked).stdout == f"plain,{completed}\n"


@pytest.mark.skipif(not shutil.which("bash"), reason="there is no bash")
def test_the_script_is_bash():
    script = postage("completion", "bash").stdout

    assert "_postage_completion" in script
    code = (
        "import subprocess, sys; sys.exit(subprocess.run(['bash', '-nc', sys.argv[1]]).returncode)"
    )
    assert run_program("-c", code, script).code == 0


# --- without the extra


def test_without_click_the_broker_runs():
    ended = without_click("broker", "--port", "70000", "--vhost", "v", "w", "--json")

    assert (ended.code, ended.stderr) == (
        2,
        "SettingsError: port must be from 0 to 65535, not 70000\n",
    )


def test_without_click_the_broker_has_the_same_options():
    texts = [" ".join(run("broker", "--help").stdout.split()) for run in (postage, without_click)]

    for name, text in HELP.items():
        assert all(f" --{name}" in page and text in page for page in texts), name


def test_without_click_help_and_version_work():
    assert without_click("--version").stdout.startswith("postage 2.")
    assert "pip install '.[cli]'" in without_click("--help").stdout
    assert without_click().stdout == without_click("--help").stdout


@pytest.mark.parametrize("name", ["run", "ps"])
def test_without_click_the_others_say_what_to_install(name: str):
    ended = without_click(name, "module", "--workers", "3")

    assert (ended.code, ended.stdout) == (2, "")
    assert ended.stderr == f"Error: `postage {name}` needs click: {install_line('cli')}\n"


# --- exit codes


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (SettingsError("x"), 2),
        (BrokerUnreachable("x", host="h", port=1), 3),
        (OperationTimeout("queue.declare", 1.0), 3),
        (PublishFailed("x"), 3),
        (ChannelRefused(405, "locked"), 5),
        (ConsumerCancelled("q"), 5),
        (PostageError("x"), 1),
        (GaveUp("x", 5, 60.0), 6),
        (LookRefused("q", 2), 2),
        (CommandFailed("x", Code.ERROR_RESULT), 4),
    ],
)
def test_errors_lead_to_exit_codes(
    error: PostageError, code: int, capsys: pytest.CaptureFixture[str]
):
    with pytest.raises(SystemExit) as ended, exit_codes():
        raise error

    assert ended.value.code == code
    assert capsys.readouterr().err.count("\n") == 1


def test_every_exit_code_is_in_the_documentation():
    page = (ROOT / "docs" / "cli.md").read_text()

    assert set(CODES.values()) < set(Code) == set(MEANINGS)
    for code, meaning in MEANINGS.items():
        assert f"| {code.value} | {meaning} |" in page


@pytest.mark.parametrize("text", ["amqp://me:secret@h/v", "x amqps://a%40b:secret@h:5/?a=b y"])
def test_no_password_of_a_url_is_printed(text: str, capsys: pytest.CaptureFixture[str]):
    print_error(text)

    assert capsys.readouterr().err == text.replace("secret", "***") + "\n"
