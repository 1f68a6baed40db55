"""Rules and past logs: the history that rules need is read once for all, then evaluated in memory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from llmmon.backtest import BacktestReport, Replay, replay, report_of
from llmmon.checking import identity, replayed_minutes
from llmmon.columns import Columns, IntArray, concat
from llmmon.config import Config, read_toml
from llmmon.errors import InputError
from llmmon.folds import ColumnsFold
from llmmon.history import StreamsFold, complete, fields_of
from llmmon.incident_labels import LabelledIncident, labels_of
from llmmon.kinds import Past, reaches, sight_of
from llmmon.notifiers import NOTIFIERS
from llmmon.pipeline import Query, read
from llmmon.readings import Sight
from llmmon.reports import SourceReport
from llmmon.rules import AlertRule
from llmmon.suggestion import NoiseBudget, Parts, SuggestReport, suggest

LABELS: Final = "labels.toml"  # as `simulate` writes it beside the logs


class PastRead(msgspec.Struct, frozen=True):
    """The history of what rules read, the minutes to evaluate, and what was read for it."""

    past: Past
    ends: IntArray
    source: SourceReport
    exit_code: int

    def sights(self, rules: Sequence[AlertRule], *, everywhere: bool = False) -> list[Sight]:
        """What rules see at every minute."""
        if not len(self.ends):
            return []
        return [sight_of(rule, self.past, self.ends, everywhere=everywhere) for rule in rules]


class Backtested(msgspec.Struct, frozen=True):
    """The report of a replay, the replay, and what was read for it."""

    report: BacktestReport
    replay: Replay
    done: PastRead


def read_for(query: Query, rules: Sequence[AlertRule]) -> PastRead:
    """Read logs once, for all rules; every minute from the first call to the last is evaluated, as in `check`."""
    streams = list(reaches(rules))
    found = read(query, fields_of(streams), lambda: StreamsFold(streams))
    ends = replayed_minutes(found.source, query.say)
    return PastRead(complete(streams, found.results), ends, found.source, found.exit_code)


def read_calls(query: Query, rules: Sequence[AlertRule]) -> Columns:
    """The calls themselves, with the fields that rules need."""
    return concat(read(query, fields_of(reaches(rules)), ColumnsFold).results)


def backtest(query: Query, rules: Sequence[AlertRule], config: Config, labels: Path | None) -> Backtested:
    """Replay rules over logs, as `check` would have run every minute; the live state is not touched."""
    incidents = _labels(query, labels)
    done = read_for(query, rules)
    if not len(done.ends):
        raise InputError("no call in the logs has a time, so there is nothing to replay", hint="see `llmmon inspect`")
    played = replay(done.sights(rules), config.channels, identity(config))
    together = {"", *(channel.name for channel in config.channels if not NOTIFIERS[channel.type].one_each)}
    return Backtested(report_of(played, rules, query.tz, incidents, together), played, done)


def suggestions(
    query: Query, rules: Sequence[AlertRule], budget: NoiseBudget, labels: Path | None, first: float
) -> tuple[SuggestReport, PastRead]:
    """Thresholds for a noise budget, chosen on the `first` share of the logs' time."""
    incidents = _labels(query, labels)
    done = read_for(query, rules)
    cut = round(len(done.ends) * first)
    if not cut:
        raise InputError("no call in the logs has a time, so nothing can be chosen", hint="see `llmmon inspect`")
    parts = Parts(done.past, done.ends[:cut], done.ends[cut:], incidents or ())
    return suggest(rules, parts, budget, labelled=incidents is not None), done


def _labels(query: Query, chosen: Path | None) -> tuple[LabelledIncident, ...] | None:
    """The incidents of a labels file: as chosen, else one that lies beside the logs; None without one."""
    path = chosen or next((p for p in _beside(query.logs) if p.is_file()), None)
    if path is None:
        return None
    try:
        return labels_of(read_toml(path), str(path))
    except ValueError as error:
        raise InputError(f"{path}: {error}") from None
    except OSError as error:
        raise InputError(f"{path}: {(error.strerror or str(error)).lower()}") from None


def _beside(logs: Sequence[str]) -> list[Path]:
    folders = dict.fromkeys(path if path.is_dir() else path.parent for path in map(Path, logs))
    return [folder / LABELS for folder in folders]
