"""docs/howto/logging.md: the id of a request is in the log of each service that works for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.guide import SOON, require, save_files
from tests.support.programs import Program, run_program

require("msgspec")

pytestmark = pytest.mark.slow


def test_both_services_log_the_request(broker_env, tmp_path: Path) -> None:
    save_files("logging", tmp_path)

    with Program("-m", "postage", "run", "chain", cwd=tmp_path) as services:
        services.wait_for_line("[-]: Running 2 components", SOON)
        asked = run_program("ask.py", "visit-42", cwd=tmp_path)
        forged = run_program("ask.py", "two\nlines", cwd=tmp_path)

        assert (asked.stdout, forged.stdout) == ("hello Ann\n", "hello Ann\n"), asked.stderr
        for text in ("Greeting somebody.", "Polishing a name."):
            services.wait_for_line(f"INFO chain [visit-42]: {text}", SOON)
            services.wait_for_line(f"INFO chain [-]: {text}", SOON)
