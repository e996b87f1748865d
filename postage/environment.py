"""Where settings come from: layers of variables, each of which may name a file of its value.

How it works
------------
A *layer* is a mapping from the names of environment variables to texts.  The environment is one; a
command line puts a layer of its options above it, and ``postage run`` puts its configuration file
below.  The first layer that has a variable decides, so a value of the command line replaces one of
the environment, which replaces one of the file.

Two things complicate this:

* **URLs.**  ``POSTAGE_URL`` sets several things at once: host, user, options.  The first layer that
  has a URL decides about all of it; URLs in the layers below are ignored.  Its parts take
  precedence over the single variables of its own layer and of those below, but not over the layers
  above: ``POSTAGE_PASSWORD`` of the environment replaces a password in the URL of the file.
* **Files.**  ``POSTAGE_PASSWORD_FILE`` names a file that contains the value of
  ``POSTAGE_PASSWORD``, as images of Docker do it; so with every variable.  The file is looked at
  whenever the value is asked for, as the environment is.
"""

from __future__ import annotations

import enum
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from pathlib import Path
from stat import S_ISREG
from typing import NamedTuple

from postage.errors import SettingsError
from postage.url import Url

# fmt: off
__all__ = [
    "Found", "Layer", "Layers", "LocatedUrl", "Source", "content_of", "secret_in", "variable_of",
]
# fmt: on

PREFIX = "POSTAGE_"
URL = "POSTAGE_URL"
_FILE = "_FILE"
_DEPRECATED = {"POSTAGE_USER": "POSTAGE_RMQ_USER", "POSTAGE_PASSWORD": "POSTAGE_RMQ_PASSWORD"}
MOST_IN_SECRET = 1 << 16
"""Bytes of the largest file that a variable ending with ``_FILE`` may name."""


class Source(enum.Enum):
    """What a value comes from, the strongest first."""

    PROGRAM = "program"  # an assignment to a classic global
    COMMAND_LINE = "command line"
    ENVIRONMENT = "environment"
    FILE = "file"  # a configuration file
    DEFAULT = "default"


@dataclass(frozen=True)
class Found:
    """A value, and where it was found."""

    text: str = field(repr=False)
    origin: str
    """What errors call the place: a variable, an option, a key of a file."""
    source: Source
    is_quotable: bool = True
    """False for a value that may be a secret, which no error may quote, because it comes from a
    file of its own or from a variable that a configuration file refers to."""


@dataclass(frozen=True)
class Layer:
    """Variables of one source."""

    source: Source
    variables: Mapping[str, str] = field(repr=False)
    names: Mapping[str, str] = field(default_factory=dict)
    """What errors call a variable, if not by its name: ``--url``, for example."""
    secrets: frozenset[str] = frozenset()
    """The variables whose values no error may quote."""

    def find(self, variable: str) -> Found | None:
        """Return the value of *variable*, or of the file that *variable* plus ``_FILE`` names.

        None: this layer has neither.  Raises `SettingsError` if it has both, or if the file cannot
        be used.  An empty name of a file counts as none.
        """
        text, path = self.variables.get(variable), self.variables.get(variable + _FILE)
        if path:
            origin = self._name_of(variable + _FILE)
            if text is not None:
                both = f"{self._name_of(variable)} and {origin}"
                raise SettingsError(f"{both} set the same thing: remove one of them")
            return Found(secret_in(path, origin), origin, self.source, is_quotable=False)
        if text is not None:
            is_quotable = variable not in self.secrets
            return Found(text, self._name_of(variable), self.source, is_quotable)
        old = _DEPRECATED.get(variable, "")
        if old not in self.variables:
            return None
        warning = f"{old} is deprecated, set {variable} instead"
        warnings.warn(warning, DeprecationWarning, stacklevel=2)
        return Found(self.variables[old], old, self.source)

    def now(self) -> Layer:
        """Return this layer with the variables of this moment, if it is the environment."""
        if self.source is not Source.ENVIRONMENT:
            return self
        ours = [name for name in self.variables if name.startswith(PREFIX)]
        found = {name: self.variables.get(name) for name in ours}
        return replace(self, variables={n: text for n, text in found.items() if text is not None})

    def _name_of(self, variable: str) -> str:
        return self.names.get(variable, variable)


class LocatedUrl(NamedTuple):
    """The URL in use, and where it was found."""

    url: Url = Url()
    found: Found | None = None
    """The whole URL as a text; None: nothing sets one."""
    layer: Layer | None = None


@dataclass(frozen=True)
class Layers:
    """All layers, the strongest first."""

    layers: tuple[Layer, ...]

    def above(self, layer: Layer) -> Layers:
        """Return these layers with *layer* above all of them."""
        return Layers((layer, *self.layers))

    def below(self, *layers: Layer) -> Layers:
        """Return these layers with *layers* below all of them."""
        return Layers((*self.layers, *layers))

    def now(self) -> Moment:
        """Return what these layers say at this moment, for many questions in a row.

        The environment is a slow mapping: a component, which asks for twenty settings, would spend
        a tenth of its creation on it.
        """
        return Moment(tuple(layer.now() for layer in self.layers))

    def variable(self, name: str) -> Found | None:
        """Return the value of the variable *name*, whatever the URL says; None: none sets it."""
        found = (layer.find(name) for layer in self.layers)
        return next((each for each in found if each is not None), None)

    def url(self) -> LocatedUrl:
        """Return the first URL that is not empty; raises `SettingsError` if it is wrong."""
        for layer in self.layers:
            found = layer.find(URL)
            if found is not None and found.text:
                url = _parsed(found.text, found.origin, is_quotable=found.is_quotable)
                return LocatedUrl(url, found, layer)
        return LocatedUrl()

    def find(self, name: str) -> Found | None:
        """Return what sets *name*, a part of the address or an option; None: nothing does."""
        url, whole, its_layer = self.url()
        variable = variable_of(name)
        for layer in self.layers:
            if whole is not None and layer is its_layer:
                if name in url.parts:
                    return replace(whole, text=url.parts[name])
                if name in url.options:
                    text, origin = url.options[name], f"{whole.origin}: {name}"
                    return replace(whole, text=text, origin=origin)
            if (found := layer.find(variable)) is not None:
                return found
        return None


class Moment(Layers):
    """Layers at one moment: their URL does not change."""

    @cached_property
    def _url(self) -> LocatedUrl:
        return super().url()

    def url(self) -> LocatedUrl:
        """Return the first URL that is not empty; raises `SettingsError` if it is wrong."""
        return self._url


def variable_of(name: str) -> str:
    """Return the environment variable of the setting *name*."""
    return f"{PREFIX}{name.upper()}"


_parsed = lru_cache(maxsize=16)(Url.parse)


def secret_in(path: str, name: str) -> str:
    """Return what the file *path* contains, without its last newline.

    Raises `SettingsError`, which names *name* and *path* and quotes nothing of the content, if the
    file cannot be read, is no regular file, is empty or too large, or is no UTF-8.
    """
    content = content_of(path, MOST_IN_SECRET, f"{name}: ", repr(path))
    text = _text_of(content)
    if text is None:
        raise SettingsError(f"{name}: {path!r} is not UTF-8")
    if not text:  # an empty password would be tried, and an empty URL would mean localhost
        raise SettingsError(f"{name}: {path!r} is empty")
    return text


def content_of(path: str, most: int, before: str, shown: str) -> bytes:
    """Return what the file *path* contains; errors begin with *before*, and call it *shown*.

    Raises `SettingsError`, which quotes nothing of the content, if the file cannot be read, is no
    regular file, or has more than *most* bytes.
    """
    try:
        is_file = S_ISREG(Path(path).stat().st_mode)  # a pipe may never end, or gives it once only
        content = _beginning_of(path, most + 1) if is_file else b""
    except (OSError, ValueError) as exc:  # ValueError: there is a NUL in the path
        reason = getattr(exc, "strerror", None) or "this is no path"
        raise SettingsError(f"{before}cannot read {shown}: {reason}") from None
    if not is_file:
        raise SettingsError(f"{before}{shown} is no regular file")
    if len(content) > most:
        raise SettingsError(f"{before}{shown} has more than {most} bytes")
    return content


def _beginning_of(path: str, size: int) -> bytes:
    with Path(path).open("rb") as file:
        return file.read(size)


def _text_of(content: bytes) -> str | None:
    """Return *content* as text without its last newline, and without a byte order mark.

    Returns None if it is no UTF-8.

    The error of Python, which holds the content, ends here.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return None
    return text.removesuffix("\n").removesuffix("\r")
