"""Runs command lines for the tests: one process that has loaded llmmon once, and forks for every run.

Reads one JSON object a line (`args`, `cwd`, `env`, and the paths `stdin`, `stdout`, `stderr`), answers with the
exit code. A run is the real `main` in a process of its own, without the time that a new interpreter takes.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import os
import pkgutil
import signal
import sys
from typing import Any, NoReturn

import llmmon

LONGEST_S = 60


def load_everything() -> None:
    """Import all of llmmon, except what needs an extra that is not there."""
    for module in pkgutil.walk_packages(llmmon.__path__, "llmmon."):
        if not module.name.endswith("__main__"):
            with contextlib.suppress(ImportError):
                importlib.import_module(module.name)


def run(job: dict[str, Any]) -> NoReturn:
    """Become the command line that the job describes."""
    signal.alarm(LONGEST_S)
    os.chdir(job["cwd"])
    os.environ.clear()
    os.environ.update(job["env"])
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    for place, (path, how) in enumerate([(job["stdin"], os.O_RDONLY), (job["stdout"], flags), (job["stderr"], flags)]):
        os.dup2(os.open(path, how), place)
    sys.stdin = io.TextIOWrapper(io.FileIO(0, closefd=False), encoding="utf-8")
    sys.stdout = io.TextIOWrapper(io.BufferedWriter(io.FileIO(1, "w", closefd=False)), encoding="utf-8")
    sys.stderr = io.TextIOWrapper(
        io.BufferedWriter(io.FileIO(2, "w", closefd=False)),
        encoding="utf-8",
        errors="backslashreplace",
        line_buffering=True,
    )
    sys.argv = ["llmmon", *job["args"]]
    code = 70
    try:
        from llmmon.cli import main

        main()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    except BaseException:  # noqa: BLE001 - whatever it is, it is shown
        import traceback

        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def main() -> None:
    """Serve until stdin ends."""
    load_everything()
    for line in sys.stdin:
        child = os.fork()
        if not child:
            run(json.loads(line))
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)  # noqa: T201 - its answer


if __name__ == "__main__":
    main()
