"""A service that writes a log while `check` runs: lines by minute, rotation, and a channel that writes down."""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tests.conftest import Ran, Run

START = datetime(2026, 1, 1, tzinfo=UTC)

CONFIGURATION = """
logs = ["logs/*.jsonl"]
state = "state.db"
late = "0s"
{more}
[[rules]]
name = "slow"
metric = "latency_ms"
aggregation = "p95"
threshold = 5000
by = ["model"]
min_count = 3

[notify.desk]
type = "command"
command = ["sh", "-c", "cat >> told.jsonl; echo >> told.jsonl"]
"""


def at(minute: float) -> str:
    """The ISO time some minutes after the start."""
    return (START + timedelta(minutes=minute)).isoformat().replace("+00:00", "Z")


class Service:
    """A folder with a configuration and a growing log."""

    def __init__(self, folder: Path, run: Run, more: str = "", configuration: str = CONFIGURATION) -> None:
        self.folder, self._run = folder, run
        self.log = folder / "logs" / "app.jsonl"
        self.log.parent.mkdir(exist_ok=True)
        text = configuration.replace("{more}", more).replace("cat >> told.jsonl; echo >> told.jsonl", self._telling())
        (folder / "llmmon.toml").write_text(text)

    def _telling(self) -> str:
        file = self.folder / "told.jsonl"
        return f"cat >> {file}; echo >> {file}"

    def write(
        self, first: int, last: int, latency_ms: float = 1000, model: str = "a", calls: int = 4, **more: Any
    ) -> None:
        """Append some calls a minute, of the minutes from `first` up to `last`."""
        with self.log.open("a") as log:
            for minute in range(first, last):
                for call in range(calls):
                    row = {"timestamp": at(minute + (call + 0.5) / calls), "model": model, "latency_ms": latency_ms}
                    log.write(json.dumps({**row, "status": "ok", **more}) + "\n")

    def check(self, minute: float, *options: str) -> Ran:
        """Run `check` at a minute."""
        return self._run("check", "--now", at(minute), *options)

    def json(self, minute: float, *options: str) -> Any:
        """Run `check` at a minute; its data."""
        return self.check(minute, "-f", "json", "-q", *options).json["data"]

    @property
    def told(self) -> list[tuple[str, str]]:
        """What the channel was told: event and state of each alert, in order."""
        file = self.folder / "told.jsonl"
        found = [json.loads(line) for line in file.read_text().splitlines() if line] if file.exists() else []
        return [(one["event"], one["status"]) for message in found for one in message["alerts"]]

    def rename(self) -> None:
        """Rotate: the log becomes app.jsonl.1, older ones move on."""
        self._make_room()
        self.log.rename(self._rotated(1))

    def copy_and_truncate(self) -> None:
        """Rotate as logrotate's copytruncate does."""
        self._make_room()
        shutil.copy(self.log, self._rotated(1))
        with self.log.open("r+b") as log:
            log.truncate()

    def compress(self) -> None:
        """Rotate and compress."""
        self.rename()
        with self._rotated(1).open("rb") as plain, gzip.open(f"{self._rotated(1)}.gz", "wb") as packed:
            shutil.copyfileobj(plain, packed)
        self._rotated(1).unlink()

    def _rotated(self, number: int) -> Path:
        return self.log.with_name(f"app.jsonl.{number}")

    def _make_room(self) -> None:
        for number in range(8, 0, -1):
            for ending in ("", ".gz"):
                old = Path(f"{self._rotated(number)}{ending}")
                if old.exists():
                    old.rename(f"{self._rotated(number + 1)}{ending}")


def episodes(ran: Sequence[Any]) -> list[tuple[str, str, str]]:
    """Title, event and time of everything that fired or was resolved, over runs of `check`."""
    happened = [one for data in ran for one in data["transitions"]]
    return [(one["title"], one["event"], one["at"]) for one in happened if one["event"] in {"firing", "resolved"}]


Rotation = Callable[[Service], None]
