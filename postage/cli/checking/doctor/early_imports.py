"""Imports a module as a program of its own would, and tells what it imports before it patches.

`early_imports` runs this module as a process, because a patch cannot be undone.  Components that
the module makes at its import get a broker inside that process, so yours is never contacted.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from postage.foreign_text import one_line

LONGEST_WAIT = 60.0
"""Seconds that the import of a module may take."""


@dataclass(frozen=True)
class EarlyImports:
    """What a module does before it patches the standard library, if it does."""

    patches: bool = False
    kept: dict[str, str] = field(default_factory=dict)
    threads: int = 0
    error: str = ""


def early_imports(module: str) -> EarlyImports:
    """Import *module* in a process of its own, with nothing patched before; never raises."""
    with tempfile.TemporaryDirectory(prefix="postage-doctor-") as folder:
        answer = Path(folder, "answer")
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        command = [sys.executable, "-m", __name__, module, str(answer)]
        try:
            subprocess.run(  # noqa: S603 - our own interpreter and module
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=LONGEST_WAIT,
                check=False,
            )
            return EarlyImports(**json.loads(answer.read_text()))
        except subprocess.TimeoutExpired:
            return EarlyImports(error=f"it takes more than {LONGEST_WAIT:g} s")
        except (OSError, ValueError):
            return EarlyImports(error="its import ends the process")


def main(module: str, answer: str) -> None:
    """Import *module*, and write what it did to the file *answer*."""
    from postage.cli.checking.doctor.patch_order import PatchWatch  # noqa: PLC0415 - the parent needs none
    from postage.settings import Settings, live  # noqa: PLC0415 - as above

    live.sandbox = Settings(host="embedded://doctor?transient_queues=true")
    watch, error = PatchWatch(), ""
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        importlib.import_module(module)
    except (Exception, SystemExit) as exc:
        error = f"{type(exc).__name__}: {one_line(exc, 200)}"
    found: dict[str, Any] = {
        "patches": watch.modules is not None,
        "kept": watch.kept(),
        "threads": watch.threads,
        "error": error,
    }
    Path(answer).write_text(json.dumps(found))
    os._exit(0)  # threads of the module might go on


if __name__ == "__main__":
    main(*sys.argv[1:])
