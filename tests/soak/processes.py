"""Minutes of every process of llmmon on one folder: writers, `serve`, `check`, `export --cumulative` and `watch`.

They are killed at random moments, logs are rotated under them, writes fail as on a full disk, channels are down, and
the clock jumps ahead for one `check`. Then a count that shares no code with llmmon is compared: every acknowledged call
is in the logs once, `summarize`, `serve` and the exported counters find just these, counters never fell, no file was
half-written, and every incident was notified once to each channel, but for repeats after kills.
"""

from __future__ import annotations

import json
import os
import random
import re
import resource
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections import Counter, defaultdict
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import msgspec

from llmmon.text.times import iso
from tests.soak.writers import Incident, Plan

CHANNELS: Final = ("desk", "pager")
MODELS: Final = tuple(f"model-{number:02}" for number in range(16))
WRITERS: Final = (("file", "file-1"), ("file", "file-2"), ("http", "http-1"), ("http", "http-2"))
BLOCK: Final = 10  # minutes; the last three of each have no incident, so that the clock may jump
MOST_EPISODES: Final = 5  # of a model: more count as flapping
MOST_MEMORY_KIB: Final = 500 << 10
SETTLE_S: Final = 240.0  # the longest wait for messages that are tried again

_CONFIG: Final = """
logs = ["logs/"]
state = "state.db"
late = "5s"
name = "soak"

[serve]
log = "logs/served.jsonl"
port = {port}

[[rules]]
name = "failing"
metric = "error_rate"
threshold = 0.5
window = "1m"
by = ["model"]
min_count = 1
cooldown = "0s"
"""
_CHANNEL: Final = """
[notify.{name}]
type = "command"
command = ["sh", "-c", "[ ! -e $0.down ] || exit 1; cat >> $0.sent; echo >> $0.sent", "{folder}/{name}"]
"""
_JUMPED: Final = (
    "import sys; from pathlib import Path; from tests.support.killed_checks import run_check;"
    " run_check(Path(sys.argv[1]), sys.argv[2])"
)
_BAD_WORDS: Final = re.compile(r"Traceback|internal error")


def planned(first: int, minutes: int, chance: random.Random) -> list[Incident]:
    """At most one incident a block and model, all calls failing for one to five minutes."""
    found: list[Incident] = []
    for start in range(first, first + minutes, BLOCK):
        for model in MODELS:
            if chance.random() < 0.5 and sum(one.model == model for one in found) < MOST_EPISODES:
                begin = start + chance.randint(1, 5)
                end = min(begin + chance.randint(1, 5), start + 7)
                if end + 2 <= first + minutes:
                    found.append(Incident(model, begin, end))
    return found


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def llmmon(folder: Path, *args: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([sys.executable, "-P", "-m", "llmmon", *args], cwd=folder, capture_output=True, check=False)


class Child:
    """A process that is started again when it was killed or has ended."""

    def __init__(self, name: str, command: list[str], folder: Path) -> None:
        self.name, self.starts = name, 0
        self._command, self._folder = command, folder
        self.process: subprocess.Popen[bytes] | None = None

    def tend(self) -> None:
        """Start it where it does not run."""
        if self.process is None or self.process.poll() is not None:
            with (self._folder / "said" / self.name).open("ab") as said:
                self.process = subprocess.Popen(
                    self._command, cwd=self._folder, stdout=subprocess.DEVNULL, stderr=said, stdin=subprocess.DEVNULL
                )
            self.starts += 1

    def kill(self) -> bool:
        """End it at once; whether it ran."""
        if self.process is None or self.process.poll() is not None:
            return False
        self.process.kill()
        self.process.wait()
        return True

    def end(self) -> int | None:
        """End it as a service manager does; its code, or None where it had to be killed."""
        if self.process is None or self.process.poll() is not None:
            return 0
        self.process.terminate()
        try:
            return self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.kill()
            return None


class Counters:
    """The exported counters over time: no series falls or disappears, and the file is whole whenever it is read."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._last: dict[str, float] = {}
        self.reads, self.faults = 0, list[str]()

    def look(self) -> None:
        """Read the file as it is now."""
        if not self._path.exists():
            return
        text = self._path.read_text()
        self.reads += 1
        if not text.endswith("# EOF\n"):
            self.faults.append(f"the exported file is cut off after {len(text)} characters")
            return
        found = {}
        for line in text.splitlines():
            series, _, value = line.rpartition(" ")
            if re.match(r"\w+_(total|count|bucket|sum)[{ ]", line):
                found[series] = float(value)
        self.faults += [f"{name} fell from {last} to {found.get(name)}" for name, last in self._last.items()
                        if found.get(name, -1.0) < last]  # fmt: skip
        self._last = found

    def calls(self) -> float:
        """All calls that were counted."""
        return sum(value for name, value in self._last.items() if name.startswith("llm_requests_total"))


class Soak:
    """The folder, its processes and their faults."""

    def __init__(self, folder: Path, minutes: int, seed: int) -> None:
        self.folder, self.minutes = folder, minutes
        self.chance = random.Random(seed)  # noqa: S311 - the same plan for the same seed
        for name in ("logs", "ledger", "said"):
            (folder / name).mkdir()
        self.first = int(time.time() // 60) + 1
        self.plan = Plan(list(MODELS), free_port(), planned(self.first, minutes, self.chance))
        (folder / "plan.json").write_bytes(msgspec.json.encode(self.plan))
        (folder / "llmmon.toml").write_text(
            _CONFIG.format(port=self.plan.port)
            + "".join(_CHANNEL.format(name=name, folder=folder) for name in CHANNELS)
        )
        self.did: Counter[str] = Counter()
        self.faults: list[str] = []
        self.counters = Counters(folder / "metrics.om")
        self.jumped_at = 0.0
        self.memory_kib = 0
        program = [sys.executable, "-P", "-m", "llmmon"]
        here = str(Path(__file__).parents[2])
        self.environment = {**os.environ, "PYTHONPATH": here, "HOME": str(folder), "XDG_CACHE_HOME": str(folder / "c")}
        os.environ.update(self.environment)
        self.serve = Child("serve", [*program, "serve", "--every", "5s"], folder)
        self.watch = Child("watch", [*program, "watch", "--interval", "2s"], folder)
        self.check = Child("check", [*program, "check", "-q", "--exit-zero"], folder)
        self.export = Child("export", [*program, "export", "--cumulative", "-q", "--to", "openmetrics", "-o",
                                       "metrics.om", "--force"], folder)  # fmt: skip
        self.jump = Child("jump", [], folder)
        self.writers = [
            Child(name, [sys.executable, "-m", "tests.soak.writers", kind, name, str(folder)], folder)
            for kind, name in WRITERS
        ]

    def run(self) -> None:
        """Live through the minutes, then settle."""
        self.run_once("export")  # counters begin before the first call
        every: list[tuple[float, Callable[[], None]]] = [
            (8, self.check.tend),
            (6, self.export.tend),
            (4, self._kill_one),
            (20, self._rotate),
            (17, self._break_channel),
            (23, self._fill_disk),
            (11, self._nagios),
            (5, self._watch_memory),
        ]
        due = [time.monotonic() + seconds for seconds, _ in every]
        end = time.monotonic() + (self.first + self.minutes) * 60 - time.time()
        while time.monotonic() < end:
            for child in (self.serve, self.watch, *self.writers):
                child.tend()
            for number, (seconds, work) in enumerate(every):
                if time.monotonic() >= due[number]:
                    work()
                    due[number] = time.monotonic() + seconds * self.chance.uniform(0.5, 1.5)
            if (int(time.time() // 60) - self.first) % BLOCK == BLOCK - 2:
                self._jump()
            self.counters.look()
            time.sleep(0.2)
        self._settle()

    def run_once(self, name: str) -> int:
        """Run a command to its end; its code."""
        child: Child = getattr(self, name)
        if child.process is not None:
            child.process.wait()
        child.tend()
        assert child.process is not None
        return child.process.wait()

    def _kill_one(self) -> None:
        child = self.chance.choice([self.serve, self.watch, self.check, self.export, *self.writers])
        if child is self.serve and self.chance.random() < 0.3:
            if child.end() is None:
                self.faults.append("serve did not end within 60 s of SIGTERM")
            self.did["orderly ends"] += 1
        else:
            self.did["kills"] += child.kill()

    def _rotate(self) -> None:
        name = self.chance.choice(["app.jsonl", "served.jsonl"])
        log = self.folder / "logs" / name
        if log.exists():
            log.rename(log.with_name(f"{name}.{time.time_ns()}"))
            self.did["rotations"] += 1

    def _break_channel(self) -> None:
        down = self.folder / f"{self.chance.choice(CHANNELS)}.down"
        if down.exists():
            down.unlink()
        else:
            down.touch()
            self.did["outages"] += 1

    def _fill_disk(self) -> None:
        """For some seconds, no file of `serve` may grow beyond the size that its log has: writes are cut off."""
        process, log = self.serve.process, self.folder / "logs" / "served.jsonl"
        if process is None or process.poll() is not None or not log.exists():
            return
        pid, full = process.pid, log.stat().st_size + self.chance.randint(1, 400)
        with suppress(ProcessLookupError):
            free = resource.prlimit(pid, resource.RLIMIT_FSIZE)
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (full, free[1]))
            time.sleep(self.chance.uniform(0.5, 3))
            resource.prlimit(pid, resource.RLIMIT_FSIZE, free)
            self.did["full disks"] += 1

    def _jump(self) -> None:
        """One `check` with a clock that is hours or years ahead, once a block."""
        if time.monotonic() - self.jumped_at < 120:
            return
        self.jumped_at = time.monotonic()
        ahead = iso((time.time_ns() // 1000) + self.chance.choice([2 * 3600, 86_400, 5 * 365 * 86_400]) * 1_000_000)
        self.jump = Child("jump", [sys.executable, "-c", _JUMPED, str(self.folder), str(ahead)], self.folder)
        self.jump.tend()
        self.did["clock jumps"] += 1

    def _nagios(self) -> None:
        """`check --nagios` must not say OK in the midst of an incident."""
        now = time.time()
        lasting = any(one.first * 60 + 150 < now < one.end * 60 - 30 for one in self.plan.incidents)
        if not lasting:
            return
        done = llmmon(self.folder, "check", "--nagios")
        self.did["looks by Nagios in an incident"] += 1
        if done.returncode == 0 or not done.stdout.startswith(b"LLMMON"):
            self.faults.append(f"nagios in an incident: {done.returncode} {done.stdout!r} {done.stderr[-300:]!r}")

    def _watch_memory(self) -> None:
        if self.serve.process is not None and self.serve.process.poll() is None:
            with suppress(OSError, StopIteration):
                lines = Path(f"/proc/{self.serve.process.pid}/status").read_text().splitlines()
                peak = next(line for line in lines if line.startswith("VmHWM:"))
                self.memory_kib = max(self.memory_kib, int(peak.split()[1]))

    def _settle(self) -> None:
        """Let all that waits arrive, then end everything."""
        for name in CHANNELS:
            (self.folder / f"{name}.down").unlink(missing_ok=True)
        self.serve.tend()
        for child in self.writers:
            child.tend()
        time.sleep(1)
        for child in self.writers:
            if child.end() not in {0, -signal.SIGTERM}:
                self.faults.append(f"{child.name} did not end")
        until = time.monotonic() + SETTLE_S
        while missing(self) and time.monotonic() < until:
            self.serve.tend()
            self.check.tend()
            time.sleep(5)
        for child in (self.check, self.export):
            if child.process is not None:
                child.process.wait()
        self.did["runs of check"], self.did["runs of export"] = self.check.starts, self.export.starts
        self.did["starts of serve"], self.did["starts of watch"] = self.serve.starts, self.watch.starts

    def messages(self) -> list[dict[str, Any]]:
        """Every alert in every message that a channel received, in order."""
        found = []
        for channel in CHANNELS:
            file = self.folder / f"{channel}.sent"
            lines = file.read_text().splitlines() if file.exists() else ()
            alerts = (alert for line in lines if line for alert in json.loads(line)["alerts"])
            found += [{**alert, "channel": channel, "model": alert["group"]["model"]} for alert in alerts]
        return found


def expected(soak: Soak) -> set[tuple[str, str]]:
    """Model and time of each alert: it fires at the end of its first bad minute."""
    return {(one.model, iso((one.first + 1) * 60_000_000) or "") for one in soak.plan.incidents}


def missing(soak: Soak) -> list[str]:
    """Incidents of which a channel heard nothing: where it was down when they fired, at least their end is sent."""
    heard = {(one["channel"], one["status"], one["model"], one["fired"]) for one in soak.messages()}
    return [
        f"{channel}: {model} {fired}: no message that it is resolved"
        for model, fired in sorted(expected(soak))
        for channel in CHANNELS
        if (channel, "resolved", model, fired) not in heard
    ]


def alert_faults(soak: Soak) -> tuple[list[str], int]:
    """Alerts that are missing, not wanted or out of order; and how many messages were repeated."""
    faults, wanted = missing(soak), expected(soak)
    received: dict[tuple[str, str, str], list[str]] = defaultdict(list)
    for one in soak.messages():
        received[one["channel"], one["model"], one["fired"]].append(one["status"])
    repeated = 0
    for (channel, model, fired), statuses in received.items():
        if (model, fired) not in wanted:
            faults.append(f"{channel}: {model} {fired}: a message without an incident")
        repeated += len(statuses) - len(set(statuses))
        if "resolved" in statuses and "firing" in statuses[statuses.index("resolved") :]:
            faults.append(f"{channel}: {model} {fired}: fires after its end: {statuses}")
    if repeated > soak.did["kills"] * len(MODELS):
        faults.append(f"{repeated} messages were repeated, at {soak.did['kills']} kills")
    return faults, repeated


class Counted(msgspec.Struct, frozen=True):
    """What the ledgers and the logs hold, by a count that shares no code with llmmon."""

    tried: frozenset[str]
    kept: frozenset[str]
    cut: int  # lines at which the disk was full
    found: Counter[str]
    torn: int


def counted(folder: Path) -> Counted:
    """Read ledgers and logs."""
    marks: dict[str, set[str]] = {"tried": set(), "kept": set(), "full": set()}
    for ledger in (folder / "ledger").iterdir():
        for line in ledger.read_text().splitlines():
            mark, _, name = line.partition(" ")
            marks[mark].add(name)
    found: Counter[str] = Counter()
    torn = 0
    for log in (folder / "logs").iterdir():
        for line in log.read_bytes().splitlines():
            try:
                found[json.loads(line)["request_id"]] += 1
            except (ValueError, KeyError):
                torn += 1
    return Counted(frozenset(marks["tried"]), frozenset(marks["kept"]), len(marks["full"]), found, torn)


def record_faults(soak: Soak, counts: Counted) -> list[str]:
    """Calls that are missing, there twice, or of no writer; and figures that differ."""
    faults = [f"{one}: acknowledged, and not in the logs" for one in sorted(counts.kept - counts.found.keys())]
    faults += [f"{one}: in the logs {times} times" for one, times in counts.found.items() if times > 1]
    faults += [f"{one}: in the logs, and never written" for one in sorted(counts.found.keys() - counts.tried)]
    if counts.torn > soak.did["full disks"]:
        faults.append(f"{counts.torn} torn lines after {soak.did['full disks']} full disks")
    total = len(counts.found)
    if soak.run_once("export") != 0:
        faults.append("the last export failed")
    soak.counters.look()
    if soak.counters.calls() != total:
        faults.append(f"the exported counters say {soak.counters.calls():,.0f} calls, the logs have {total:,}")
    done = llmmon(soak.folder, "summarize", "-f", "json")
    summed = json.loads(done.stdout)["data"]["totals"]["request_count"] if done.returncode == 0 else -1
    if summed != total:
        faults.append(f"summarize says {summed} calls, the logs have {total:,}")
    return faults + soak.counters.faults + served_faults(soak, total)


def served_faults(soak: Soak, total: int) -> list[str]:
    """What `serve` shows at the end, with up to a minute to read what others wrote, and how it ends."""
    url = f"http://127.0.0.1:{soak.plan.port}/v1/metrics/summary?window_minutes=1440"
    shown: object = None
    for _ in range(60):
        soak.serve.tend()
        with suppress(OSError, ValueError), urllib.request.urlopen(url, timeout=30) as reply:
            shown = json.load(reply)["request_count"]
            if shown == total:
                break
        time.sleep(1)
    faults = [] if shown == total else [f"serve shows {shown} calls, the logs have {total:,}"]
    return faults if soak.serve.end() == 0 else [*faults, "serve did not end with 0"]


def said_faults(folder: Path) -> list[str]:
    """Tracebacks and internal errors in what the processes said."""
    return [
        f"{file.name} said: {line}"
        for file in sorted((folder / "said").iterdir())
        for line in file.read_text(errors="replace").splitlines()
        if _BAD_WORDS.search(line)
    ]


def soaked(folder: Path, minutes: int, seed: int) -> tuple[str, list[str]]:
    """Run it; a sentence of figures, and the faults."""
    soak = Soak(folder, minutes, seed)
    begun = datetime.now(UTC)
    try:
        soak.run()
        counts = counted(folder)
        soak.did["full disks"] += counts.cut
        faults, repeated = alert_faults(soak)
        faults = soak.faults + record_faults(soak, counts) + faults + said_faults(folder)
    finally:
        for child in (soak.serve, soak.watch, soak.check, soak.export, soak.jump, *soak.writers):
            child.kill()
    if soak.memory_kib > MOST_MEMORY_KIB:
        faults.append(f"serve took {soak.memory_kib:,} KiB")
    lasted = timedelta(seconds=int((datetime.now(UTC) - begun).total_seconds()))
    did = ", ".join(f"{count:,} {name}" for name, count in sorted(soak.did.items()))
    text = (
        f"{minutes} minutes ({lasted}), seed {seed}: {len(counts.kept):,} calls acknowledged of {len(counts.tried):,}"
        f" tried, {len(counts.found):,} in the logs, {counts.torn} torn lines; {len(soak.plan.incidents)} incidents,"
        f" {len(soak.messages())} messages, {repeated} repeated; {did}; {soak.counters.reads:,} looks at the counters;"
        f" serve took up to {soak.memory_kib / 1024:.0f} MB"
    )
    return text, faults
