"""What the calls of an alert show: the most frequent errors, a few requests with their place in the log, and the
command that lists them all.

The calls are read again, but only those of the time in question.
"""

from __future__ import annotations

import contextlib
import re
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from llmmon.alerting.alert import Alert, Example, TopError
from llmmon.alerting.history import statistic_of
from llmmon.alerting.rules import INCIDENT, OTHER, AlertRule, Burn, Spend
from llmmon.errors import LlmmonError
from llmmon.ingest.query import Query, read
from llmmon.ingest.scan import POSITION_BITS, Scanned, place
from llmmon.ingest.time_range import TimeRequest
from llmmon.metrics.columns import BoolArray, Columns, FloatArray, concat
from llmmon.metrics.definitions import METRICS, MetricKind, errors
from llmmon.metrics.filters import Filter, all_of, parse
from llmmon.text.figures import plain
from llmmon.text.times import DAY_US, iso

MOST_ALERTS: Final = 20  # of one run whose calls are read again
MOST_EXAMPLES: Final = 3
MOST_ERRORS: Final = 3
_LONGEST_US: Final = DAY_US
_LONGEST_MESSAGE: Final = 200  # characters
_FIELDS: Final = frozenset({"request_id", "timestamp", "status", "error_type", "error_message"})
_UNSAFE: Final = re.compile('[\x00-\x1f\x7f-\x9f"\u200b-\u200f\u2028-\u202e\u2060-\u2069\ud800-\udfff\ufeff]')
_CHUNK: Final = 1 << 20


class Subject(msgspec.Struct, frozen=True):
    """The calls of an alert: a time range, a condition, and the metric by which the worst of them are found.

    `metric` is empty where none is better than another; `largest` is whether large values are bad.
    """

    start_us: int
    end_us: int
    where: str = ""
    metric: str = ""
    largest: bool = True

    @classmethod
    def of(cls, alert: Alert, rule: AlertRule) -> Subject:
        """The calls that an alert is about, from the window before its condition began to hold until it fired."""
        end_us = alert.fired_us or alert.met_us
        start_us = max(alert.since_us - rule.window_us, end_us - _LONGEST_US)
        metric, largest = _metric(alert, rule)
        burn = rule.basis if isinstance(rule.basis, Burn) else None
        conditions = [rule.where, f"not ({burn.good})" if burn is not None else ""]
        if metric in METRICS and METRICS[metric].kind is MetricKind.EVENT and largest:
            conditions.append(metric)
        conditions += [
            _equals(field, name) for field, name in alert.group if field not in ("metric", INCIDENT) and name != OTHER
        ]
        wanted = [text for text in conditions if text]
        where = wanted[0] if len(wanted) == 1 else " and ".join(f"({text})" for text in wanted)
        return cls(start_us, end_us, where, metric, largest)

    def command(self, configuration: str) -> str:
        """The command that lists these calls."""
        parts = ["llmmon", "requests", *(["--config", configuration] if configuration else [])]
        parts += ["--where", self.where] if self.where else []
        parts += ["--since", iso(self.start_us) or "", "--until", iso(self.end_us) or ""]
        if self.metric and METRICS[self.metric].kind is not MetricKind.EVENT:
            parts += ["--sort", self.metric, *([] if self.largest else ["--ascending"])]
        return shlex.join(parts)


def _metric(alert: Alert, rule: AlertRule) -> tuple[str, bool]:
    if rule.anomaly:
        name = dict(alert.group).get("metric") or alert.metric_name
        return (name or "") if name in METRICS else "", True
    if isinstance(rule.basis, Burn):
        return "", True
    if isinstance(rule.basis, Spend):
        return "cost_usd", True
    found = statistic_of(rule).metric.name
    return ("" if found == "requests" or found not in METRICS else found), rule.condition in {"gt", "ge"}


def _equals(field: str, name: str | None) -> str:
    """A condition that keeps the calls of a group; signs that cannot be written match any."""
    if name is None:
        return f"{field}=null"
    value = re.sub(r"[*?[]", lambda sign: f"[{sign[0]}]", name)
    return f'{field}="{_UNSAFE.sub("?", value).replace(chr(92), "?")}"'


class _Fold:
    """Collects the errors and the worst calls of each subject."""

    def __init__(self, subjects: Sequence[Subject]) -> None:
        self._subjects = [(one, all_of([one.where]) if one.where else None) for one in subjects]
        self.errors: list[Counter[tuple[str, str]]] = [Counter() for _ in subjects]
        self.worst: list[Columns] = [concat([]) for _ in subjects]

    def add(self, columns: Columns, _samples: list[dict[str, Any]]) -> None:
        """Add a block."""
        for at, (subject, where) in enumerate(self._subjects):
            mine = columns.take(_inside(columns, subject, where))
            if mine.size:
                self.errors[at] += _errors(mine)
                self.worst[at] = _worst(concat([self.worst[at], mine]), subject)

    def result(self) -> _Fold:
        """What was collected."""
        return self

    def __getstate__(self) -> dict[str, Any]:
        """All but the conditions, which are made of functions."""
        return {"errors": self.errors, "worst": self.worst}


def _inside(columns: Columns, subject: Subject, where: Filter | None) -> BoolArray:
    inside: BoolArray = (columns.timestamp >= subject.start_us) & (columns.timestamp < subject.end_us)
    return inside if where is None or not inside.any() else inside & where.mask(columns)


def _errors(columns: Columns) -> Counter[tuple[str, str]]:
    failed = errors(columns)
    if failed is None:
        return Counter()
    columns = columns.take(failed == 1)
    kinds, messages = columns.name("error_type").texts(), columns.name("error_message").texts()
    return Counter(
        (kind or "", (message or "")[:_LONGEST_MESSAGE]) for kind, message in zip(kinds, messages, strict=True)
    )


def _worst(columns: Columns, subject: Subject) -> Columns:
    """The few worst calls; of equally bad ones the first."""
    rank = _rank(columns, subject)
    order = np.argsort(np.where(np.isnan(rank), np.inf, -rank if subject.largest else rank), kind="stable")
    return columns.take(order[:MOST_EXAMPLES]).without_unused_names()


def _rank(columns: Columns, subject: Subject) -> FloatArray:
    found = METRICS[subject.metric].rows(columns) if subject.metric else None
    return np.zeros(columns.size) if found is None else found


def with_evidence(query: Query, alerts: Mapping[str, tuple[Alert, AlertRule]], configuration: str) -> dict[str, Alert]:
    """The alerts with what their calls show; those whose calls cannot be read get the command alone."""
    subjects = {name: Subject.of(alert, rule) for name, (alert, rule) in alerts.items()}
    looked_at = sorted(subjects, key=lambda name: -alerts[name][0].severity.rank)[:MOST_ALERTS]
    found = {
        name: msgspec.structs.replace(alert, command=subjects[name].command(configuration))
        for name, (alert, _) in alerts.items()
    }
    try:
        folds, scanned = _read(query, [subjects[name] for name in looked_at])
    except (LlmmonError, OSError):
        return found  # a log that was rotated away meanwhile must not keep the message back
    for at, name in enumerate(looked_at):
        failures: Counter[tuple[str, str]] = sum((fold.errors[at] for fold in folds), Counter())
        worst = _worst(concat([fold.worst[at] for fold in folds]), subjects[name])
        found[name] = msgspec.structs.replace(
            found[name],
            top_errors=_top_errors(failures),
            examples=_examples(worst, scanned),
        )
    return found


def _top_errors(failures: Counter[tuple[str, str]]) -> tuple[TopError, ...]:
    """The most frequent errors; providers repeat the key that they refuse, which must not be sent on."""
    from llmmon.quality.redaction import redact_keys

    return tuple(TopError(kind, redact_keys(text), calls) for (kind, text), calls in failures.most_common(MOST_ERRORS))


def _read(query: Query, subjects: Sequence[Subject]) -> tuple[list[_Fold], Scanned[Any]]:
    fields = set(_FIELDS)
    for subject in subjects:
        fields |= METRICS[subject.metric].needs if subject.metric else set()
        fields |= parse(subject.where).fields if subject.where else set()
    start_us, end_us = min(one.start_us for one in subjects), max(one.end_us for one in subjects)
    there = msgspec.structs.replace(
        query.quiet(), time=TimeRequest(since=start_us, until=end_us, now=end_us), where=None
    )
    done = read(there, frozenset(fields), lambda: _Fold(subjects))
    return done.results, done.scanned


def _examples(columns: Columns, scanned: Scanned[Any]) -> tuple[Example, ...]:
    if not columns.size or columns.positions is None:
        return ()
    ids = columns.name("request_id").texts()
    return tuple(
        Example(name or "(no id)", *_place(position, scanned))
        for name, position in zip(ids, columns.positions.tolist(), strict=True)
    )


def _place(position: int, scanned: Scanned[Any]) -> tuple[str, int | None]:
    """The file and line of a call; lines before a jump into the file are counted."""
    file, line = place(position, scanned)
    start = scanned.spans[position >> POSITION_BITS][0].start
    if line is None and start > 0:
        with contextlib.suppress(OSError):
            line = _lines_before(Path(file), start) + (position & ((1 << POSITION_BITS) - 1)) + 1
    return plain(file), line  # a name need not be UTF-8, messages are


def _lines_before(path: Path, offset: int) -> int:
    """How many lines start before an offset above 0."""
    lines, left = 1, offset - 1
    with path.open("rb") as file:
        while left > 0 and (chunk := file.read(min(_CHUNK, left))):
            lines += chunk.count(b"\n")
            left -= len(chunk)
    return lines
