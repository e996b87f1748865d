"""Feed the targets what they have never seen: ``python -m tests.fuzz session --seconds 60``.

Two processes, one after the other, work on each target:

* **Draw.**  Atheris draws the inputs where it is installed: it keeps those that reach code which no
  input before has reached, and changes them further.  Elsewhere Hypothesis draws them.  Both begin
  with the corpus beside this file, and change inputs with a `Mutator`.
* **Replay.**  All inputs that were kept are fed again, several times.  Only here are time and
  memory measured, because following the coverage costs a multiple of both.

Inputs that have found a fault are written to ``.cache/fuzz/``.  Mend the fault, and move the file
into the corpus: the suite feeds each file of the corpus to its target.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import NoReturn

from tests.fuzz.watch import Watch

NAMES = ("codec", "session", "bodies", "properties")
CORPUS = Path(__file__).parent / "corpus"
KEPT = Path(".cache/fuzz")
HANGS = 30
"""Seconds after which a call is given up as endless."""
LARGEST = 1 << 16
"""Bytes of an input."""


def seeds_of(target: str) -> list[bytes]:
    """Return the corpus of *target*."""
    return [path.read_bytes() for path in sorted((CORPUS / target).iterdir())]


# --- drawing


def draw_with_atheris(name: str, folder: Path, seconds: float) -> NoReturn:
    """Draw inputs that reach new code; ends the process."""
    import atheris

    with atheris.instrument_imports(include=["postage", "pika"]):
        from tests.fuzz.mutation import Mutator
        from tests.fuzz.targets import TARGETS

    watch = Watch(TARGETS[name], folder)
    mutator = Mutator(name, seeds_of(name), lambda data, _: atheris.Mutate(data, LARGEST))
    until = time.monotonic() + seconds

    def feed(data: bytes) -> None:
        watch(data)
        if time.monotonic() >= until:
            finish(watch, "drawn by atheris", measures=False)

    def mutate(data: bytes, most: int, seed: int) -> bytes:
        return mutator.mutate(data, seed)[:most]

    options = {"max_len": LARGEST, "timeout": HANGS, "rss_limit_mb": 2048, "verbosity": 0}
    arguments = [f"-{option}={value}" for option, value in options.items()]
    folders = [str(folder / "inputs"), str(CORPUS / name)]
    arguments = [sys.argv[0], *arguments, f"-artifact_prefix={folder}/", *folders]
    atheris.Setup(arguments, feed, custom_mutator=mutate)
    atheris.Fuzz()
    raise AssertionError("atheris has returned")


def draw_with_hypothesis(name: str, folder: Path, seconds: float) -> NoReturn:
    """Draw inputs near to those of the corpus; ends the process."""
    import hypothesis
    from hypothesis import strategies as st

    from tests.fuzz.mutation import Mutator
    from tests.fuzz.targets import TARGETS

    seeds = seeds_of(name)
    watch, mutator = Watch(TARGETS[name], folder), Mutator(name, seeds)
    until = time.monotonic() + seconds

    @hypothesis.settings(
        max_examples=200, deadline=None, database=None, phases=[hypothesis.Phase.generate]
    )
    @hypothesis.given(st.sampled_from(seeds), st.integers(0, 2**32))
    def feed(data: bytes, seed: int) -> None:
        watch(mutator.mutate(data, seed))

    while time.monotonic() < until:
        feed()
    finish(watch, "drawn by hypothesis", measures=False)


# --- replaying


def replay(name: str, folder: Path, seconds: float) -> NoReturn:
    """Feed all inputs that were kept, twice at least; ends the process."""
    from tests.fuzz.targets import TARGETS

    watch = Watch(TARGETS[name], folder)
    kept = [path.read_bytes() for path in sorted((folder / "inputs").iterdir())]
    inputs = [*seeds_of(name), *kept]
    until = time.monotonic() + seconds
    for data in inputs:
        watch(data)
    watch.settle()
    while True:
        for data in inputs:
            watch(data)
        if time.monotonic() >= until:
            finish(watch, f"{len(inputs)} inputs replayed", measures=True)


def finish(watch: Watch, what: str, *, measures: bool) -> NoReturn:
    """Print the report, and end the process without asking libFuzzer."""
    text, is_good = watch.report()
    sys.stdout.write(f"{sys.argv[1]}, {what}: {text}\n")
    sys.stdout.flush()
    os._exit(not (is_good if measures else not watch.faults))


# --- all of it


def main() -> int:
    """Run what the arguments say; return 1 if there was any fault."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(NAMES)}")
    parser.add_argument("--seconds", type=float, default=1800.0, help="for each target")
    parser.add_argument("--phase", choices=("draw", "replay"), help="only this one, of one target")
    options = parser.parse_args()
    targets = options.targets or NAMES
    if unknown := set(targets) - set(NAMES):
        parser.error(f"no such target: {', '.join(sorted(unknown))}")
    if options.phase:
        (name,) = targets
        folder = KEPT / name
        (folder / "inputs").mkdir(parents=True, exist_ok=True)
        if options.phase == "replay":
            replay(name, folder, options.seconds / 10)
        elif importlib.util.find_spec("atheris") is not None:
            draw_with_atheris(name, folder, options.seconds)
        draw_with_hypothesis(name, folder, options.seconds)
    codes = [
        subprocess.run([sys.executable, "-m", "tests.fuzz", name, *each], check=False).returncode
        for name in targets
        for each in (
            ("--seconds", str(options.seconds), "--phase", "draw"),
            ("--seconds", str(options.seconds), "--phase", "replay"),
        )
    ]
    return int(any(codes))


if __name__ == "__main__":
    sys.exit(main())
