"""The keys of a configuration file: which there are, what TOML may give for each, and its value.

The keys of the table ``run`` are the options of ``postage run`` by their long names; those of
``settings`` are the fields of `postage.settings.Settings`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from typing import Any, NamedTuple

import click

from postage.cli.options import HostPortParam, RemoteRuleParam, Seconds
from postage.cli.running.config_file import ConfigFile
from postage.cli.running.references import expanded, expanded_url, has_reference
from postage.errors import SettingsError
from postage.settings import Settings, truth

__all__ = ["ConfigKey", "as_written", "keys_in"]

Tables = Mapping[str, Mapping[str, "ConfigKey"]]

NO_KEYS = ("config", "no_remote_control", "worker")
"""The options of the command that are no keys."""
ELSEWHERE = {
    "wait_for_broker": "run.wait",
    "other_hosts": "settings.host",
    "no_remote_control": "run.remote-control",
}
"""Keys that a user may look for, and those that do the same."""


class ValueKind(NamedTuple):
    """What TOML may give for a key."""

    expected: str
    types: tuple[type, ...]

    def allows(self, value: object) -> bool:
        """Tell whether *value* is of this kind; a bool is no number."""
        if isinstance(value, bool):
            return bool in self.types
        if isinstance(value, list):
            return list in self.types and all(isinstance(each, str) for each in value)
        return isinstance(value, self.types)


TEXT = ValueKind("a text", (str,))
NUMBER = ValueKind("a number", (int, float, str))  # a text, because it may refer to a variable
TRUTH = ValueKind("true or false", (bool, str))
TEXTS = ValueKind("a list of texts", (list,))
RULE = ValueKind("a text, or a list of texts", (str, list))


@dataclass(frozen=True)
class ConfigKey:
    """A key of the file with its value, before references are replaced."""

    name: str
    """What errors call it."""
    value: Any = field(repr=False)
    is_url: bool = False

    @property
    def has_reference(self) -> bool:
        """Whether the value refers to a variable, and so may be a secret."""
        return any(isinstance(each, str) and has_reference(each) for each in self._parts())

    def parts(self) -> list[str]:
        """Return the texts of a list, or the only text, with variables in place of references.

        Raises `SettingsError`.
        """
        replaced = expanded_url if self.is_url else expanded
        try:
            return [replaced(str(each), os.environ) for each in self._parts()]
        except SettingsError as exc:
            raise SettingsError(f"{self.name}: {exc}") from None

    def text(self) -> str:
        """Return the value as a text, as an option or a variable has it."""
        return ",".join(self.parts())

    def truth(self) -> bool:
        """Return the value of a switch; raises `SettingsError`."""
        return truth(self.name, self.text())

    def _parts(self) -> list[Any]:
        return self.value if isinstance(self.value, list) else [self.value]


def keys_in(file: ConfigFile, options: Iterable[click.Parameter]) -> Tables:
    """Return the keys of the tables ``run`` and ``settings``, by their names in Python.

    *options* are those of ``postage run``.  Raises `SettingsError` for a key that is unknown, given
    twice, or of the wrong type.
    """
    known = {"run": _kinds_of_options(options), "settings": _kinds_of_settings()}
    for name, table in file.tables.items():
        if name not in known:
            raise _unknown(file, (name,), known)
        if not isinstance(table, Mapping):
            raise SettingsError(f"{file.called(name)} must be a table")
    return {name: _checked(file, name, file.tables.get(name, {}), known) for name in known}


def _kinds_of_options(options: Iterable[click.Parameter]) -> dict[str, ValueKind]:
    shown = (each for each in options if each.name and each.name not in NO_KEYS)
    return {**{str(each.name): _kind_of(each) for each in shown}, "url_file": TEXT}


def _kind_of(option: click.Parameter) -> ValueKind:
    if isinstance(option, click.Argument):
        return TEXTS
    if isinstance(option, click.Option) and option.is_flag:
        return TRUTH
    if isinstance(option.type, RemoteRuleParam):
        return RULE
    return NUMBER if isinstance(option.type, (click.IntRange, Seconds, HostPortParam)) else TEXT


def _kinds_of_settings() -> dict[str, ValueKind]:
    kinds = {bool: TRUTH, int: NUMBER, float: NUMBER, str: TEXT}
    own = {each.name: each.default for each in fields(Settings) if each.name not in ELSEWHERE}
    return {
        **{name: kinds[type(default)] for name, default in own.items()},
        **dict.fromkeys(("user_file", "password_file"), TEXT),
    }


def _checked(
    file: ConfigFile,
    table: str,
    given: Mapping[str, Any],
    known: Mapping[str, Mapping[str, ValueKind]],
) -> dict[str, ConfigKey]:
    found: dict[str, ConfigKey] = {}
    for written, value in given.items():
        name, called = written.replace("-", "_"), file.called(table, written)
        kind = known[table].get(name)
        if kind is None:
            raise _unknown(file, (table, written), known)
        if name in found:
            raise SettingsError(f"{called} and {found[name].name} are the same key: remove one")
        if not kind.allows(value):  # the value is not quoted, as it may be a password
            raise SettingsError(f"{called} must be {kind.expected}")
        found[name] = ConfigKey(called, value, is_url=name == "url")
    return found


def _unknown(
    file: ConfigFile, keys: tuple[str, ...], known: Mapping[str, Mapping[str, ValueKind]]
) -> SettingsError:
    """Return the error for a table or key that does not exist, with the one that comes nearest."""
    *table, last = keys
    name = last.replace("-", "_")
    spelt = {**ELSEWHERE, **{each: each for each in known}}
    for each in sorted(known, key=lambda each: [each] == table):  # the same name here is nearer
        spelt |= {key: f"{each}.{as_written(each, key)}" for key in known[each]}
    near = get_close_matches(name, spelt, n=1)
    here = [as_written(table[0], key) for key in known[table[0]]] if table else list(known)
    hint = f"did you mean {spelt[near[0]]}?" if near else f"known are {', '.join(here)}"
    return SettingsError(f"{file.called(*keys)} is unknown; {hint}")


def as_written(table: str, key: str) -> str:
    """Return *key* as the documentation writes it: as an option, or as a field."""
    return key.replace("_", "-") if table == "run" else key
