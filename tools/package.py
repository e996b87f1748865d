"""``make package``: build sdist and wheel in dist/, and try them as users get them.

The wheel is built from the sdist, so the sdist has everything that a build needs.  Each is
installed into an environment of its own, outside of the checkout.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DIST = ROOT / "dist"
PYTHON = sys.executable
BIN = Path(PYTHON).parent

#: Files that a wheel must have besides its modules.
NEEDED = (
    "py.typed",
    "cli/checking/explaining/troubleshooting.md",
    "cli/checking/explaining/log.md",
)


#: Nothing of the checkout: no PYTHONPATH.
ENVIRONMENT = {"PATH": os.environ["PATH"], "POSTAGE_URL": "embedded://"}


def main() -> int:
    """Build and try; return 0, or raise `subprocess.CalledProcessError` for what fails."""
    shutil.rmtree(DIST, ignore_errors=True)
    run(BIN / "pyproject-build", "--quiet")  # `-m build` would run the folder build/
    (sdist,), (wheel,) = DIST.glob("*.tar.gz"), DIST.glob("*.whl")
    run(PYTHON, "-m", "twine", "check", "--strict", sdist, wheel)
    check_files(wheel)
    workflow = ROOT / ".github" / "workflows" / "ci.yml"
    run(BIN / "check-jsonschema", "--builtin-schema", "vendor.github-workflows", workflow)
    run(PYTHON, "-m", "pre_commit", "validate-config", ROOT / ".pre-commit-config.yaml")
    with tempfile.TemporaryDirectory(prefix="postage-package-") as folder:
        try_wheel(wheel, Path(folder) / "wheel")
        try_sdist(sdist, Path(folder) / "sdist")
        test_sdist(sdist, Path(folder) / "source")
    print(f"Built and tried: {sdist.name}, {wheel.name}")
    return 0


def check_files(wheel: Path) -> None:
    """Raise SystemExit if *wheel* lacks a file, or has more than the package."""
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    missing = [name for name in NEEDED if f"postage/{name}" not in names]
    strange = {name.split("/")[0] for name in names if ".dist-info/" not in name} - {"postage"}
    if missing or strange:
        raise SystemExit(f"{wheel.name}: missing {missing}, not of the package {sorted(strange)}")


def try_wheel(wheel: Path, folder: Path) -> None:
    """Install *wheel* without extras, and run README's example, which needs no broker either."""
    install(str(wheel), folder)
    readme = (ROOT / "README.md").read_text()
    (folder / "echo.py").write_text(readme.split("```python\n", 1)[1].split("```", 1)[0])
    run(folder / "bin" / "python", "echo.py", cwd=folder, env=ENVIRONMENT)


def try_sdist(sdist: Path, folder: Path) -> None:
    """Install *sdist* with the extras of services and of the command line, and run commands."""
    install(f"{sdist}[cli,typed]", folder)
    for command in (("--version",), ("explain", "TopologyMismatch"), ("doctor",)):
        run(folder / "bin" / "postage", *command, cwd=folder, env=ENVIRONMENT)


def install(what: str, folder: Path) -> None:
    """Install *what* into a new environment in *folder*."""
    run(PYTHON, "-m", "venv", folder)
    pip = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    run(folder / "bin" / "python", *pip, what)


def test_sdist(sdist: Path, folder: Path) -> None:
    """Run the short tests of what *sdist* has: packagers of distributions do."""
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    (source,) = folder.iterdir()
    tests = ("-q", "-m", "not slow and not soak", "-p", "no:cacheprovider", "tests/model")
    run(PYTHON, "-m", "pytest", *tests, cwd=source, env={**os.environ, "PYTHONPATH": str(source)})


def run(*command: str | Path, cwd: Path = ROOT, env: dict[str, str] | None = None) -> None:
    """Run *command* with its output hidden; print all of it, and raise, if it fails."""
    print("    " + " ".join(Path(part).name if "/" in str(part) else str(part) for part in command))
    ended = subprocess.run(
        command, cwd=cwd, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    if ended.returncode:
        sys.stdout.write(ended.stdout.decode(errors="replace"))
        raise subprocess.CalledProcessError(ended.returncode, [str(part) for part in command])


if __name__ == "__main__":
    sys.exit(main())
