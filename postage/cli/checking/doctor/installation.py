"""What the versions, the extras and the limits of this process mean.  Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from postage.cli.checking.doctor.diagnoses import Diagnosis, Part, Rating
from postage.cli.exits import install_line

SUPPORTED: Mapping[str, tuple[tuple[int, ...], tuple[int, ...] | None]] = {
    "Python": ((3, 10), (3, 15)),
    "gevent": ((25, 4, 2), None),
    "pika": ((1, 4), (2,)),
    "greenlet": ((1, 1), None),
}
"""The first version that can be used, and the first one that Postage was never tested with.

Those of Python, gevent and pika are also in pyproject.toml, for pip.  That of greenlet is the first
for Python 3.10.
"""

EXTRAS: Mapping[str, tuple[tuple[str, ...], str]] = {
    "fast": (("msgspec", "orjson"), "JSON in less than half the time"),
    "metrics": (("prometheus_client",), "the metrics of Postage in a registry of your own"),
    "otel": (("opentelemetry",), "traces"),
    "reload": (("watchfiles",), "`postage run --reload`"),
    "top": (("rich",), "`postage top`"),
    "typed": (("msgspec",), "services and clients with types"),
    "web": (("flask",), "`postage web`"),
    "yaml": (("yaml",), "contracts in YAML"),
}
"""The modules of each extra, and what it gives.  The extra ``cli`` is installed: we run."""

CONNECTIONS = 5
"""Connections of a process to its broker: publishing, consuming, answering, a trial, a detour."""
PROBES = 32
"""Connections that ``--health`` serves at once."""
USUAL_LIMIT = 1024
"""Open files that a process may have on most systems; a lower limit was set on purpose."""


def judge_version(name: str, version: str) -> Diagnosis:
    """Return the diagnosis of the *version* of *name*, a key of `SUPPORTED`."""
    first, beyond = SUPPORTED[name]
    found = re.match(r"\d+(\.\d+)*", version)
    number = tuple(map(int, found[0].split("."))) if found else ()
    if number < first:
        text, remedy = f"{version} is too old", f"install {dotted(first)} or later"
        return Diagnosis(Part.PROCESS, name, Rating.FAILED, text, remedy)
    if beyond is not None and number >= beyond:
        text, remedy = f"{version} was never tested", f"install one before {dotted(beyond)}"
        return Diagnosis(Part.PROCESS, name, Rating.WARNING, text, remedy)
    return Diagnosis(Part.PROCESS, name, Rating.OK, version)


def dotted(version: Iterable[int]) -> str:
    """Return a version as people write it."""
    return ".".join(map(str, version))


def judge_extras(installed: Iterable[str]) -> Diagnosis:
    """Return the diagnosis of the extras, of which the modules *installed* were found.

    A missing one is no fault: its text says what it would give.
    """
    found = set(installed)
    missing = {
        name: gives for name, (needs, gives) in EXTRAS.items() if not found.issuperset(needs)
    }
    if not missing:
        return Diagnosis(Part.PROCESS, "extras", Rating.OK, "all are installed")
    text = "not installed: " + ", ".join(f"{name} ({gives})" for name, gives in missing.items())
    remedy = f"if you want them: {install_line(','.join(missing))}"
    return Diagnosis(Part.PROCESS, "extras", Rating.OK, text, remedy)


def judge_open_files(limit: int, used: int) -> Diagnosis:
    """Return the diagnosis of the *limit* of open files, of which *used* are open now."""
    needed = used + CONNECTIONS + PROBES
    text = f"{limit} allowed, about {needed} needed for the connections and probes of one process"
    if limit < needed:
        remedy = f"raise the limit: ulimit -n {USUAL_LIMIT}"
        return Diagnosis(Part.PROCESS, "open files", Rating.FAILED, text, remedy)
    if limit < USUAL_LIMIT:
        remedy = f"handlers open files and sockets, too: ulimit -n {USUAL_LIMIT}"
        return Diagnosis(Part.PROCESS, "open files", Rating.WARNING, text, remedy)
    return Diagnosis(Part.PROCESS, "open files", Rating.OK, text)


# --- the order of imports and of the patch

MOST_NAMED = 5
"""Modules that a diagnosis names."""


def judge_patch(kept: Mapping[str, str], threads: int) -> Diagnosis:
    """Return the diagnosis of the patch as ``postage run`` does it."""
    name = "patching by postage run"
    if not kept and not threads:
        return Diagnosis(Part.PROCESS, name, Rating.OK, "nothing was imported too early")
    remedy = (
        "something imports them when Python starts, such as sitecustomize, a .pth file or a "
        "debugger: let it import them later, or call gevent.monkey.patch_all() first there"
    )
    return Diagnosis(Part.PROCESS, name, Rating.WARNING, _too_early(kept, threads), remedy)


def judge_patch_of_module(
    module: str, kept: Mapping[str, str], threads: int, *, patches: bool, error: str = ""
) -> Diagnosis:
    """Return the diagnosis of the order of imports and of the patch in *module*, without us."""
    name = f"patching by {module}"
    if error and not patches:
        text = f"not known, because its import fails ({error})"
        return Diagnosis(Part.PROCESS, name, Rating.SKIPPED, text)
    if not patches:
        text = "it patches nothing when it is imported; postage run does so before its import"
        return Diagnosis(Part.PROCESS, name, Rating.OK, text)
    if not kept and not threads:
        return Diagnosis(Part.PROCESS, name, Rating.OK, "it patches before other imports")
    remedy = (
        "write `from gevent import monkey; monkey.patch_all()` before all other imports, or run it "
        "by `postage run`, which patches first"
    )
    return Diagnosis(Part.PROCESS, name, Rating.WARNING, _too_early(kept, threads), remedy)


def _too_early(kept: Mapping[str, str], threads: int) -> str:
    return " and ".join(_reasons(kept, threads)) + ": what they wait for blocks all greenlets"


def _reasons(kept: Mapping[str, str], threads: int) -> Iterator[str]:
    if kept:
        named = ", ".join(f"{module} ({what})" for module, what in list(kept.items())[:MOST_NAMED])
        more = f" and {len(kept) - MOST_NAMED} more" if len(kept) > MOST_NAMED else ""
        yield f"imported before the patch, and so keep the original: {named}{more}"
    if threads:
        yield f"native threads that ran before the patch: {threads}"
