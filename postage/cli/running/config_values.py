"""The values that ``postage run`` would use, each with what sets it: ``postage config show``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any

import click
from click.core import ParameterSource

from postage.cli.options import HostPort
from postage.cli.running.config_keys import NO_KEYS, as_written
from postage.cli.running.configuration import Configuration, ConfiguredCommand
from postage.environment import Found, Source
from postage.settings import Settings, live
from postage.url import masked

__all__ = ["ShownValue", "values_of"]

MASK = "***"


@dataclass(frozen=True)
class ShownValue:
    """A value of ``postage run``, as far as it may be seen."""

    key: str
    """What sets it in a configuration file: ``run.workers``."""
    value: Any
    source: Source
    origin: str | None = None
    """The variable, or the key with its file, that sets it; None: it is the default."""

    @property
    def text(self) -> str:
        """The value as a person reads it."""
        if isinstance(self.value, bool):
            return "true" if self.value else "false"
        if isinstance(self.value, list):
            return ", ".join(self.value)
        return "-" if self.value in (None, "") else str(self.value)


def values_of(
    command: ConfiguredCommand, config: str | None
) -> tuple[str | None, list[ShownValue]]:
    """Return the file that *command* would read, and the values that it would use.

    *config* is the file that its option names.  Raises `SettingsError` for whatever the command
    would refuse before it imports a module.
    """
    arguments = [] if config is None else ["--config", config]
    with command.make_context("run", arguments) as ctx:
        configuration: Configuration = ctx.obj
        shown = (each for each in command.params if each.name not in NO_KEYS)
        settings = Settings.resolve()
        values = [_value_of(ctx, str(each.name), settings) for each in shown]
        return configuration.file.path or None, [*values, *_values_of_settings(settings)]


# --- the options of the command


def _value_of(ctx: click.Context, name: str, settings: Settings) -> ShownValue:
    key = f"run.{as_written('run', name)}"
    url = live.layers.url().found
    if name == "url":
        is_own = url is not None and url.origin != _embedding(ctx)
        return _found(key, masked(url.text), url) if url and is_own else _found(key, None, None)
    if name == "embedded":
        is_on = url is not None and url.origin == _embedding(ctx)
        return _found(key, is_on, url if is_on else None)
    if name == "wait":
        return _found(key, settings.wait_for_broker, live.find("wait_for_broker"))
    configuration: Configuration = ctx.obj
    if name == "targets":
        named = [str(each) for each in configuration.targets()]
        return _of_file(key, named or None, configuration, name)
    value = ctx.params[name]
    if ctx.get_parameter_source(name) is ParameterSource.DEFAULT_MAP:
        return _of_file(key, _plain(value), configuration, name)
    return _found(key, _plain(value), None)


def _embedding(ctx: click.Context) -> str | None:
    """Return the name of the key that asks for a broker inside, if there is one."""
    key = ctx.obj.options.get("embedded")
    return None if key is None else key.name


def _of_file(key: str, value: Any, configuration: Configuration, name: str) -> ShownValue:
    if name not in configuration.options:
        return _found(key, value, None)
    return ShownValue(key, value, Source.FILE, configuration.options[name].name)


def _found(key: str, value: Any, found: Found | None) -> ShownValue:
    if found is None or found.source is Source.DEFAULT:
        return ShownValue(key, value, Source.DEFAULT)
    return ShownValue(key, value, found.source, found.origin)


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, HostPort) else value


# --- the settings


def _values_of_settings(settings: Settings) -> Iterator[ShownValue]:
    for each in fields(Settings):
        name = each.name
        if name in ("wait_for_broker", "other_hosts"):  # shown as run.wait, and with the host
            continue
        value = MASK if name == "password" else getattr(settings, name)
        if name == "host" and settings.other_hosts:
            value = ",".join(str(HostPort(*address)) for address in settings.addresses)
        located = live.layers.url()
        by_scheme = name == "tls" and located.url.scheme == "amqps"
        yield _found(f"settings.{name}", value, located.found if by_scheme else live.find(name))
