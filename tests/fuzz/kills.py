"""Kills at random moments: real runs of the commands, ended by SIGINT, SIGTERM or SIGKILL, then run again.

    python -m tests.fuzz.kills --count 1000

A run that was killed leaves no traceback, no half file, no temporary file and no process behind, and the next one gives
what an undisturbed one gives. Prints a JSON object for each run that was not so, and at the end the kills survived.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any, Final, NamedTuple

from tests.support.appending_log import CONFIGURATION
from tests.support.command_server import load_everything, run

OLD: Final = b"as it was before\n"
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)
_ENDINGS: Final = {signal.SIGINT: {130, -2}, signal.SIGTERM: {143, -15}, signal.SIGKILL: {-9}}
_GONE_S: Final = 3.0  # until when the workers of a killed run have noticed
_SHARED_BYTES: Final = 26 << 20  # of a log that several processes read


class Job(NamedTuple):
    """A command line, the files that it writes, what is in its folder afterwards beside those, its standard input."""

    args: tuple[str, ...]
    writes: tuple[str, ...]
    keeps: tuple[str, ...] = ()
    stdin: str = os.devnull


JOBS: Final = (
    Job(("summarize", "big.jsonl", "--jobs", "3", "-o", "out.json", "--force"), ("out.json",), (".cache",)),
    Job(("summarize", "big.jsonl", "--jobs", "2", "--rejects", "bad", "-o", "out.csv", "--force"), ("out.csv", "bad")),
    Job(("requests", "small.jsonl", "--limit", "0", "-o", "out.jsonl", "--force"), ("out.jsonl",)),
    Job(("export", "small.jsonl", "--to", "jsonl", "-o", "out.jsonl", "--force"), ("out.jsonl",)),
    Job(("export", "small.jsonl", "-o", "out.prom", "--force"), ("out.prom",)),
    Job(("score", "texts.jsonl", "-o", "out.jsonl", "--force", "-q"), ("out.jsonl",)),
    Job(("anomalies", "small.jsonl", "-o", "out.json", "--force"), ("out.json",)),
    Job(("cost", "small.jsonl", "-o", "out.md", "--force"), ("out.md",)),
    Job(("inspect", "small.jsonl", "-o", "out.json", "--force"), ("out.json",)),
    Job(("report", "-", "-o", "out.html", "--force"), ("out.html",), stdin="small.jsonl"),
    Job(("simulate", "made", "--days", "3", "--per-day", "3000", "--force"), (), ("made",)),
    Job(("check", "--now", "2026-01-01T04:00:00Z", "-f", "json"), (), ("state.db*", "told.jsonl")),
)


class Try(NamedTuple):
    """One run: its job, what it was sent after which share of its time, and what was wrong with it ("": nothing)."""

    job: int
    sent: str
    share: float
    to_group: bool
    ended: int
    wrong: str


def _is_temporary(path: Path) -> bool:
    return path.name.startswith(".llmmon-") and path.is_file()


class Killer:
    """Runs jobs in a folder of its own, first undisturbed, then killed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._logs = folder / "logs"
        self._logs.mkdir()
        _write_logs(self._logs)
        self._whole: dict[int, tuple[float, dict[str, bytes]]] = {}

    def attempt(self, number: int, sent: signal.Signals, share: float, *, to_group: bool) -> Try:
        """Kill a job when a share of its time has passed, then run it to its end."""
        job = JOBS[number]
        took, expected = self._whole.get(number) or self._whole.setdefault(number, self._undisturbed(job))
        home = self._home(job)
        pid = _started(job, home)
        time.sleep(took * share)
        (os.killpg if to_group else os.kill)(pid, sent)
        ended = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        wrong = self._wrong(job, home, ended, sent, expected) or self._left(pid) or self._again(job, home, expected)
        shutil.rmtree(home)
        return Try(number, sent.name, share, to_group, ended, wrong)

    def _undisturbed(self, job: Job) -> tuple[float, dict[str, bytes]]:
        home = self._home(job)
        before = time.monotonic()
        code = os.waitstatus_to_exitcode(os.waitpid(_started(job, home), 0)[1])
        took = time.monotonic() - before
        assert code in (0, 1), (job.args, code, (home / "stderr").read_text())
        found = {name: (home / name).read_bytes() for name in job.writes}
        shutil.rmtree(home)
        return took, found

    def _home(self, job: Job) -> Path:
        home = Path(tempfile.mkdtemp(dir=self._folder))
        (home / "tmp").mkdir()
        for log in self._logs.iterdir():
            (home / log.name).hardlink_to(log)
        if job.args[0] == "check":
            configured = CONFIGURATION.replace("{more}", "").replace("logs/*.jsonl", "small.jsonl")
            (home / "llmmon.toml").write_text(configured)
        for name in job.writes:
            (home / name).write_bytes(OLD)
        return home

    def _wrong(self, job: Job, home: Path, ended: int, sent: int, expected: dict[str, bytes]) -> str:
        if ended not in {0, 1, *_ENDINGS[signal.Signals(sent)]}:
            return f"ended with {ended}: {(home / 'stderr').read_text()[-400:]}"
        talk = (home / "stderr").read_text()
        if any(sign in talk for sign in ("Traceback", "Exception ignored", "internal error", "rror:")):
            return f"says {talk[-400:]}"
        for name, content in expected.items():
            if (home / name).read_bytes() not in (OLD, content):
                return f"left half of {name}"
        known = {"tmp", "stdout", "stderr", "llmmon.toml", *job.writes, *(log.name for log in self._logs.iterdir())}
        others = [path for path in home.iterdir() if path.name not in known]
        if sent == signal.SIGKILL:  # a file that is whole has another name for a moment, before it takes its own
            others = [path for path in others if not (_is_temporary(path) and path.read_bytes() in expected.values())]
        strange = [path.name for path in others if not any(path.match(pattern) for pattern in job.keeps)]
        strange += [path.name for path in (home / "tmp").iterdir()]
        strange += [str(path) for path in home.rglob("*/.llmmon-*")]
        return f"left {strange}" if strange else ""

    def _left(self, session: int) -> str:
        """Processes that outlived the run."""
        until = time.monotonic() + _GONE_S
        while left := _processes_of(session):
            if time.monotonic() > until:
                return f"left the processes {left}"
            time.sleep(0.02)
        return ""

    def _again(self, job: Job, home: Path, expected: dict[str, bytes]) -> str:
        """Whether the next run is as if nothing had been."""
        code = os.waitstatus_to_exitcode(os.waitpid(_started(job, home), 0)[1])
        if code not in (0, 1):
            return f"the next run ended with {code}: {(home / 'stderr').read_text()[-400:]}"
        for name, content in expected.items():
            if (home / name).read_bytes() != content:
                return f"the next run gives another {name}"
        if job.args[0] == "check":
            messages = [json.loads(line) for line in (home / "told.jsonl").read_text().splitlines() if line]
            told = Counter((one["event"], one["alert_id"]) for message in messages for one in message["alerts"])
            if len(told) != 3 or max(told.values()) > 2:  # one alert a model, told again at most once
                return f"told {told}"
        return ""


def _started(job: Job, home: Path) -> int:
    """A process of a session of its own that becomes the command line; signals reach it from there on."""
    environment = {"HOME": str(home), "PATH": os.defpath, "TMPDIR": str(home / "tmp"), "PYTHONUTF8": "1"}
    places = {"stdin": str(home / job.stdin), "stdout": str(home / "stdout"), "stderr": str(home / "stderr")}
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    pid = os.fork()
    if not pid:
        os.setsid()
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # as `python -m llmmon` does first
        tempfile.tempdir = None
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        run({"args": job.args, "cwd": str(home), "env": environment, **places})
    while os.getsid(pid) != pid:  # so that its group can be sent to
        time.sleep(0.0005)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
    return pid


def _processes_of(session: int) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                state, _, _, owner = (entry / "stat").read_text().rpartition(")")[2].split()[:4]
            except OSError:
                continue
            if int(owner) == session and state != "Z":
                found.append(int(entry.name))
    return found


def _write_logs(folder: Path) -> None:
    """A fat log that is shared out, a small one with an incident, one with texts; some lines cannot be read."""
    small = "".join(json.dumps(_call(number)) + "\n" for number in range(4790))
    (folder / "small.jsonl").write_text(small + '{"cut off\n' * 10)
    text = "The harbour opens at six, and the boats leave with the tide. " * 30
    row = {"model": "m", "timestamp": "2026-01-01T00:00:00Z", "latency_ms": 5, "prompt": "When?", "output": text}
    line = json.dumps(row) + "\n"
    (folder / "texts.jsonl").write_text(line * 150)
    with (folder / "big.jsonl").open("w") as file:
        file.writelines(line * 100 + "{cut off\n" for _ in range(_SHARED_BYTES // len(line) // 100))


def _call(number: int) -> dict[str, Any]:
    """One of twenty calls a minute, slow from a time on."""
    minute, second = number // 20, number % 20 * 3
    return {
        "timestamp": f"2026-01-01T{minute // 60:02d}:{minute % 60:02d}:{second:02d}Z",
        "model": "abc"[number % 3],
        "latency_ms": 9000 if minute > 200 else 1000 + number % 97,
        "status": "ok",
        "cost_usd": 0.001,
    }


def kills(seed: int, count: int) -> Iterator[Try]:
    """Kill runs, each job in turn, at moments that the seed decides."""
    load_everything()
    rng = Random(seed)  # noqa: S311 - to be repeatable
    with tempfile.TemporaryDirectory(prefix="llmmon-kills-") as folder:
        killer = Killer(Path(folder))
        for number in range(count):
            sent = _SIGNALS[number // len(JOBS) % 3]
            yield killer.attempt(number % len(JOBS), sent, rng.random() * 1.1, to_group=rng.random() < 0.5)


def main() -> int:
    """Run as the command line says; 1 if something was not survived."""
    parser = argparse.ArgumentParser(description="Kills runs of llmmon at random moments.")
    parser.add_argument("--count", type=int, default=200, help="runs to kill")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    tries = []
    for one in kills(given.seed, given.count):
        tries.append(one)
        if one.wrong:
            print(json.dumps({"command": " ".join(JOBS[one.job].args), **one._asdict()}), flush=True)
    summary: dict[str, Any] = {
        "runs": len(tries),
        "killed": sum(one.ended not in (0, 1) for one in tries),
        "not survived": sum(bool(one.wrong) for one in tries),
    }
    print(json.dumps(summary))
    return int(summary["not survived"] > 0)


if __name__ == "__main__":
    sys.exit(main())
