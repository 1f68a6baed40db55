"""Reads a report of pip-audit (JSON): ends with 1 for a known vulnerability, and says what could not be audited."""

import json
import sys
from pathlib import Path


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")


def main() -> int:
    """Write what was found in the report that is named; its exit code."""
    try:
        packages = json.loads(Path(sys.argv[1]).read_text())["dependencies"]
    except (OSError, ValueError, KeyError):
        say("skipped: pip-audit or its data cannot be reached")
        return 0
    audited = [one for one in packages if "vulns" in one]
    for one in audited:
        for found in one["vulns"]:
            say(f"{one['name']} {one['version']}: {found['id']}, fixed in {', '.join(found['fix_versions']) or '-'}")
    skipped = [one["name"] for one in packages if "vulns" not in one and one["name"] != "llmmon"]
    if skipped:
        say(f"not audited, since pip-audit has no data: {', '.join(sorted(skipped))}")
    say(f"{len(audited)} packages audited")
    return int(any(one["vulns"] for one in audited))


sys.exit(main())
