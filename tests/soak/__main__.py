"""Both soaks: days of `check` beside a model of it, and minutes of every process on one folder.

    python -m tests.soak [--days 30] [--minutes 10] [--seed 1] [--folder FOLDER]

A soak of 0 days or minutes is left out. Faults are printed, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from tests.soak.days import soaked as days_soaked
from tests.soak.processes import soaked as processes_soaked
from tests.support.command_server import load_everything


def main() -> None:
    """Soak in a temporary folder, or in one that is kept."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    options.add_argument("--days", type=int, default=30)
    options.add_argument("--minutes", type=int, default=10)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--folder", type=Path, help="keep the logs, the state and what the processes said here")
    given = options.parse_args()
    faults: list[str] = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = (given.folder or Path(temporary)).absolute()
        for soak, name, length in (
            (days_soaked, "days", given.days),
            (processes_soaked, "processes", given.minutes),
        ):
            if length:
                if name == "days":
                    load_everything()  # so that the forked runs need not
                (folder / name).mkdir(parents=True)
                text, found = soak(folder / name, length, given.seed)
                sys.stdout.write("\n".join([text, *found[:40], f"{len(found)} faults"]) + "\n")
                sys.stdout.flush()
                faults += found
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
