"""Look up known vulnerabilities of all that is installed here; a part of ``make check``.

pip-audit asks PyPI.  A finding fails the check.  An index that cannot be reached, or does not know
a package, does not: then the output says what was not looked up.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

COMMAND = (
    *(sys.executable, "-m", "pip_audit", "--vulnerability-service", "pypi", "--format", "json"),
    *("--skip-editable", "--progress-spinner", "off", "--timeout", "5"),
)
LIMIT = 60
"""Seconds that all questions may take together."""
MOST_NAMED = 5
"""How many of the packages that the index does not know are named."""


def main(command: Sequence[str] = COMMAND, limit: float = LIMIT) -> int:
    """Run *command*, which is pip-audit; print the result, and return the exit code."""
    try:
        ended = subprocess.run(command, capture_output=True, text=True, timeout=limit, check=False)
    except subprocess.TimeoutExpired:
        print(f"audit: nothing was looked up: no answer within {limit:g} s")
        return 0
    try:
        dependencies = json.loads(ended.stdout)["dependencies"]
    except (ValueError, KeyError):
        reason = ended.stderr.strip().splitlines()[-1:] or ["it printed nothing"]
        if "No module named" in reason[0]:
            print(f"audit: {reason[0]}")
            return 1
        print(f"audit: nothing was looked up: {reason[0]}")
        return 0
    found, unknown = findings(dependencies), skipped(dependencies)
    if unknown:
        named = ", ".join(unknown[:MOST_NAMED]) + ("..." if len(unknown) > MOST_NAMED else "")
        print(f"audit: the index said nothing about {len(unknown)} packages: {named}")
    looked_up = sum("vulns" in each for each in dependencies)
    print("\n".join(found) or f"audit: no vulnerability is known of the other {looked_up}")
    return 1 if found else 0


def findings(dependencies: Sequence[dict[str, Any]]) -> list[str]:
    """Return a line for each known vulnerability of *dependencies*, as pip-audit lists them."""
    return [
        f"audit: {each['name']} {each['version']} has {known['id']}, mended in "
        f"{', '.join(known['fix_versions']) or 'no version yet'}"
        for each in dependencies
        for known in each.get("vulns", ())
    ]


def skipped(dependencies: Sequence[dict[str, Any]]) -> list[str]:
    """Return the names of the packages about which the index said nothing."""
    return [
        each["name"]
        for each in dependencies
        if "skip_reason" in each and "editable" not in each["skip_reason"]
    ]


if __name__ == "__main__":
    sys.exit(main())
