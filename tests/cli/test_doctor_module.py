"""``postage doctor`` about this process and a module; no broker is needed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.doctor import doctor
from tests.cli.support import postage, with_url
from tests.support.programs import run_program

INSIDE = with_url("embedded://")


def test_a_sound_module_has_no_failures() -> None:
    found = doctor("fleet", env=INSIDE)

    assert (found.code, found.failed(), found.stderr) == (0, [], "")
    assert found.checks["patching by postage run"]["rating"] == "ok"
    assert "patches nothing" in found.checks["patching by fleet"]["text"]
    assert found.checks["check fleet"]["text"] == "no fault was found"
    assert {each["part"] for each in found.checks.values()} == {"process", "address", "module"}


def test_a_module_that_imports_before_it_patches() -> None:
    found = doctor("patching_late", env=INSIDE)

    check = found.checks["patching by patching_late"]
    assert (found.code, check["rating"]) == (0, "warning")
    assert "patching_late (socket.create_connection)" in check["text"]
    assert "before all other imports" in check["remedy"]


def test_a_module_that_patches_first() -> None:
    found = doctor("patching_first", env=INSIDE)

    assert found.checks["patching by patching_first"]["rating"] == "ok"


def test_what_python_imports_at_its_start_is_too_early(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import keeping\n")
    (tmp_path / "keeping.py").write_text("import socket\nclass Own(socket.socket): ...\n")
    path = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import sitecustomize, keeping; "
    code = path + "from postage.cli import main; sys.exit(main(['doctor']))"
    ended = run_program("-c", code, env=INSIDE)

    assert ended.code == 0, ended
    (line,) = [each for each in ended.stdout.splitlines() if "patching by postage run" in each]
    assert line.startswith("warning")
    assert "keeping (socket.socket)" in line
    assert "sitecustomize" in line


def test_a_module_that_cannot_be_imported() -> None:
    ended = postage("doctor", "importing", env=INSIDE)

    assert ended.code == 4, ended
    lines = ended.stdout.splitlines()
    assert any(each.startswith("skipped  patching by importing: ") for each in lines)
    (check,) = [each for each in lines if "check importing" in each]
    assert check.startswith("failed")
    assert "No module named 'not_installed'" in check
    assert ended.stderr.endswith("Error: 1 check has failed\n")


def test_the_faults_that_check_finds() -> None:
    found = doctor("wrong", env=INSIDE)

    assert (found.code, found.stderr) == (4, "Error: 9 checks have failed\n")
    assert found.named("check Wrong.few")["text"].startswith("is called with")


def test_a_wrong_variable_ends_no_other_check() -> None:
    found = doctor("patching_first", env=with_url("http://user:secret-word@host/"))

    assert (found.code, found.failed()) == (3, ["settings"])
    assert found.checks["check patching_first"]["rating"] == "ok"
    assert "secret-word" not in found.stdout + found.stderr


@pytest.mark.parametrize("arguments", [("--timeout", "0"), ("--prefix", "x" * 101), ("a/b.py",)])
def test_wrong_arguments_are_refused(arguments: tuple[str, ...]) -> None:
    assert postage("doctor", *arguments, env=INSIDE).code == 2
