"""Damaged logs through every command: no traceback, no hang, an accounting that adds up, documented exit codes.

    python -m tests.fuzz.fuzz --count 100000

Prints each failure with its number, by which it can be run again alone (`--seed S --first N --count 1 --show`), and
at the end inputs, failures and time. In a process for each processor; each input is one run of the command line.
With `--serve` it tries what it is told to, an input a line of JSON (see `test_fuzz.py`).
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import os
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any, Final, NamedTuple

from tests.fuzz.mutations import configurations, damaged, samples

LONGEST_S: Final = 60  # of processor time; five times as long by the clock
_CODES: Final = {0, 1, 2, 3, 4, 5}
_RULES: Final = Path(__file__).parents[2] / "sample_logs" / "llmmon.toml"
_JSON: Final = ("-f", "json")
_CONFIGURED: Final = 0.03  # of inputs
# command, how often of all
COMMANDS: Final[tuple[tuple[tuple[str, ...], int], ...]] = (
    (("summarize", *_JSON), 12),
    (("summarize", "--by", "user", "--by", "tag.env", "--every", "1h", "--dedup", *_JSON), 8),
    (("summarize", "--where", "model=gpt* and latency_ms>5 or not error", "--window", "60", *_JSON), 8),
    (("summarize", "--cost", "calculated", "-f", "table"), 4),
    (("requests", "--limit", "0", "--show-text", "-f", "jsonl"), 6),
    (("requests", "--sort", "latency_ms", "-f", "table"), 4),
    (("anomalies", *_JSON), 6),
    (("cost", *_JSON), 6),
    (("score", *_JSON), 8),
    (("inspect", *_JSON), 8),
    (("export", "--to", "prometheus"), 3),
    (("export", "--to", "openmetrics"), 3),
    (("export", "--to", "csv"), 4),
    (("export", "--to", "jsonl", "--keep-text"), 4),
    (("export", "--to", "otlp"), 2),
    (("export", "--to", "prometheus", "--cumulative", "--state", "state.db"), 1),
    (("check", "--now", "log", "--dry-run", *_JSON), 3),
    (("check", "--now", "log", "--state", "state.db", *_JSON), 2),
    (("rules", "backtest", "--config", str(_RULES), *_JSON), 2),
    (("rules", "suggest", "--config", str(_RULES), *_JSON), 1),
    (("watch", "--now", "log", "--count", "1", "-f", "jsonl"), 2),
    (("report", "-o", "out.html"), 1),
)
CONFIGURED: Final[tuple[tuple[str, ...], ...]] = (  # commands that a damaged configuration is given to
    ("rules", "check", *_JSON, "--config"),
    ("notify", "list", *_JSON, "--config"),
    ("check", "--now", "log", "--dry-run", *_JSON, "--config"),
)
_WORDS, _OFTEN = [words for words, _ in COMMANDS], [often for _, often in COMMANDS]


class Failure(NamedTuple):
    """An input that was not survived: its number, the command, what went wrong."""

    number: int
    command: str
    what: str


class _Hang(BaseException):
    pass


def _alarm(*_: Any) -> None:
    raise _Hang


def try_one(seed: int, number: int, logs: dict[str, bytes], *, show: bool = False) -> Failure | None:
    """Make one input, run one command on it, judge what came; the process must be prepared."""
    rng = Random(f"{seed}:{number}")  # noqa: S311 - to be repeatable
    if rng.random() < _CONFIGURED:
        name, data = damaged(configurations(), rng, packed=False)
        command = rng.choice(CONFIGURED)
    else:
        name, data = damaged(logs, rng)
        (command,) = rng.choices(_WORDS, _OFTEN)
    what = try_input(command, name, data, show=show)
    return Failure(number, " ".join(command), what) if what else None


def try_input(command: Sequence[str], name: str, data: bytes, *, show: bool = False) -> str:
    """What is wrong with how a command takes a file of this name and content; "" if nothing."""
    Path(name).write_bytes(data)
    args = [*command, name]
    try:
        code, out, talk = run_here(args)
        if show:
            sys.stdout.write(f"llmmon {' '.join(args)}  ({Path(name).absolute()})\nexit {code}\n{out}{talk}")
        what = judged(code, out, talk, args)
    except _Hang:
        what = f"hangs: {_last_lines(traceback.format_exc())}"
    except Exception:  # noqa: BLE001 - that is what is looked for
        what = _last_lines(traceback.format_exc())
    left = "" if show else _tidied(name)
    return what or left


def _tidied(name: str) -> str:
    """Remove what the run was given and what it may make; what else it has left is wrong."""
    for path in (Path(name), *Path().glob("state.db*"), Path("out.html")):
        path.unlink(missing_ok=True)
    strange = [path.name for path in Path().iterdir() if path.name not in {".cache", ".local"}]
    return f"leaves {strange}" if strange else ""


def _last_lines(text: str) -> str:
    return "\n    ".join(text.strip().splitlines()[-9:])


def run_here(args: Sequence[str]) -> tuple[int, str, str]:
    """The command line in this process: exit code, stdout, stderr."""
    from llmmon.cli import main

    kept = sys.stdout, sys.stderr, sys.argv
    out, talk = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2))
    sys.stdout, sys.stderr, sys.argv = out, talk, ["llmmon", *args]
    signal.setitimer(signal.ITIMER_PROF, LONGEST_S)
    signal.setitimer(signal.ITIMER_REAL, 5 * LONGEST_S)
    code: Any = 0
    try:
        main()
    except SystemExit as end:
        code = end.code or 0
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
        sys.stdout, sys.stderr, sys.argv = kept
    said = [stream.buffer.getvalue() for stream in (out, talk)]  # type: ignore[attr-defined]
    return code, said[0].decode(), said[1].decode("utf-8", "backslashreplace")


def judged(code: int, out: str, talk: str, args: Sequence[str]) -> str:
    """What is wrong with the result of a run; "" if nothing."""
    if code not in _CODES:
        return f"exit code {code}"
    if code and not talk:
        return f"exit code {code} without a word"
    for text in (out, talk):
        if "\x1b" in text or "Traceback (most" in text:
            return f"escapes or a traceback in the output: {text[-200:]}"
    if "-f" not in args or not out:
        return ""
    kind = args[list(args).index("-f") + 1]
    if kind == "table":
        return ""
    found = [json.loads(line, parse_constant=_no_constant) for line in ([out] if kind == "json" else out.splitlines())]
    return _accounts(found[0]["source"]) if kind == "json" else ""


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _accounts(source: dict[str, Any]) -> str:
    counts = {name: source[name] for name in ("lines", "blank", "used", "skipped", "rejected")}
    if counts["lines"] != sum(counts.values()) - counts["lines"]:
        return f"does not add up: {counts}"
    if any(isinstance(value, int) and value < 0 for value in source.values()):
        return f"less than nothing: {source}"
    if sum(source["dialects"].values()) < counts["used"]:
        return f"used more than was read: {source}"
    return ""


def prepare(folder: Path) -> None:
    """Make this process one that runs command lines, in a folder of its own and without standard input."""
    os.chdir(folder)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.environ.clear()
    os.environ.update({"HOME": str(folder), "PATH": os.defpath, "LLMMON_DEBUG": "1", "PYTHONUTF8": "1"})
    signal.signal(signal.SIGALRM, _alarm)
    signal.signal(signal.SIGPROF, _alarm)


def worker(seed: int, numbers: Sequence[int], pipe: int, *, show: bool) -> None:
    """Try some inputs, tell the failures as JSON lines."""
    logs = samples()
    with tempfile.TemporaryDirectory(prefix="llmmon-fuzz-") as folder, os.fdopen(pipe, "w") as tell:
        prepare(Path(folder))
        for number in numbers:
            failure = try_one(seed, number, logs, show=show)
            if failure is not None:
                tell.write(json.dumps(failure) + "\n")
                tell.flush()


def serve() -> None:
    """Try the inputs that come as lines of JSON, answer each with what is wrong with it."""
    with tempfile.TemporaryDirectory(prefix="llmmon-fuzz-") as folder, os.fdopen(os.dup(0)) as asked:
        prepare(Path(folder))
        for line in asked:
            told = json.loads(line)
            what = try_input(told["command"], told["name"], base64.b64decode(told["data"]))
            print(json.dumps(what), flush=True)


def fuzz(seed: int, first: int, count: int, jobs: int, *, show: bool = False) -> Iterator[Failure]:
    """The failures among `count` inputs, as they come."""
    receive, send = os.pipe()
    children = []
    for job in range(jobs):
        child = os.fork()
        if not child:
            os.close(receive)
            status = 1
            try:
                worker(seed, range(first + job, first + count, jobs), send, show=show)
                sys.stdout.flush()
                status = 0
            except BaseException:  # noqa: BLE001 - it ends here
                traceback.print_exc()
            os._exit(status)
        children.append(child)
    os.close(send)
    with os.fdopen(receive) as told:
        for line in told:
            yield Failure(*json.loads(line))
    for child in children:
        _, status = os.waitpid(child, 0)
        if status:
            yield Failure(-1, "", f"a worker ended with status {os.waitstatus_to_exitcode(status)}")


def main() -> int:
    """Run as the command line says; 1 if something was not survived."""
    parser = argparse.ArgumentParser(description="Damaged logs through every command of llmmon.")
    parser.add_argument("--count", type=int, default=10_000, help="inputs to try")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=0, help="number of the first input")
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--show", action="store_true", help="show commands and outputs; keep nothing")
    parser.add_argument("--serve", action="store_true", help="try what comes on standard input")
    given = parser.parse_args()
    if given.serve:
        serve()
        return 0
    before = time.monotonic()
    failures = 0
    for failure in fuzz(given.seed, given.first, given.count, min(given.jobs, given.count), show=given.show):
        failures += 1
        print(f"{failure.number}: llmmon {failure.command}\n    {failure.what}", flush=True)
    took = time.monotonic() - before
    print(f"{given.count:,} inputs (seed {given.seed}), {failures} failures, {took:,.0f} s")
    return int(failures > 0)


if __name__ == "__main__":
    sys.exit(main())
