"""What a configuration file says about ``postage run``, and how the command uses it.

How it works
------------
The keys of the file take two ways:

* **Options** become Click's ``default_map``.  So Click itself lets the command line replace them,
  and checks them by the types of the options.
* **What leads to the broker** (``url``, ``embedded``, ``wait``, and all settings) becomes a layer
  below the environment: see `postage.environment`.

References to variables are replaced when a value is used.  So a developer who runs the program with
``--embedded`` does not need the variable with the password of another broker.

The parent of workers hands the tables on to them in `WORKER_CONFIG`.  Workers that read the file
again could differ from each other, and one that is restarted while the file is edited could end all
of them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import click
from click.core import ParameterSource

from postage.cli.exits import CommandFailed
from postage.cli.options import use_layers
from postage.cli.running.config_file import ConfigFile, find_config_file
from postage.cli.running.config_keys import ConfigKey, keys_in
from postage.cli.running.parent_pipe import WORKER_CONFIG
from postage.cli.running.targets import Target
from postage.environment import Layer, Source, variable_of
from postage.errors import SettingsError
from postage.settings import live
from postage.url import EMBEDDED

__all__ = ["Configuration", "ConfiguredCommand", "config_option", "name_of_option"]

RUN_DEFAULTS = Layer(Source.DEFAULT, {"POSTAGE_WAIT_FOR_BROKER": "1"})
"""What ``postage run`` sets where nothing else does: a program waits for its broker."""
BROKER = {"url": "url", "url_file": "url_file", "wait": "wait_for_broker"}
"""The keys of the table ``run`` that are settings of the broker, and those settings."""


@dataclass(frozen=True)
class Configuration:
    """What the file says, in the forms that ``postage run`` uses."""

    file: ConfigFile
    options: Mapping[str, ConfigKey]
    """The options of the command, ``targets`` included, by the names of Click's parameters."""
    layer: Layer
    """The settings of the broker."""

    @classmethod
    def of(cls, file: ConfigFile, command: click.Command) -> Configuration:
        """Return what *file* says about *command*; raises `SettingsError` for wrong keys."""
        keys = keys_in(file, command.params)
        options, settings = dict(keys["run"]), dict(keys["settings"])
        named = [options[name].name for name in ("url", "url_file", "embedded") if name in options]
        embedded = options.get("embedded")
        if embedded is not None and embedded.truth():
            if len(named) > 1:
                raise SettingsError(f"{' and '.join(named)} name two brokers: remove one of them")
            settings["url"] = ConfigKey(embedded.name, EMBEDDED)
        settings |= {own: options.pop(key) for key, own in BROKER.items() if key in options}
        return cls(file, options, _layer(settings))

    def targets(self) -> tuple[Target, ...]:
        """Return the targets that the file names; raises `SettingsError`."""
        key = self.options.get("targets")
        return () if key is None else tuple(_target(key, each) for each in key.parts())

    def defaults(self, command: click.Command) -> dict[str, Callable[[], Any]]:
        """Return Click's ``default_map`` for *command*: functions that give the values."""
        flags = {each.name for each in command.params if getattr(each, "is_flag", False)}
        used_elsewhere = ("targets", "embedded")
        own = {name: key for name, key in self.options.items() if name not in used_elsewhere}
        return {name: key.truth if name in flags else key.text for name, key in own.items()}


def _layer(settings: Mapping[str, ConfigKey]) -> Layer:
    keys = {variable_of(name): key for name, key in settings.items()}
    names = {variable: key.name for variable, key in keys.items()}
    secrets = frozenset(variable for variable, key in keys.items() if key.has_reference)
    return Layer(Source.FILE, KeyVariables(keys), names, secrets)


class KeyVariables(Mapping[str, str]):
    """Variables whose values are keys of the file; asking for one may raise `SettingsError`."""

    def __init__(self, keys: Mapping[str, ConfigKey]) -> None:
        self._keys = keys

    def __getitem__(self, name: str) -> str:
        return self._keys[name].text()

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)


def _target(key: ConfigKey, text: str) -> Target:
    try:
        return Target.parse(text)
    except CommandFailed as exc:
        raise _named(key, str(exc)) from None


def _named(key: ConfigKey, complaint: str) -> SettingsError:
    """Return the error about a wrong value of *key*; it quotes no value of a variable."""
    if key.has_reference:
        complaint = f"{key.value!r} stands for a value that cannot be used here"
    return SettingsError(f"{key.name}: {complaint.removesuffix('.')}")


class ConfiguredCommand(click.Command):
    """A command with a configuration file; errors about its values name the file and the key."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the command line; raises `SettingsError` for a wrong value in the file."""
        try:
            return super().parse_args(ctx, args)
        except click.BadParameter as exc:
            ctx.close()
            name = exc.param.name if exc.param else None
            if name is None or ctx.get_parameter_source(name) is not ParameterSource.DEFAULT_MAP:
                raise
            raise _named(ctx.obj.options[name], exc.message) from None
        except Exception:
            ctx.close()  # Click does not, and the layers of the file would stay in use
            raise


def name_of_option(ctx: click.Context, name: str) -> str:
    """Return what errors call the place that has set the option *name* of a `ConfiguredCommand`."""
    if ctx.get_parameter_source(name) is ParameterSource.DEFAULT_MAP:
        key: ConfigKey = ctx.obj.options[name]
        return key.name
    return f"--{name.replace('_', '-')}"


def _use_config(ctx: click.Context, _param: click.Parameter, value: str | None) -> None:
    """Read the file before the other options are looked at; it is then ``ctx.obj``."""
    if ctx.resilient_parsing:  # a shell asks what completes a word
        return
    if ctx.params.get("worker"):
        file = ConfigFile.from_json(os.environ.get(WORKER_CONFIG, ""))
    else:
        file = find_config_file(value)
    ctx.obj = configuration = Configuration.of(file, ctx.command)
    ctx.default_map = configuration.defaults(ctx.command)
    use_layers(ctx, live.layers.below(configuration.layer, RUN_DEFAULTS))


config_option = click.option(
    "--config",
    metavar="FILE",
    expose_value=False,
    is_eager=True,
    callback=_use_config,
    help="The configuration file; by default postage.toml here, or [tool.postage] of "
    "pyproject.toml.",
)
"""Adds ``--config`` to a `ConfiguredCommand`."""
