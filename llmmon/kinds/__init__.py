"""Kinds of rule: what each reads of the history, how far back, and what it sees there.

A member is one file with one class and one row of KINDS; everything else of a rule is the same for all.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from llmmon.columns import IntArray
from llmmon.history import Stream
from llmmon.kinds.anomaly import AnomalyKind
from llmmon.kinds.burn import BurnKind
from llmmon.kinds.change import ChangeKind
from llmmon.kinds.kind import Kind, Past
from llmmon.kinds.level import LevelKind
from llmmon.kinds.spend import SpendKind
from llmmon.readings import Sight
from llmmon.rules import AlertRule, Burn, Change, Spend

__all__ = ["KINDS", "Kind", "Past", "kind_of", "needs", "reaches", "sight_of"]

KINDS: Final[dict[type[Change | Burn | Spend] | str, Kind]] = {
    "anomaly": AnomalyKind(),
    "level": LevelKind(),
    Change: ChangeKind(),
    Burn: BurnKind(),
    Spend: SpendKind(),
}


def kind_of(rule: AlertRule) -> Kind:
    """The kind of a rule."""
    if rule.basis is not None:
        return KINDS[type(rule.basis)]
    return KINDS["anomaly" if rule.anomaly else "level"]


def needs(rule: AlertRule) -> dict[Stream, int]:
    """The streams that a rule reads, and how many minutes before the judged one it looks back in each."""
    return kind_of(rule).needs(rule)


def reaches(rules: Iterable[AlertRule]) -> dict[Stream, int]:
    """The streams that rules read, and how many minutes before the judged one any of them looks back."""
    found: dict[Stream, int] = {}
    for rule in rules:
        for stream, minutes in needs(rule).items():
            found[stream] = max(found.get(stream, 0), minutes)
    return found


def sight_of(rule: AlertRule, past: Past, ends: IntArray, *, everywhere: bool = False) -> Sight:
    """What a rule sees at consecutive minutes; values `everywhere`, not only where they decide something."""
    return kind_of(rule).sight(rule, past, ends, everywhere=everywhere)
