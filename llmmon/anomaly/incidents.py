"""Incidents: the anomalies that are one story, joined by time, by the calls they share, and by what follows from what.

Anomalies are taken in the order in which they are raised, and each joins the open incident that explains it best or
begins a new one. What an incident is therefore depends on nothing that happens later: an incident keeps its id, and
the series that join it later are symptoms of it. Which of its anomalies leads may change as more becomes known.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Final

import msgspec
import numpy as np

from llmmon.anomaly.anomalies import place_of
from llmmon.anomaly.courses import Course, without
from llmmon.anomaly.detectors.detector import (
    Anomaly,
    AnomalyStatus,
    Change,
    DetectorResults,
    Severity,
    moment,
)
from llmmon.anomaly.series import GroupLabels
from llmmon.text.times import to_us

_GAP: Final = timedelta(minutes=30)
_REBOUND: Final = timedelta(hours=2)  # in which the return to normal can itself look unusual
_TOLERANCE: Final = timedelta(minutes=5)  # by which an onset may be earlier than its estimate
_NEAR: Final = timedelta(hours=3)  # over which a relation loses most of its weight
_LATE: Final = timedelta(minutes=30)  # after the first onset, from which on an anomaly is no cause
_ALL_MOVED: Final = 0.35  # of a group's own change: when the other calls moved so much, it is not only the group
_SURE: Final = 3.0  # standard errors

# cause -> what follows from it in the same calls
_FOLLOWS: Final[Mapping[str, tuple[str, ...]]] = {
    "error_rate": (
        *("latency_ms", "time_to_first_token_ms", "output_tokens_per_second", "prompt_tokens", "completion_tokens"),
        *("cost_per_request_usd", "truncated_rate", "refused_rate", "empty_rate", "quality_score", "requests"),
    ),
    "requests": ("cost_usd",),
    "prompt_tokens": ("time_to_first_token_ms", "cost_per_request_usd", "cost_per_token_usd"),
    "completion_tokens": ("latency_ms", "output_tokens_per_second", "cost_per_request_usd", "cost_per_token_usd"),
    "truncated_rate": ("completion_tokens", "quality_score"),
    "refused_rate": ("completion_tokens", "quality_score"),
    "empty_rate": ("completion_tokens", "quality_score"),
    "time_to_first_token_ms": ("latency_ms",),
    "latency_ms": ("latency_p99_ms", "output_tokens_per_second"),
    "latency_p99_ms": ("output_tokens_per_second",),
    "cost_per_token_usd": ("cost_per_request_usd",),
    "cost_per_request_usd": ("cost_usd",),
}
_LOOSE: Final = "error_rate"  # much may follow from it, nothing must
# what may come with each other when both begin together: a loop that sends many long prompts, calls that time out
_TOGETHER: Final = (
    frozenset({"requests", "prompt_tokens"}),
    frozenset({"requests", "cost_per_request_usd"}),
    frozenset({"requests", "error_rate"}),
    frozenset({"truncated_rate", "completion_tokens"}),
    frozenset({"latency_p99_ms", "latency_ms"}),
    frozenset({"latency_ms", "output_tokens_per_second"}),
    frozenset({"latency_p99_ms", "output_tokens_per_second"}),
)
# which metric names an incident best, of those that began together
_LEADS: Final = (
    *("error_rate", "empty_rate", "refused_rate", "truncated_rate", "requests", "prompt_tokens", "completion_tokens"),
    *("time_to_first_token_ms", "latency_ms", "latency_p99_ms", "output_tokens_per_second", "cost_per_token_usd"),
    *("quality_score", "cost_per_request_usd", "cost_usd"),
)


def _closure() -> dict[str, frozenset[str]]:
    """Everything that follows from each metric, however indirectly."""

    def reached(metric: str) -> set[str]:
        found: set[str] = set()
        waiting = list(_FOLLOWS.get(metric, ()))
        while waiting:
            if (one := waiting.pop()) not in found:
                found.add(one)
                waiting += _FOLLOWS.get(one, ())
        return found

    return {metric: frozenset(reached(metric)) for metric in _FOLLOWS}


_EFFECTS: Final = _closure()


@dataclass(frozen=True, slots=True)
class Incident:
    """One story: `lead` says it best, `symptoms` are the other series that moved with it, most important first.

    `id` follows from its first anomaly and never changes; `group` are the calls concerned. `start` is the lead's
    estimated onset, `end` None while any of it lasts, `timestamp` when it was raised, `resolved` when it was certain
    that all of it is over.
    """

    id: str
    lead: Anomaly
    symptoms: tuple[Anomaly, ...]
    severity: Severity
    status: AnomalyStatus
    timestamp: datetime
    start: datetime
    end: datetime | None
    resolved: datetime | None = None
    change: Change = field(default_factory=lambda: Change(None, None, 0))  # of the lead, over all of the incident

    @property
    def members(self) -> tuple[Anomaly, ...]:
        """The lead and the symptoms."""
        return (self.lead, *self.symptoms)

    @property
    def group(self) -> GroupLabels:
        """The lead's group, without the type of an error, which is no group of calls."""
        return tuple((name, value) for name, value in self.lead.group if name != "error_type")


@dataclass(slots=True)
class _Cluster:
    """An incident in the making: anomalies in the order in which they were raised."""

    members: list[Anomaly] = field(default_factory=list)

    def fit(self, anomaly: Anomaly) -> float:
        """How well the incident explains an anomaly that is raised now; 0 if not at all."""
        if not any(_is_active(member, anomaly) for member in self.members):
            return 0.0
        if self._is_too_narrow(anomaly):
            return 0.0
        foreign = self._is_foreign(anomaly)
        return max(_relation(anomaly, member, foreign=foreign) for member in self.members)

    def _is_too_narrow(self, anomaly: Anomaly) -> bool:
        """Whether it is of one group, though errors of several would have brought it about: then all would have it."""
        if not _calls(anomaly) or any(member.metric_name == anomaly.metric_name for member in self.members):
            return False
        return len({_calls(one) for one in self.members if one.metric_name == _LOOSE} - {()}) > 1

    def _is_foreign(self, anomaly: Anomaly) -> bool:
        """Whether an anomaly is of calls that the incident does not concern.

        It concerns all calls if it was found in all of them, and in no group, or in several.
        """
        mine, groups = _calls(anomaly), {_calls(member) for member in self.members}
        parts = groups - {()}
        if not mine or not parts or mine in parts:
            return False
        return len(parts) == 1 or () not in groups


def grouped(anomalies: Iterable[Anomaly]) -> list[tuple[Anomaly, ...]]:
    """The anomalies of each incident, in the order in which they were raised; incidents in order of time."""
    clusters: list[_Cluster] = []
    for anomaly in sorted(anomalies, key=_raised):
        fits = [(cluster.fit(anomaly), -k) for k, cluster in enumerate(clusters)]
        best, k = max(fits, default=(0.0, 0))
        if best > 0:
            clusters[-k].members.append(anomaly)
        else:
            clusters.append(_Cluster([anomaly]))
    return [tuple(cluster.members) for cluster in clusters]


def _raised(anomaly: Anomaly) -> tuple[datetime, int, int, str, GroupLabels]:
    """Of anomalies that are raised together, those that explain the most come first."""
    group = anomaly.group
    return anomaly.timestamp, _rank(anomaly.metric_name), len(group), anomaly.metric_name, _sortable(group)


def _sortable(group: GroupLabels) -> GroupLabels:
    return tuple((name, value or "") for name, value in group)


def _rank(metric: str) -> int:
    return _LEADS.index(metric) if metric in _LEADS else len(_LEADS)


def _calls(anomaly: Anomaly) -> GroupLabels:
    """The group of calls that an anomaly is about: the rate of one type of error is of all calls."""
    return tuple((name, value) for name, value in anomaly.group if name != "error_type")


def _is_active(member: Anomaly, anomaly: Anomaly) -> bool:
    """Whether a member's alarm is still on when an anomaly begins, or has only just ended."""
    onset = anomaly.start or anomaly.timestamp
    slack = _REBOUND if member.metric_name == anomaly.metric_name else _GAP
    return member.closed is None or onset <= member.closed + slack


def _relation(anomaly: Anomaly, member: Anomaly, *, foreign: bool) -> float:
    """How likely an anomaly belongs with one that was raised before it, in (0, 1]; 0 if it does not.

    `foreign` says that its group shares no calls with those that the incident is known to concern.
    """
    mine, theirs = _calls(anomaly), _calls(member)
    apart = (anomaly.start or anomaly.timestamp) - (member.start or member.timestamp)
    together = _began_together(anomaly, member)
    a, b = anomaly.metric_name, member.metric_name
    if foreign or (mine and theirs and mine != theirs):
        # other calls: it is one story only if the same thing happens to them at the same time
        return 0.5 * _nearness(apart) if a == b and together and not _share_no_field(mine, theirs) else 0.0
    if a == b:
        return 1.0 if mine == theirs else 0.95
    close = 1.0 if mine == theirs else 0.8
    if a in _EFFECTS.get(b, ()) and (apart >= timedelta() or together):
        return 0.9 * close * _nearness(apart)
    if b in _EFFECTS.get(a, ()) and (apart <= timedelta() or together):
        return 0.85 * close * _nearness(apart)
    if frozenset({a, b}) in _TOGETHER and together:
        return 0.7 * close * _nearness(apart)
    return 0.3 * _nearness(apart) if mine and mine == theirs and together else 0.0


def _share_no_field(mine: GroupLabels, theirs: GroupLabels) -> bool:
    return bool(mine) and bool(theirs) and {name for name, _ in mine}.isdisjoint(name for name, _ in theirs)


def _began_together(one: Anomaly, other: Anomaly) -> bool:
    """Whether two anomalies may have begun at the same time: somewhere between their onset and their alarm."""
    spans = [(a.start or a.timestamp, a.timestamp) for a in (one, other)]
    return max(start for start, _ in spans) <= min(raised for _, raised in spans) + _TOLERANCE


def _nearness(apart: timedelta) -> float:
    return math.exp(-abs(apart) / _NEAR)


def incident_id(first: Anomaly) -> str:
    """The id of the incident that begins with an anomaly: the same in every run."""
    return sha256(f"incident\x1f{first.id}".encode()).hexdigest()[:12]


def incidents(anomalies: Iterable[Anomaly], results: Sequence[DetectorResults] = ()) -> list[Incident]:
    """The incidents that anomalies make up, in order of time. `results` are what they were found in."""
    return [incident(members, results) for members in grouped(anomalies)]


def incident(members: Sequence[Anomaly], results: Sequence[DetectorResults] = ()) -> Incident:
    """One incident of anomalies in the order in which they were raised."""
    lead = _lead(members, results)
    rest = sorted((one for one in members if one is not lead), key=lambda one: (-one.severity.rank, *_raised(one)))
    concerned = [one for one in members if _calls(lead) in ((), _calls(one))]  # the lead's calls, or some of them
    going = [one for one in concerned if one.status is not AnomalyStatus.OVER]
    status = min((one.status for one in going), key=_urgency, default=AnomalyStatus.OVER)
    known = [one.resolved or one.closed for one in members]
    end = None if going else max(one.end or one.timestamp for one in concerned)
    return Incident(
        id=incident_id(members[0]),
        lead=lead,
        symptoms=tuple(rest),
        severity=max((one.severity for one in members), key=lambda severity: severity.rank),
        status=status,
        timestamp=members[0].timestamp,
        start=lead.start or lead.timestamp,
        end=end,
        change=_change(lead, end, results),
        resolved=None if going or None in known else max(one for one in known if one is not None),
    )


def _change(lead: Anomaly, end: datetime | None, results: Sequence[DetectorResults]) -> Change:
    """How the lead moved up to the end of the incident, which others may show for longer."""
    own = lead.change or Change(None, None, 0)
    where = place_of(lead, results)
    if lead.end == end or where is None or not where[0].series:
        return own
    found, j = where
    first = int(np.searchsorted(found.starts, to_us(lead.start or lead.timestamp)))
    stop = len(found.starts) if end is None else int(np.searchsorted(found.ends, to_us(end))) + 1
    whole = Course(found, j).change(first, stop)
    return whole if whole.shift * own.shift > 0 else own


def _urgency(status: AnomalyStatus) -> int:
    return [AnomalyStatus.OPEN, AnomalyStatus.NEW_LEVEL, AnomalyStatus.OVER].index(status)


def _lead(members: Sequence[Anomaly], results: Sequence[DetectorResults]) -> Anomaly:
    """The anomaly that says best what happened: in the metric that the others follow from, of the calls that moved."""
    gravest = max(one.severity.rank for one in members)
    first = min((one for one in members if one.severity.rank >= gravest - 1), key=_onset)
    able = [
        one
        for one in members
        if one.severity.rank >= gravest - 2 and _onset(one) <= max(first.timestamp, _onset(first)) + _LATE
    ] or list(members)
    metric = min((one.metric_name for one in able), key=_rank)
    if metric == "time_to_first_token_ms" and _is_slow_beyond_first_token(able):
        metric = "latency_ms"
    named = [one for one in members if one.metric_name == metric and (one in able or not one.group)]
    return _of_whom(named, able, results)


def _onset(anomaly: Anomaly) -> datetime:
    return anomaly.start or anomaly.timestamp


def _is_slow_beyond_first_token(members: Sequence[Anomaly]) -> bool:
    """Whether answers took longer by much more than their first token did."""

    def added(metric: str) -> float:
        found = [
            (one.severity.rank, len(one.group), one.change.during - one.change.usual)
            for one in members
            if one.metric_name == metric
            and one.change is not None
            and one.change.during is not None
            and one.change.usual is not None
        ]
        return max(found)[2] if found else 0.0

    return added("latency_ms") > 2 * added("time_to_first_token_ms") > 0


def _of_whom(candidates: Sequence[Anomaly], able: Sequence[Anomaly], results: Sequence[DetectorResults]) -> Anomaly:
    """Of anomalies in one metric that of the calls concerned: one group if the others did not move, else all.

    If all moved and only groups of this metric were raised, another metric of all calls that can lead does.
    """
    whole = [one for one in candidates if not one.group]
    parts = [one for one in candidates if _calls(one)]
    strongest = max(parts or candidates, key=_strength)
    if parts and not _others_moved(strongest, len(parts) > 1, results):
        return strongest
    if whole or not parts:
        return max(whole or candidates, key=_strength)
    return min((one for one in able if not one.group), key=lambda one: _rank(one.metric_name), default=strongest)


def _strength(anomaly: Anomaly) -> tuple[int, float, float]:
    change = anomaly.change
    return anomaly.severity.rank, abs(change.certainty) if change else 0.0, -anomaly.timestamp.timestamp()


def _others_moved(part: Anomaly, several: bool, results: Sequence[DetectorResults]) -> bool:
    """Whether the calls outside of a group moved as well, so that the change is not the group's alone.

    Tails cannot be taken apart: they are everyone's if `several` groups have them.
    """
    found = next((r for r in results if r.series and _column(r, part, part.group) is not None), None)
    if found is None or part.detector == "tail":
        return several
    mine, every = _column(found, part, part.group), _column(found, part, ())
    if mine is None or every is None:
        return several
    onset = int(np.searchsorted(found.starts, to_us(part.start or part.timestamp)))
    stop = len(found.starts) if part.end is None else int(np.searchsorted(found.ends, to_us(part.end))) + 1
    left = without(*(found.series[found.columns[j].series] for j in (every, mine)))
    others, own = Course(found, every, series=left).change(onset, stop), part.change or Change(None, None, 0)
    way = float(np.sign(own.shift))
    return others.certainty * way > _SURE and others.shift * way > _ALL_MOVED * abs(own.shift)


def _column(results: DetectorResults, anomaly: Anomaly, group: GroupLabels) -> int | None:
    wanted = (anomaly.metric_name, group, anomaly.detector)
    return next((j for j, c in enumerate(results.columns) if (c.metric, c.group, c.detector) == wanted), None)


class Accepted(msgspec.Struct, frozen=True):
    """Which new levels people took as the baseline: incidents by id and when, and all that began before a time."""

    incidents: Mapping[str, int] = msgspec.field(default_factory=dict)
    before_us: int = 0

    def at_us(self, incident: Incident) -> int | None:
        """When an incident was accepted; None if it was not. The ids of all of its series count."""
        if incident.start < moment(self.before_us):
            return self.before_us
        ids = {incident.id, *map(incident_id, incident.members)}
        return next((at for name, at in self.incidents.items() if any(one.startswith(name) for one in ids)), None)


NOTHING_ACCEPTED: Final = Accepted()


def with_accepted(found: Sequence[Incident], accepted: Accepted, now_us: int) -> list[Incident]:
    """The incidents, those that last but were accepted until `now_us` over since then."""
    if accepted == NOTHING_ACCEPTED:
        return list(found)
    return [_accepted(one, accepted.at_us(one), now_us) for one in found]


def _accepted(incident: Incident, at_us: int | None, now_us: int) -> Incident:
    if incident.end is not None or at_us is None:
        return incident
    at = max(moment(min(at_us, now_us)), incident.start)
    members = [
        one if one.status is AnomalyStatus.OVER else replace(one, status=AnomalyStatus.ACCEPTED, end=at, resolved=at)
        for one in incident.members
    ]
    return replace(
        incident,
        lead=members[0],
        symptoms=tuple(members[1:]),
        status=AnomalyStatus.ACCEPTED,
        end=at,
        resolved=at,
    )
