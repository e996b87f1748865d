"""The environments of the contestants: one for each set of packages, and a program for C.

They are made when first needed, in ``.cache/benchmarks`` of the checkout, and made again when
their packages have changed.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.contestants import Contestant
from benchmarks.job import EXCHANGE, Job
from benchmarks.payload import encoded, payload

ROOT = Path(__file__).parents[1]
HOME = ROOT / ".cache" / "benchmarks"
SOURCE = Path(__file__).parent / "peers" / "librabbitmq.c"
NO_LIBRABBITMQ = "it could not be built; Debian: apt-get install librabbitmq-dev gcc"
VERSIONS = """
import sys
from importlib.metadata import version
print(*(f"{name} {version(name)}" for name in sys.argv[1:]), sep=", ")
"""
"""A program for an environment's Python; its arguments are names of packages."""


class Unavailable(Exception):
    """A contestant is unavailable on this machine; the text says why, or what to install."""


def command(program: str, job: Job) -> list[str]:
    """Return the command that runs *job* in *program*: an environment's Python or the C program."""
    if job.style != "c":
        return [program, "-m", "benchmarks.role", job.as_json()]
    message = encoded(payload(0)).decode()
    numbers = (job.callers, job.seconds, job.operations, job.warm_up, int(job.confirm))
    texts = (job.role, job.url, job.queue, EXCHANGE, message)
    return [program, *texts, *map(str, numbers), str(int(job.persistent))]


def made(contestant: Contestant) -> str:
    """Return the path of the contestant's Python, or of its program in C; make it if missing.

    Raises `Unavailable`.
    """
    return environment(contestant.packages) if contestant.packages else built(contestant.name)


def environment(packages: Sequence[str]) -> str:
    """Return the path of the Python of an environment with *packages*."""
    key = "\n".join([sys.version, *packages])
    home, is_new = _home(name(packages[0]), key)
    python = home / "bin" / "python"
    if is_new:
        _run(sys.executable, "-m", "venv", str(home))
        _run(str(python), "-m", "pip", "install", "--quiet", *packages)
        (home / "made").touch()
    return str(python)


def built(title: str) -> str:
    """Return the path of the program in C."""
    home, is_new = _home(title, SOURCE.read_text())
    program = home / title
    if is_new:
        try:
            _run("gcc", "-O2", "-o", str(program), str(SOURCE), "-lrabbitmq")
        except Unavailable as cause:
            raise Unavailable(NO_LIBRABBITMQ) from cause
        (home / "made").touch()
    return str(program)


def _home(label: str, key: str) -> tuple[Path, bool]:
    """Return the folder for *key*, and whether it is still empty."""
    home = HOME / f"{label}-{hashlib.sha256(key.encode()).hexdigest()[:8]}"
    is_new = not (home / "made").exists()
    if is_new:
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir(parents=True)
        print(f"making {home.relative_to(ROOT)}", file=sys.stderr)
    return home, is_new


def versions(contestant: Contestant) -> str:
    """Return the names and versions of the packages that the contestant asks for."""
    if not contestant.packages:
        return f"{contestant.name} {_run(made(contestant), 'version').strip()}"
    names = [name(one) for one in contestant.packages]
    return _run(made(contestant), "-c", VERSIONS, *names).strip()


def name(requirement: str) -> str:
    """Return the package's name in *requirement*: ``a`` of ``a[b]>=1``."""
    end = next((at for at, one in enumerate(requirement) if one in "[<>=!~; "), None)
    return requirement[:end]


def _run(*words: str) -> str:
    try:
        return subprocess.run(words, check=True, capture_output=True, text=True).stdout
    except FileNotFoundError as cause:
        raise Unavailable(f"{words[0]} is not here") from cause
    except subprocess.CalledProcessError as cause:
        last = cause.stderr.strip().rpartition("\n")[2]
        raise Unavailable(f"{' '.join(words[:4])} ended with {cause.returncode}: {last}") from cause
