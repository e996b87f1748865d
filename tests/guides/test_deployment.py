"""docs/howto/systemd.md, docker.md and kubernetes.md: what they show is valid, and runs."""

from __future__ import annotations

import configparser
import getpass
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from postage import MessageProcessor
from postage.testing.polling import wait_until
from postage.testing.rabbitmq import free_ports
from tests.support.guide import SOON, Site, require, require_tool, save_files
from tests.support.programs import ROOT, Program

require("kubernetes_validate", "msgspec")

pytestmark = pytest.mark.slow
#: Without the path of the checkout, in which pip would find Postage installed already.
OUTSIDE = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
NOWHERE = "amqp://127.0.0.1:1/?connect_timeout=2"


def run(*command: str | Path, **options: Any) -> str:
    """Run a tool, which must succeed, and return what it prints."""
    ended = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout + ended.stderr


def manifest(folder: Path) -> dict[str, Any]:
    save_files("kubernetes", folder)
    return yaml.safe_load((folder / "greeter.yaml").read_text())


def unit(folder: Path) -> configparser.SectionProxy:
    save_files("systemd", folder)
    parser = configparser.ConfigParser(interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # names keep their case
    parser.read(folder / "greeter.service")
    return parser["Service"]


def instructions(folder: Path) -> list[tuple[str, str]]:
    save_files("docker", folder)
    text = (folder / "Dockerfile").read_text().replace("\\\n", "")
    return [tuple(line.split(maxsplit=1)) for line in text.splitlines() if line]  # type: ignore[misc]


# --- systemd


def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    tool = require_tool("systemd-analyze")
    service = unit(tmp_path)
    path = tmp_path / "greeter.service"
    text = path.read_text().replace(service["ExecStart"].split()[0], shutil.which("true") or "")
    path.write_text(text.replace("User=greeter", f"User={getpass.getuser()}"))

    assert run(tool, "verify", "--man=no", path) == ""


def test_the_unit_ends_in_order(broker_env, tmp_path: Path) -> None:
    service = unit(tmp_path)
    save_files("flask", tmp_path)
    command = shlex.split(service["ExecStart"])[1:]

    with Program("-m", "postage", *command, cwd=tmp_path) as program:
        for _ in range(2):
            program.wait_for_line("Running 1 component", SOON)
        ended = program.terminate(30)

    assert ended.code == 0, ended.stderr
    assert float(service["TimeoutStopSec"]) > MessageProcessor.shutdown_timeout


# --- Kubernetes


def test_kubernetes_accepts_the_manifest(tmp_path: Path) -> None:
    manifest(tmp_path)

    run(require_tool("kubernetes-validate"), "--strict", tmp_path / "greeter.yaml")


def test_the_probes_of_the_manifest_answer(
    broker_env, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pod = manifest(tmp_path)["spec"]["template"]["spec"]
    [container] = pod["containers"]
    save_files("flask", tmp_path)
    (port,) = free_ports(1)
    arguments = [each.replace("8086", str(port)) for each in container["args"]]
    alive, ready = (
        container[f"{name}Probe"]["httpGet"]["path"] for name in ("liveness", "readiness")
    )

    with Program("-m", "postage", "run", *arguments, cwd=tmp_path) as program:
        site = Site(program, port)
        wait_until(site.answers, SOON)
        wait_until(lambda: site.get(ready)[0] == 200, SOON)
        assert site.get(alive)[0] == 200
    monkeypatch.setenv("POSTAGE_URL", NOWHERE)
    with Program("-m", "postage", "run", *arguments, cwd=tmp_path) as program:
        site = Site(program, port)
        wait_until(site.answers, SOON)
        assert (site.get(alive)[0], site.get(ready)[0]) == (200, 503)

    assert pod["terminationGracePeriodSeconds"] > MessageProcessor.shutdown_timeout


# --- Docker


def test_the_linter_accepts_the_dockerfile(tmp_path: Path) -> None:
    instructions(tmp_path)

    run(require_tool("hadolint"), tmp_path / "Dockerfile")


@pytest.mark.limit(240)  # pip builds and installs
def test_the_steps_of_the_dockerfile_work(broker_env, tmp_path: Path) -> None:
    """Without docker: each ``RUN pip`` in a new environment, then ``ENTRYPOINT`` and ``CMD``."""
    steps = instructions(tmp_path)
    save_files("flask", tmp_path)
    run(sys.executable, "-m", "venv", tmp_path / "image")
    for command in (text for name, text in steps if name == "RUN"):
        step = re.sub(r"--mount=\S+ *", "", command)
        step = step.replace("/wheels", str(tmp_path / "wheels")).replace(
            "/src", str(copied(tmp_path))
        )
        if step.startswith("pip "):
            pip = f"{tmp_path}/image/bin/python -m pip --disable-pip-version-check "
            run("sh", "-c", pip + step.removeprefix("pip "), cwd=tmp_path, env=OUTSIDE)
    (port,) = free_ports(1)
    named = dict(steps)
    start = [
        each.replace("8086", str(port))
        for name in ("ENTRYPOINT", "CMD")
        for each in yaml.safe_load(named[name])
    ]
    health = yaml.safe_load(named["HEALTHCHECK"].removeprefix("CMD "))[1:-1]
    postage = ["-c", f"import os, sys; os.execv({str(tmp_path / 'image/bin/postage')!r}, sys.argv)"]

    with Program(*postage, *start[1:], cwd=tmp_path) as program:
        program.wait_for_line("Running 1 component", SOON)
        wait_until(Site(program, port).answers, SOON)
        run(tmp_path / "image" / "bin" / "postage", *health, str(port))
        ended = program.terminate(30)

    assert ended.code == 0, ended.stderr


def copied(folder: Path) -> Path:
    """Return a copy of what `pip wheel` needs of the checkout, made once in *folder*."""
    target = folder / "postage-src"
    if not target.exists():
        target.mkdir()
        for name in ("postage", "docs"):
            shutil.copytree(ROOT / name, target / name, symlinks=True)
        for name in ("pyproject.toml", "setup.cfg", "README.md", "LICENSE", "MANIFEST.in"):
            shutil.copy(ROOT / name, target / name)
    return target
