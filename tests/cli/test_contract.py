"""``postage contract``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from postage.cli.checking.contracts import contract_from
from postage.cli.exits import Code, CommandFailed
from tests.cli.support import postage, with_url
from tests.support.programs import ROOT, Finished, run_program
from tests.support.running import running as running_here

yaml = pytest.importorskip("yaml")
NOWHERE = with_url("amqp://127.0.0.1:1/")
SINKS = "tests.support.contracts"


def contract(*arguments: str, cwd: Path = ROOT) -> Finished:
    """Run ``postage contract ...`` in *cwd*, or in the root of the project."""
    return run_program(
        "-m", "postage", "contract", *arguments, env=NOWHERE, **({"cwd": cwd} if cwd else {})
    )


def test_export_writes_asyncapi_without_any_broker():
    ended = contract("export", SINKS, "--title", "Sinks", "--version", "1.2")

    assert (ended.code, ended.stderr) == (0, ""), ended
    document = json.loads(ended.stdout)
    assert document["asyncapi"] == "3.0.0"
    assert document["info"] == {"title": "Sinks", "version": "1.2"}
    assert set(document["x-postage"]["services"]) == {"Sink", "Classic"}


def test_export_writes_the_same_as_yaml():
    as_json, as_yaml = (contract("export", f"{SINKS}:Sink", *more) for more in ([], ["--yaml"]))

    assert yaml.safe_load(as_yaml.stdout) == json.loads(as_json.stdout)
    assert "&id" not in as_yaml.stdout


HOSTILE = '''
from postage import Service, rpc

class Escaping(Service):
    """\\x1b[31mred \\u202e <script>alert(1)</script>"""
    queue = "escaping"

    @rpc
    def run(self) -> None:
        """\\x1b]0;title\\x07 caff\\xe8"""
'''


@pytest.mark.parametrize("form", ["json", "yaml"])
def test_docstrings_reach_no_terminal_as_escapes(tmp_path: Path, form: str):
    (tmp_path / "hostile.py").write_text(HOSTILE)

    ended = contract("export", "hostile", *["--yaml"] * (form == "yaml"), cwd=tmp_path)

    assert ended.code == 0, ended
    assert ended.stdout.replace("\n", "").isprintable()
    document = yaml.safe_load(ended.stdout)
    assert document["operations"]["Escaping.run"]["summary"] == "\x1b]0;title\x07 caffè"


TWINS = """
from postage import Service

class A(Service): ...

B = type("A", (Service,), {"__module__": "twins"})
"""
MADE_WITH_AN_ARGUMENT = """
from postage import MessageProcessor

class P(MessageProcessor):
    def __init__(self, x): ...
"""
MISTAKES = {
    "nothing": ("x = 1", "defines no service and no processor; name one: MODULE:NAME"),
    "broken": ("1 / 0", "module 'broken' cannot be imported: ZeroDivisionError"),
    "missing": (None, "No module named 'missing' here"),
    "refused": (
        "from postage import Service, rpc\nclass S(Service):\n    @rpc\n    def f(self, a): ...",
        "S.f needs the type of its parameter 'a'",
    ),
    "twins": (
        TWINS,
        "two components are called A, twins.A and twins.A: export one of them",
    ),
    "made": (
        MADE_WITH_AN_ARGUMENT,
        None,
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_export_of_an_odd_module(tmp_path: Path, name: str):
    text, told = MISTAKES[name]
    if text is not None:
        (tmp_path / f"{name}.py").write_text(text)

    ended = contract("export", name, cwd=tmp_path)

    assert ended.code == (2 if told else 0), ended
    assert (told or "") in ended.stderr
    assert name == "broken" or "Traceback" not in ended.stderr


def test_a_class_without_an_address_is_made_to_know_it(tmp_path: Path):
    (tmp_path / "orders.py").write_text(
        "from postage import Exchange, MessageProcessor\n"
        "class Orders(MessageProcessor):\n"
        "    def __init__(self):\n"
        "        super().__init__(eqk=[(Exchange, [('orders', 'k')])])\n"
    )

    ended = contract("export", "orders", cwd=tmp_path)

    bindings = json.loads(ended.stdout)["x-postage"]["services"]["Orders"]["bindings"]
    assert [(each["queue"], each["key"]) for each in bindings] == [("orders", "k")]


def test_the_help_lists_the_commands():
    ended = postage("contract", "--help")

    assert ended.code == 0
    assert "export" in ended.stdout


# --- check

OLD = """
from postage import Service, rpc

class Stock(Service):
    queue = "stock"

    @rpc
    def reserve(self, item: str, count: int = 1) -> int: ...
"""
NEW = OLD.replace("count: int = 1", "count: int").replace("-> int", "-> int | None")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two versions of a module, and the contract of the first one."""
    path = tmp_path_factory.mktemp("contracts")
    (path / "old.py").write_text(OLD)
    (path / "new.py").write_text(NEW)
    (path / "old.json").write_text(contract("export", "old", cwd=path).stdout)
    return path


def test_check_compares_files_and_modules(folder: Path):
    same = contract("check", "old.json", "old", cwd=folder)
    broken = contract("check", "old.json", "new:Stock", cwd=folder)
    as_json = contract("check", "old", "new", "--json", cwd=folder)

    assert (same.code, same.stdout) == (0, "No breaking change was found.\n"), same
    assert broken.stdout.splitlines() == [
        "Stock.reserve: needs the parameter 'count', which had a default",
        "Stock.reserve: the result was integer, and may be None now",
    ]
    assert (broken.code, broken.stderr) == (4, "Error: 2 breaking changes\n")
    assert [each["where"] for each in json.loads(as_json.stdout)] == ["Stock.reserve"] * 2


def test_check_reads_yaml_and_stdin(folder: Path):
    (folder / "old.yaml").write_text(contract("export", "old", "--yaml", cwd=folder).stdout)

    ended = contract("check", "old.yaml", "old", cwd=folder)

    assert (ended.code, ended.stdout) == (0, "No breaking change was found.\n"), ended


FILES: dict[str, tuple[str, bytes, str]] = {
    "missing": ("gone.json", b"", "cannot read gone.json: No such file or directory"),
    "no JSON": ("a.json", b"{", "a.json is no JSON: "),
    "binary": ("a.json", bytes(range(256)), "a.json is no JSON: "),
    "deep": ("a.json", b"[" * 100_000, "a.json is no JSON: "),
    "large": ("a.json", b" " * (17 << 20), "a.json is no contract: it is larger than 16 MiB"),
    "not ours": ("a.json", b'{"asyncapi": "3.0.0"}', "a.json has no x-postage"),
    "no YAML": ("a.yaml", b"a: [", "a.yaml is no YAML: "),
    "deep YAML": ("a.yaml", b"[" * 500 + b"]" * 500, "nests deeper than 200 levels"),
    "aliases": ("a.yaml", b"a: &x [1]\nb: [*x, *x]", "a contract has no aliases"),
    "a date": ("a.yaml", b"a: 2026-01-31", "a.yaml is no YAML: "),
    **{
        f"a value of no {tag}": ("a.yaml", b"a: !!%s x" % tag.encode(), "a.yaml is no YAML: ")
        for tag in ("bool", "timestamp", "int", "float", "binary")
    },
    "a tag": ("a.yaml", b"!!python/object/apply:os.getcwd []", "a.yaml is no YAML: "),
    "a folder": ("./", b"", "cannot read ./: Is a directory"),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_no_contract(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str):
    file, text, told = FILES[name]
    monkeypatch.chdir(tmp_path)
    if text:
        Path(file).write_bytes(text)

    with pytest.raises(CommandFailed) as caught:
        contract_from(file)

    assert caught.value.code == Code.USAGE
    assert told in str(caught.value)


def test_a_file_that_is_no_contract_ends_the_command(folder: Path):
    ended = contract("check", "gone.json", "old", cwd=folder)

    assert (ended.code, ended.stdout) == (2, "")
    assert ended.stderr == "Error: cannot read gone.json: No such file or directory\n"


# --- stubs


def test_stubs_are_a_module(folder: Path):
    ended = contract("stubs", "old.json", cwd=folder)

    assert (ended.code, ended.stderr) == (0, ""), ended
    assert (
        "    def reserve(self, item: str, count: int = 1) -> int: ..." in ended.stdout.splitlines()
    )
    compile(ended.stdout, "stubs.py", "exec")


def test_stubs_of_a_classic_module_are_refused():
    ended = contract("stubs", f"{SINKS}:Classic")

    assert (ended.code, ended.stdout) == (2, "")
    assert "Classic has no call and no command with types" in ended.stderr


def test_export_asks_a_running_service(broker_env: Any, tmp_path: Path):
    from tests.support.contracts import Sink

    with running_here(Sink()):
        told, missing = (
            run_program("-m", "postage", "contract", "export", "--from", exchange, "sink")
            for exchange in ("contracts", "gone")
        )

    assert (told.code, told.stderr) == (0, ""), told
    assert set(json.loads(told.stdout)["x-postage"]["services"]) == {"Sink"}
    assert (missing.code, missing.stdout) == (5, "")


def test_export_wants_either_a_module_or_a_place():
    for arguments in ([], ["--from", "a", "b", SINKS]):
        ended = contract("export", *arguments)
        assert (ended.code, ended.stderr) == (
            2,
            "Error: give MODULE[:NAME]..., or --from EXCHANGE KEY\n",
        )


def test_a_source_that_no_path_can_be_is_one_line():
    ended = contract("html", "a" * 300)

    assert (ended.code, ended.stdout) == (2, "")
    assert ended.stderr.startswith("Error: No module named 'aaa")
