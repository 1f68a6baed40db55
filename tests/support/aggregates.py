"""Aggregates as plain values that compare, whatever the order of their groups and the number of their runs."""

from __future__ import annotations

from typing import Any

from llmmon.metrics.aggregates import Aggregates, GroupKey, sorted_run

Contents = tuple[dict[GroupKey, dict[str, Any]], int | None, int | None]


def contents_of(aggregates: Aggregates) -> Contents:
    """By group and metric: (count, total), and the sorted values with how often each counts."""
    groups: dict[GroupKey, dict[str, Any]] = {group: {} for group in aggregates.groups}
    for name, sums in aggregates.sums.items():
        for group, count, total in zip(aggregates.groups, sums.count.tolist(), sums.total.tolist(), strict=True):
            if count:
                groups[group][f"sums of {name}"] = (count, total)
    for name, values in aggregates.values.items():
        run = sorted_run(values)
        for number, value, weight in zip(
            run.groups().tolist(), run.values().tolist(), run.weights().tolist(), strict=True
        ):
            groups[aggregates.groups[number]].setdefault(f"values of {name}", []).append((value, weight))
    return groups, aggregates.first_us, aggregates.last_us
