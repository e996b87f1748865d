"""The configuration file of ``postage run``: where it is, and which tables it has.

The file is ``postage.toml``, or the table ``[tool.postage]`` of ``pyproject.toml``.  The parent of
workers hands its tables on to them, so all have the same, whatever happens to the file.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from postage.cli.exits import ExtraMissing
from postage.environment import content_of
from postage.errors import SettingsError
from postage.foreign_text import one_line

__all__ = ["ConfigFile", "find_config_file"]

OWN, PROJECT = "postage.toml", "pyproject.toml"
MOST_IN_FILE = 1 << 20
"""Bytes of the largest configuration file."""
MOST_IN_TABLES = 100_000
"""Characters of its tables as JSON; Linux starts no program with a variable of over 131,072
bytes."""
LONGEST_REASON = 200
"""Characters of what the parser says."""


@dataclass(frozen=True)
class ConfigFile:
    """The tables of a configuration file, as TOML has them; without a file there are none."""

    path: str = ""
    """The file as errors call it; empty: there is none."""
    prefix: str = ""
    """What stands before the name of each table: ``tool.postage.`` in a project's file."""
    tables: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def from_json(cls, text: str) -> ConfigFile:
        """Return what `as_json` has written; empty: no file."""
        return cls(**json.loads(text)) if text else cls()

    def as_json(self) -> str:
        """Return the file as JSON, for a variable of the environment; empty: there is no file.

        Raises `SettingsError` for tables that are too large.
        """
        if not self.path:
            return ""
        text = json.dumps({"path": self.path, "prefix": self.prefix, "tables": self.tables})
        if len(text) > MOST_IN_TABLES:
            text = f"the tables of Postage have more than {MOST_IN_TABLES} characters as JSON"
            raise SettingsError(f"{self.path}: {text}")
        return text

    def called(self, *keys: str) -> str:
        """Return what errors call a table, or a key of it."""
        return f"{self.path}: {self.prefix}{'.'.join(keys)}"


def find_config_file(given: str | None) -> ConfigFile:
    """Return the file *given*, or else that of the working directory, if there is one.

    Raises `SettingsError` for a file that cannot be used, and `ExtraMissing` without a parser.
    """
    if given == "":
        raise SettingsError("--config names no file")
    if given is not None:
        found = _in_project(given) if Path(given).name == PROJECT else _own(given)
        if found is None:
            raise SettingsError(f"{given} has no table [tool.postage]")
        return found
    if os.path.lexists(OWN):
        return _own(OWN)
    found = _in_project(PROJECT) if os.path.lexists(PROJECT) else None
    return found or ConfigFile()


def _own(path: str) -> ConfigFile:
    return ConfigFile(path, "", _read(path))


def _in_project(path: str) -> ConfigFile | None:
    tool = _read(path).get("tool")
    if not isinstance(tool, dict) or "postage" not in tool:
        return None
    file = ConfigFile(path, "tool.postage.", tool["postage"])
    if not isinstance(file.tables, dict):
        raise SettingsError(f"{file.path}: tool.postage must be a table")
    return file


def _read(path: str) -> dict[str, Any]:
    """Return what the TOML in the file *path* says; raises `SettingsError`."""
    return _parsed(content_of(path, MOST_IN_FILE, "", path), path)


def _parsed(content: bytes, shown: str) -> dict[str, Any]:
    """Return what *content* says; no error quotes a value, as it may be a password."""
    if sys.version_info >= (3, 11):
        import tomllib  # noqa: PLC0415 - most runs have no file
    else:
        try:
            import tomli as tomllib  # noqa: PLC0415 - an extra
        except ImportError:
            raise ExtraMissing(f"reading {shown}", "tomli", "cli") from None
    try:
        return tomllib.loads(content.decode("utf-8-sig"))  # with or without a byte order mark
    except UnicodeDecodeError:
        reason = "it is not UTF-8"
    except RecursionError:
        reason = "it nests too deep"
    except ValueError as exc:  # also for an integer of thousands of digits
        reason = one_line(str(exc), LONGEST_REASON)
    raise SettingsError(f"{shown} is no TOML: {reason}")
