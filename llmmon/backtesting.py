"""Rules and past logs: the history that rules need is read once for all, then evaluated in memory."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from llmmon.columns import Columns, IntArray, concat
from llmmon.folds import ColumnsFold
from llmmon.history import StreamsFold, complete, fields_of
from llmmon.kinds import Past, reaches, sight_of
from llmmon.pipeline import Query, read
from llmmon.readings import Sight
from llmmon.reports import SourceReport
from llmmon.rules import MINUTE_US, AlertRule


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


def read_for(query: Query, rules: Sequence[AlertRule]) -> PastRead:
    """Read logs once, for all rules; every minute from the first call to the last is evaluated, as in `check`."""
    streams = list(reaches(rules))
    found = read(query, fields_of(streams), lambda: StreamsFold(streams))
    source = found.source
    ends = np.empty(0, np.int64)
    if source.start_us is not None and source.end_us is not None:
        ends = np.arange(source.start_us // MINUTE_US + 1, source.end_us // MINUTE_US + 2)
    return PastRead(complete(streams, found.results), ends, source, found.exit_code)


def read_calls(query: Query, rules: Sequence[AlertRule]) -> Columns:
    """The calls themselves, with the fields that rules need."""
    return concat(read(query, fields_of(reaches(rules)), ColumnsFold).results)
