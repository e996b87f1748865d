"""References in a configuration file: ``${NAME}`` stands for the environment variable NAME.

In a URL, a value is percent-encoded where it stands for a user, a password, a virtual host or the
value of an option, so a password may contain ``@`` or ``/``, and the variable has it as it is.  A
value that stands for the host, or for the beginning of the URL, is inserted as it is: it may be
several hosts with their ports, or a whole URL.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from urllib.parse import quote

from postage.errors import SettingsError

__all__ = ["expanded", "expanded_url", "has_reference"]

_REFERENCE = re.compile(r"\$\$\{|\$\{(?:([A-Za-z_][A-Za-z0-9_]*)\})?")
# Scheme, user and password, hosts, the rest; as `postage.url` takes a URL apart.  No reference
# contains any of the characters that separate them.
_URL = re.compile(r"([^:/?#]+://)([^/?#]*@)?([^/?#]*)(.*)", re.DOTALL)


def has_reference(text: str) -> bool:
    """Tell whether *text* refers to a variable."""
    return any(match[0] != "$${" for match in _REFERENCE.finditer(text))


def expanded(
    text: str,
    variables: Mapping[str, str],
    encode: Callable[[str], str] = str,
) -> str:
    """Return *text* with the encoded value of each variable in place of its references.

    ``$${`` becomes ``${``.  Raises `SettingsError`, which quotes the name of a variable only, if
    the variable is missing or not UTF-8, or if ``${`` begins no reference.
    """

    def value_of(match: re.Match[str]) -> str:
        if match[0] == "$${":
            return "${"
        name = match[1]
        if name is None:
            raise SettingsError("${ begins no reference such as ${NAME}; for itself, write $${")
        if name not in variables:
            raise SettingsError(f"the environment variable {name} is not set")
        value = variables[name]
        if any("\ud800" <= char <= "\udfff" for char in value):
            raise SettingsError(f"the environment variable {name} is not UTF-8")
        return encode(value)

    return _REFERENCE.sub(value_of, text)


def expanded_url(text: str, variables: Mapping[str, str]) -> str:
    """Return the URL *text* as `expanded` does, with values encoded that are parts of a URL."""
    match = _URL.fullmatch(text)
    if match is None:
        return expanded(text, variables)
    scheme, login, hosts, rest = (part or "" for part in match.groups())
    return "".join(
        (
            expanded(scheme, variables),
            expanded(login, variables, _quoted),
            expanded(hosts, variables),
            expanded(rest, variables, _quoted),
        )
    )


def _quoted(value: str) -> str:
    return quote(value, safe="")
