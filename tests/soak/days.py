"""Days of incidents in minutes: `check` runs by cron beside outages of channels, kills, missed runs and rotations.

Every figure is compared with a model that is slow to use and easy to believe: an alert fires for each run of bad
minutes, and each channel gets it once, resolved once, in order. A run that is killed may repeat what it was sending,
never more. The state and the memory stay bounded.
"""

from __future__ import annotations

import json
import random
import resource
import signal
import sqlite3
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from llmmon.alerting.state import StateFile
from llmmon.text.times import MINUTE_US, iso, moment_us
from tests.support.killed_checks import in_a_process, killing, run_check

START_US: Final = moment_us("2026-01-01T00:00:00Z", 0, "UTC")
CHANNELS: Final = ("desk", "pager")
MODELS: Final = ("a", "b", "c")
DAY: Final = 1440  # minutes
_MOST_STATE: Final = 40 << 20  # bytes
_MOST_MEMORY_KIB: Final = 600 << 10

_RULE: Final = """
logs = ["logs/*.jsonl"]
state = "state.db"
late = "0s"
name = "soak"

[[rules]]
name = "slow"
metric = "latency_ms"
aggregation = "p95"
threshold = 5000
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


class Incident(msgspec.Struct, frozen=True):
    """Minutes, from the start, in which all calls of a model are slow."""

    model: str
    first: int
    end: int


class Message(msgspec.Struct, frozen=True):
    """One alert in one message to a channel."""

    channel: str
    model: str
    episode: int
    event: str
    status: str
    fired: str


def planned(days: int, chance: random.Random) -> list[Incident]:
    """A few incidents a day and model, so few that none counts as flapping, and none at the very end."""
    found = []
    for model in MODELS:
        for day in range(days):
            for part in chance.sample(range(3), chance.randint(0, 3)):
                first = day * DAY + part * 480 + chance.randint(20, 300)
                found.append(Incident(model, first, first + chance.choice([1, 2, 3, 10, 45, 120])))
    return found


class Soak:
    """A folder with a growing log, channels that fail at times, and `check` by cron."""

    def __init__(self, folder: Path, days: int, seed: int) -> None:
        self.folder, self.days = folder, days
        self.chance = random.Random(seed)  # noqa: S311 - the same days for the same seed
        self.incidents = planned(days, self.chance)
        self.slow = {(one.model, minute) for one in self.incidents for minute in range(one.first, one.end)}
        self.kills = self.runs = self.outages = self.missed = 0
        self.unexpected: list[str] = []
        (folder / "logs").mkdir()
        text = _RULE + "".join(_CHANNEL.format(name=name, folder=folder) for name in CHANNELS)
        (folder / "llmmon.toml").write_text(text)

    def run(self) -> None:
        """Live through all days."""
        minute = 0
        while minute < self.days * DAY:
            step = self.chance.choice([1, 5, 5, 5, 5, 15, 60])  # a missed run now and then
            if self.chance.random() < 0.01:
                step = self.chance.randint(120, 600)  # the machine was off, the service was not
            self.missed += step > 15
            self._write(minute, minute + step)
            minute += step
            self._break_channels()
            if self.chance.random() < 0.02:
                self._rotate(minute)
            self._check(minute, kill=self.chance.random() < 0.08)
        for name in CHANNELS:
            (self.folder / f"{name}.down").unlink(missing_ok=True)
        for late in range(minute + 70, minute + 70 * 4, 70):  # beyond the longest wait between two tries
            self._write(late - 1, late)
            self._check(late, kill=False)

    def _write(self, first: int, end: int) -> None:
        with (self.folder / "logs" / "app.jsonl").open("a") as log:
            for minute in range(first, end):
                for model in MODELS:
                    latency_ms = 9000 if (model, minute) in self.slow else 500
                    stamp = iso(START_US + minute * MINUTE_US + MINUTE_US // 2)
                    log.write(json.dumps({"timestamp": stamp, "model": model, "latency_ms": latency_ms}) + "\n")

    def _rotate(self, minute: int) -> None:
        log = self.folder / "logs" / "app.jsonl"
        log.rename(log.with_name(f"app-{minute:07}.jsonl"))
        log.touch()
        for old in sorted(log.parent.glob("app-*.jsonl"))[:-3]:
            old.unlink()

    def _break_channels(self) -> None:
        for name in CHANNELS:
            down = self.folder / f"{name}.down"
            if down.exists():
                if self.chance.random() < 0.05:
                    down.unlink()
            elif self.chance.random() < 0.01:
                down.touch()
                self.outages += 1

    def _check(self, minute: int, *, kill: bool) -> None:
        after = self.chance.randint(1, 60)

        def work() -> None:
            if kill:
                sqlite3.connect = killing(after)  # type: ignore[assignment]
            run_check(self.folder, iso(START_US + minute * MINUTE_US) or "")

        ended = in_a_process(work)
        self.runs += 1
        self.kills += ended == signal.SIGKILL
        if ended not in {0, signal.SIGKILL}:
            self.unexpected.append(f"minute {minute}: check ended with {ended}")

    def messages(self) -> list[Message]:
        """Everything that the channels received, in order."""
        found = []
        for channel in CHANNELS:
            file = self.folder / f"{channel}.sent"
            for line in file.read_text().splitlines() if file.exists() else ():
                for one in json.loads(line)["alerts"] if line else ():
                    group = one["group"]["model"]
                    found.append(Message(channel, group, one["episode"], one["event"], one["status"], one["fired"]))
        return found


def expected(incidents: Sequence[Incident]) -> dict[tuple[str, str], str]:
    """When each alert fires and ends: at the end of the first bad minute and of the first good one after it."""
    return {
        (one.model, iso(START_US + (one.first + 1) * MINUTE_US) or ""): iso(START_US + (one.end + 1) * MINUTE_US) or ""
        for one in incidents
    }


def compare(soak: Soak) -> list[str]:
    """What differs from the model."""
    faults = list(soak.unexpected)
    wanted = expected(soak.incidents)
    with StateFile(soak.folder / "state.db") as state:
        episodes = {
            (dict(one.group)["model"] or "", iso(one.fired_us) or ""): iso(one.resolved_us) for one in state.episodes()
        }
        waiting = state.outbox.queued()
    faults += [f"{one}: did not fire" for one in sorted(wanted.keys() - episodes.keys())]
    faults += [f"{one}: fired without an incident" for one in sorted(episodes.keys() - wanted.keys())]
    faults += [
        f"{one}: ended {episodes[one]}, not {wanted[one]}"
        for one in wanted.keys() & episodes.keys()
        if episodes[one] != wanted[one]
    ]
    faults += [f"{one.channel}: {one.alert.title} still waits: {one.error}" for one in waiting]
    received: dict[tuple[str, str, str], list[Message]] = defaultdict(list)
    for one in soak.messages():
        received[one.channel, one.model, one.fired].append(one)
    return faults + received_faults(soak, received, wanted)


def received_faults(
    soak: Soak, received: Mapping[tuple[str, str, str], Sequence[Message]], wanted: Mapping[tuple[str, str], str]
) -> list[str]:
    faults, repeated = [], 0
    for channel in CHANNELS:
        for model, fired in sorted(wanted):
            known = received.get((channel, model, fired), ())
            statuses = [one.status for one in known]
            repeated += max(0, statuses.count("firing") - 1) + max(0, statuses.count("resolved") - 1)
            if "resolved" not in statuses:
                faults.append(f"{channel}: {model} {fired}: no end was sent: {statuses}")
            if "firing" in statuses[statuses.index("resolved") :] if "resolved" in statuses else False:
                faults.append(f"{channel}: {model} {fired}: fires after its end: {statuses}")
    for channel, model, fired in sorted(received.keys() - {(c, m, f) for c in CHANNELS for m, f in wanted}):
        faults.append(f"{channel}: {model} {fired}: a message without an incident")
    for channel in CHANNELS:
        for model in MODELS:
            order = [one.episode for one in soak.messages() if (one.channel, one.model) == (channel, model)]
            if order != sorted(order):
                faults.append(f"{channel}: messages of {model} are out of order: {order}")
    most = soak.kills * len(MODELS) * len(CHANNELS)
    if repeated > most:
        faults.append(f"{repeated} messages were repeated, at {soak.kills} kills")
    return faults


def soaked(folder: Path, days: int, seed: int) -> tuple[str, list[str]]:
    """Run it; a sentence of figures, and the faults."""
    soak = Soak(folder, days, seed)
    soak.run()
    faults = compare(soak)
    size = sum(path.stat().st_size for path in folder.glob("state.db*"))
    memory_kib = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    if size > _MOST_STATE:
        faults.append(f"the state has {size:,} bytes")
    if memory_kib > _MOST_MEMORY_KIB:
        faults.append(f"a run took {memory_kib:,} KiB")
    messages = soak.messages()
    firing = len({(one.channel, one.model, one.episode) for one in messages if one.status == "firing"})
    repeats = sum(one.status == "firing" for one in messages) - firing
    text = (
        f"{days} days, seed {seed}: {len(soak.incidents)} incidents, {soak.runs:,} runs of which {soak.kills} were"
        f" killed, {soak.outages} outages of channels, {soak.missed} long gaps; {len(messages):,} messages,"
        f" {repeats} repeated after kills; state {size / 1e6:.1f} MB, memory {memory_kib / 1024:.0f} MB"
    )
    return text, faults
