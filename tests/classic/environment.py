"""Postage 1.2.1, installed once from the package index for Python 2.7.

``python -m tests.classic.environment server.py NAME`` runs a program of this folder on it, with the
broker of ``POSTAGE_HOST``, ``POSTAGE_PORT`` and so on.  It needs Python 2.7: ``POSTAGE_PYTHON2`` is
its path; if that is not set, the ``PATH`` and the versions of pyenv are searched.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parent
CACHE = HERE.parents[1] / ".cache"
REQUIREMENTS = ("postage==1.2.1", "pika==0.9.14")
LIBRARIES = CACHE / "-".join(["classic", *REQUIREMENTS]).replace("==", "-")


class ClassicMissing(Exception):
    """Python 2.7 or the classic library is not available; the text says why."""


def python2() -> str:
    """Return the path of a working Python 2.7; raise `ClassicMissing` if there is none."""
    for candidate in _candidates():
        if _output(candidate, "-c", "import sys; print(sys.version_info[:2])") == "(2, 7)":
            return candidate
    raise ClassicMissing("no Python 2.7: set POSTAGE_PYTHON2, or add python2.7 to the PATH")


def _candidates() -> Iterator[str]:
    """Yield paths that may be Python 2.7.  A shim of pyenv may not work, so its versions follow."""
    named = os.environ.get("POSTAGE_PYTHON2")
    if named:
        yield named
        return
    yield from filter(None, map(shutil.which, ("python2.7", "python2")))
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    yield from map(str, sorted(pyenv.glob("versions/2.7*/bin/python2.7")))


def _output(*command: str) -> str | None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def libraries() -> Path:
    """Return the folder of the classic library and its pika; install them if it is missing."""
    if LIBRARIES.is_dir():
        return LIBRARIES
    CACHE.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE, prefix="installing-") as folder:
        _install(Path(folder, "libraries"))
        try:
            Path(folder, "libraries").rename(LIBRARIES)
        except OSError:  # another test run has installed them meanwhile
            if not LIBRARIES.is_dir():
                raise
    return LIBRARIES


def _install(target: Path) -> None:
    """Install into *target* with the pip of Python 2.7 or with ours: both are pure Python."""
    errors = []
    for python in (python2(), sys.executable):
        command = [python, "-m", "pip", "install", "--no-compile", "--no-deps", "--target"]
        done = subprocess.run(
            [*command, str(target), *REQUIREMENTS], capture_output=True, text=True, check=False
        )
        if done.returncode == 0:
            return
        errors.append(done.stderr[-500:])
        shutil.rmtree(target, ignore_errors=True)
    raise ClassicMissing(f"pip could not install {REQUIREMENTS}:\n" + "\n".join(errors))


def environment() -> dict[str, str]:
    """Return the environment of a classic program, with UTF-8 and without our paths."""
    ours = ("PYTHON", "VIRTUAL_ENV")
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(ours)}
    return inherited | {
        "PYTHONPATH": str(libraries()),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONIOENCODING": "utf-8",
    }


if __name__ == "__main__":
    interpreter = python2()
    os.execve(  # noqa: S606 - no shell is needed
        interpreter, [interpreter, str(HERE / "old.py"), *sys.argv[1:]], environment()
    )
