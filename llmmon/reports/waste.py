"""`cost --waste`: money that bought nothing, by class and group, with the calls behind it and what would avoid it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from llmmon.formats.detection import tags_in
from llmmon.ingest import sources
from llmmon.ingest.query import Derive, Query, Read, read
from llmmon.ingest.scan import Scanned, place
from llmmon.ingest.spans import head
from llmmon.metrics.aggregates import GroupIndex, GroupKey
from llmmon.metrics.columns import MISSING_TIME, Columns
from llmmon.metrics.grouping import Grouping
from llmmon.metrics.record import HASH_TAGS, NANO_DOLLARS, TAG_PREFIX
from llmmon.pricing.cost_modes import AS_READ, PRICED_BY
from llmmon.pricing.price_table import PriceTable
from llmmon.pricing.waste import (
    CLASSES,
    EVIDENCE,
    FOUND,
    REQUESTS,
    STEPS,
    UNKNOWN,
    Evidence,
    Rows,
    Waste,
    WastePlan,
    hashed,
    rows_of,
)
from llmmon.pricing.waste_matches import caching, first_reads, same_requests, settle
from llmmon.text.figures import counted

MEANINGS: Final[Mapping[Waste, str]] = {
    Waste.FAILED: "failed but billed",
    Waste.CANCELLED: "cancelled but billed",
    Waste.EMPTY: "empty but billed",
    Waste.CUT_OFF: "cut off and asked again",
    Waste.RETRIED: "retried within 10 minutes",
    Waste.ANSWERED_BEFORE: "the same prompt answered before",
    Waste.CACHE_MISSED: "cache missed after a pause",
    Waste.CACHE_UNREAD: "cache written and never read",
}
REMEDIES: Final[Mapping[Waste, str]] = {
    Waste.FAILED: "See which errors these are (llmmon requests --where error --sort cost_usd) and validate requests "
    "before they are sent.",
    Waste.CANCELLED: "Cancel before the answer starts, or show it as it comes: what was generated is billed.",
    Waste.EMPTY: "Raise the output limit where reasoning used all of it, and check the prompts that get no answer.",
    Waste.CUT_OFF: "Raise the output limit (max_tokens) of these calls, or ask for the rest instead of all again.",
    Waste.RETRIED: "Set client timeouts above the p99 of the latency, send an idempotency key, and retry only errors.",
    Waste.ANSWERED_BEFORE: "Keep answers to identical prompts in a response cache in front of the provider.",
    Waste.CACHE_MISSED: "Use the cache lifetime of 1 hour where users pause, or send a keep-alive within 5 minutes.",
    Waste.CACHE_UNREAD: "Mark only prompts that come again for caching (cache_control), not those that are sent once.",
}


class WasteGroup(msgspec.Struct, frozen=True):
    """What a group wasted in one class; `amount_usd` is None where nothing is known."""

    key: Mapping[str, str | None]
    calls: int
    amount_usd: float | None
    share_of_group: float | None  # of what the group cost


class WasteCall(msgspec.Struct, frozen=True):
    """A call behind a class: its place in the log, and the call that it repeats or that repeats it."""

    time_us: int | None
    file: str
    line: int | None
    key: Mapping[str, str | None]
    amount_usd: float | None
    evidence: Evidence
    other_file: str | None
    other_line: int | None


class WasteRow(msgspec.Struct, frozen=True):
    """A class of waste: `amount_usd` of `calls`, `unknown_calls` of which have no price; the largest groups first.

    `example` is the most expensive call.
    """

    waste: Waste
    meaning: str
    remedy: str
    calls: int
    amount_usd: float | None
    share: float | None
    unknown_calls: int
    evidence: Mapping[Evidence, int]
    groups: tuple[WasteGroup, ...]
    example: WasteCall | None


class WasteReport(msgspec.Struct, frozen=True):
    """Waste by class, the largest first; classes without any call are left out.

    `blind_spots` are sentences on what the log does not show; `shown` are the calls of the classes asked for.
    """

    price_table: str
    by: tuple[str, ...]
    calls: int
    cost_usd: float | None
    complete: bool
    waste_calls: int
    waste_usd: float
    waste_share: float | None
    classes: tuple[WasteRow, ...]
    blind_spots: tuple[str, ...]
    shown: tuple[WasteCall, ...]
    shown_class: Waste | None


_FIELDS: Final = PRICED_BY | {
    *("user", "session", "trace", "feature", "request_id", "operation", "status", "finish_reason", "attempt"),
    *("latency_ms", "timestamp", "cache_hit"),
}
_TEXTS: Final = frozenset({"prompt", "system", "output"})


def find_waste(query: Query, *, by: tuple[str, ...], show: Waste | None = None) -> tuple[WasteReport, Read]:
    """What was wasted, and the calls of one class; raises `UsageError` for fields that do not exist."""
    Grouping(by)  # checks the fields
    tags = _hash_tags(query)
    plan = WastePlan(PriceTable.of(query.prices), by, query.wall_us, tags)
    fields = _FIELDS | set(by) | {TAG_PREFIX + tag for tag in tags}
    early = Derive(_TEXTS, hashed, early=True)
    reading = msgspec.structs.replace(query, cost=AS_READ, derive=early)
    with tempfile.TemporaryDirectory(prefix="llmmon-") as folder:
        spill = None if query.engine else folder  # workers on other machines do not share it
        done = read(reading, fields, lambda: WasteFold(plan, spill))
        found = _Merged(done.results, done.source.end_us)
    return found.report(plan, done.scanned, show), done


def _hash_tags(query: Query) -> tuple[str, ...]:
    """The tags in the head of the logs that hold a hash of the request."""
    found: set[str] = set()
    for source in sources.find(query.logs).sources:
        try:
            found.update(tags_in(head(source), query.dialect) if source.seekable else HASH_TAGS)
        except (OSError, EOFError, ValueError):
            continue  # reading it says why
    return tuple(tag for tag in HASH_TAGS if tag in found)


MOST_ROWS: Final = 1 << 18  # rows that a fold keeps in memory; some 80 bytes each
_PARTS: Final = 64


class RowStore:
    """Rows in memory and, beyond `MOST_ROWS`, in files of a folder: one for each part of the keys."""

    def __init__(self, kind: np.dtype[Any], folder: str | None) -> None:
        self.kind = kind
        self._folder = folder
        self._pending: list[Rows] = []
        self._size = 0
        self._spilled: Path | None = None

    def add(self, rows: Rows) -> None:
        """Take rows in."""
        if not len(rows):
            return
        self._pending.append(rows)
        self._size += len(rows)
        if self._folder is not None and self._size > MOST_ROWS:
            self._spill(self._folder)

    def _spill(self, folder: str) -> None:
        if self._spilled is None:
            self._spilled = Path(tempfile.mkdtemp(dir=folder))
        for part, rows in _parts(np.concatenate(self._pending)):
            with (self._spilled / str(part)).open("ab") as file:
                file.write(rows.tobytes())
        self._pending, self._size = [], 0

    @property
    def is_spilled(self) -> bool:
        """Whether some of the rows are in files."""
        return self._spilled is not None

    def part(self, number: int | None) -> Rows:
        """The rows of one part of the keys (None: all, where none are in files)."""
        rows: Rows = np.concatenate([np.zeros(0, self.kind), *self._pending])
        if number is None:
            return rows
        own: Rows = rows[rows["key"] % _PARTS == number]
        path = None if self._spilled is None else self._spilled / str(number)
        if path is None or not path.exists():
            return own
        return np.concatenate([np.frombuffer(path.read_bytes(), self.kind), own])


def _parts(rows: Rows) -> Iterator[tuple[int, Rows]]:
    parts = rows["key"] % _PARTS
    order = np.argsort(parts, kind="stable")
    edges = np.searchsorted(parts[order], np.arange(_PARTS + 1))
    for part in range(_PARTS):
        yield part, rows[order[edges[part] : edges[part + 1]]]


class FoldResult(msgspec.Struct):
    """What one worker found: its groups, counts, and rows whose `group` is a place in its groups."""

    groups: tuple[GroupKey, ...]
    counts: dict[str, int]
    totals: dict[int, tuple[int, int]]
    found: list[Rows]
    requests: RowStore
    steps: RowStore


class WasteFold:
    """Rows of hashes and counts of the calls, as they come."""

    def __init__(self, plan: WastePlan, folder: str | None = None) -> None:
        self._plan = plan
        self._index = GroupIndex()
        self._result = FoldResult((), {}, {}, [], RowStore(REQUESTS, folder), RowStore(STEPS, folder))

    def add(self, columns: Columns, _samples: object = None) -> None:
        """Take a block in; `columns` carry `cost_usd` as logged, and `hashed` was applied."""
        if not columns.size:
            return
        block, result = rows_of(columns, self._plan, self._index), self._result
        for name, number in block.counts.items():
            result.counts[name] = result.counts.get(name, 0) + number
        for group, (calls, cost) in block.totals.items():
            before = result.totals.get(group, (0, 0))
            result.totals[group] = (before[0] + calls, before[1] + cost)
        if len(block.found):
            result.found.append(block.found)
        result.requests.add(block.requests)
        result.steps.add(block.steps)

    def result(self) -> FoldResult:
        """Everything so far."""
        self._result.groups = tuple(self._index)
        return self._result


class _Merged:
    """All that the workers found, each call once, under common numbers of groups."""

    def __init__(self, results: Sequence[FoldResult], end_us: int | None) -> None:
        self._index = GroupIndex()
        self._maps = [np.array([self._index[g] for g in result.groups], np.int32) for result in results]
        self._results = results
        self.counts: dict[str, int] = {}
        self.totals: dict[int, tuple[int, int]] = {}
        self.orphans = self.open_ends = 0
        for result, numbers in zip(results, self._maps, strict=True):
            for name, number in result.counts.items():
                self.counts[name] = self.counts.get(name, 0) + number
            for group, (calls, cost) in result.totals.items():
                at = int(numbers[group])
                before = self.totals.get(at, (0, 0))
                self.totals[at] = (before[0] + calls, before[1] + cost)
        found = [self._renumbered(r, m) for result, m in zip(results, self._maps, strict=True) for r in result.found]
        self.found = settle([*found, *self._same_requests(), *self._caching(end_us or 0)])

    @staticmethod
    def _renumbered(rows: Rows, numbers: Any) -> Rows:
        rows = rows.copy()
        rows["group"] = numbers[rows["group"]]
        return rows

    def _rows(self, name: str) -> Iterator[Rows]:
        """The rows of one kind, all of a key together."""
        stores = [getattr(result, name) for result in self._results]
        numbers: Sequence[int | None] = range(_PARTS) if any(store.is_spilled for store in stores) else [None]
        for number in numbers:
            parts = [self._renumbered(s.part(number), m) for s, m in zip(stores, self._maps, strict=True)]
            if rows := [part for part in parts if len(part)]:
                yield np.concatenate(rows)

    def _same_requests(self) -> Iterator[Rows]:
        for rows in self._rows("requests"):
            found, orphans = same_requests(rows)
            self.orphans += orphans
            yield found

    def _caching(self, end_us: int) -> Iterator[Rows]:
        readers = np.concatenate([np.zeros(0, STEPS), *map(first_reads, self._rows("steps"))])
        for rows in self._rows("steps"):
            found, open_ends = caching(rows, readers, end_us)
            self.open_ends += open_ends
            yield found

    def report(self, plan: WastePlan, scanned: Scanned[Any], show: Waste | None) -> WasteReport:
        """What is shown."""
        keys = [dict(zip(plan.by, group, strict=True)) for group in self._index]
        whole = self.counts.get("cost", 0)
        classes = [self._class(waste, keys, whole, scanned) for waste in CLASSES]
        rows = sorted((row for row in classes if row.calls), key=lambda row: (-(row.amount_usd or 0.0), row.waste))
        amounts = self.found["amount"]
        waste = int(amounts[amounts > 0].sum())
        shown = () if show is None else tuple(_calls(self._of(show), keys, scanned))
        return WasteReport(
            price_table=plan.table.version,
            by=plan.by,
            calls=self.counts.get("calls", 0),
            cost_usd=whole / NANO_DOLLARS if whole or not self.counts.get("unpriced") else None,
            complete=not self.counts.get("unpriced"),
            waste_calls=len(self.found),
            waste_usd=waste / NANO_DOLLARS,
            waste_share=waste / whole if whole else None,
            classes=tuple(rows),
            blind_spots=tuple(_blind_spots(self.counts, self.orphans, self.open_ends)),
            shown=shown,
            shown_class=show,
        )

    def _of(self, waste: Waste) -> Rows:
        """The calls of a class, the most expensive first."""
        rows = self.found[self.found["waste"] == CLASSES.index(waste)]
        ordered: Rows = rows[np.lexsort((rows["rank"], rows["position"], -rows["amount"]))]
        return ordered

    def _class(
        self, waste: Waste, keys: Sequence[Mapping[str, str | None]], whole: int, scanned: Scanned[Any]
    ) -> WasteRow:
        rows = self._of(waste)
        amounts = rows["amount"]
        evidence = np.bincount(rows["evidence"], minlength=len(EVIDENCE)).tolist()
        return WasteRow(
            waste=waste,
            meaning=MEANINGS[waste],
            remedy=REMEDIES[waste],
            calls=len(rows),
            amount_usd=_usd(amounts),
            share=int(amounts[amounts > 0].sum()) / whole if whole else None,
            unknown_calls=int(np.count_nonzero(amounts == UNKNOWN)),
            evidence={kind: calls for kind, calls in zip(EVIDENCE, evidence, strict=True) if calls},
            groups=tuple(self._groups(rows, keys)),
            example=next(_calls(rows[:1], keys, scanned), None),
        )

    def _groups(self, rows: Rows, keys: Sequence[Mapping[str, str | None]]) -> list[WasteGroup]:
        found = []
        for group in np.unique(rows["group"]).tolist():
            amounts = rows["amount"][rows["group"] == group]
            usd, cost = _usd(amounts), self.totals[group][1]
            share = usd * NANO_DOLLARS / cost if usd is not None and cost else None
            found.append(WasteGroup(keys[group], len(amounts), usd, share))
        return sorted(found, key=lambda row: (-(row.amount_usd or 0.0), -row.calls, [str(v) for v in row.key.values()]))


def _usd(amounts: Any) -> float | None:
    known = amounts[amounts != UNKNOWN]
    return int(known.sum()) / NANO_DOLLARS if len(known) else None


def _calls(rows: Rows, keys: Sequence[Mapping[str, str | None]], scanned: Scanned[Any]) -> Iterator[WasteCall]:
    for row in rows.tolist():
        found = dict(zip(FOUND.names or (), row, strict=True))
        file, line = ("", None) if found["position"] < 0 else place(found["position"], scanned)
        other = (None, None) if found["partner"] < 0 else place(found["partner"], scanned)
        yield WasteCall(
            time_us=None if found["time"] == MISSING_TIME else found["time"],
            file=file,
            line=line,
            key=keys[found["group"]],
            amount_usd=None if found["amount"] == UNKNOWN else found["amount"] / NANO_DOLLARS,
            evidence=EVIDENCE[found["evidence"]],
            other_file=other[0],
            other_line=other[1],
        )


def _blind_spots(counts: Mapping[str, int], orphans: int, open_ends: int) -> Iterator[str]:
    """What the log does not say, a sentence each."""
    billed = counts.get("billed", 0)
    if not billed:
        return

    def lack(what: str) -> str:
        return f"{billed - counts[what]:,} of {billed:,} billed calls"

    if counts["identified"] < billed:
        numbered = "" if counts["attempts"] else ", nor does the log number attempts"
        yield f"{lack('identified')} have no prompt and no hash of it: repeated requests cannot be seen{numbered}"
    if counts["finished"] < billed:
        yield f"{lack('finished')} do not say why the answer ended: cut off answers cannot be seen"
    if counts["outcomes"] < billed:
        yield f"{lack('outcomes')} do not say whether they failed or were cancelled"
    if counts["answers"] < billed:
        yield f"{lack('answers')} do not count the tokens of the answer: empty answers cannot be seen"
    if not counts["cached"]:
        yield "no call counts cached tokens: how caches were used cannot be seen"
    elif counts["in_sessions"] < counts["cached"]:
        yield (
            f"{counts['cached'] - counts['in_sessions']:,} of {counts['cached']:,} calls with cached tokens name no "
            "session: missed caches cannot be seen, and a write counts as unread only where no call of the model reads"
        )
    if counts["dated"] < billed:
        yield f"{lack('dated')} have no time: what happened soon after, or after a pause, cannot be seen"
    if orphans:
        yield f"the earlier attempts of {counted(orphans, 'repeated request')} are not in the log"
    if open_ends:
        yield f"{counted(open_ends, 'cache write')} at the end of the log may still have been read"
    if counts["unpriced"]:
        yield f"{counted(counts['unpriced'], 'call')} without a price: the amount is unknown where they are waste"
