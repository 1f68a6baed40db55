"""Metric families as Prometheus text 0.0.4 and OpenMetrics 1.0, without timestamps."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from typing import Final

from llmmon.exposition import Family, Histogram, Pairs

_ESCAPED: Final = {"\\": "\\\\", '"': '\\"', "\n": "\\n"}
_SIGNS: Final = re.compile(r'[\\"\n]')


def prometheus(families: Iterable[Family]) -> str:
    """Text format 0.0.4, as the textfile collector and `/metrics` take it."""
    lines: list[str] = []
    for family in families:
        lines += [f"# HELP {family.name} {family.help}", f"# TYPE {family.name} {family.kind}"]
        lines += _samples(family, family.name)
    return "".join(line + "\n" for line in lines)


def openmetrics(families: Iterable[Family]) -> str:
    """OpenMetrics 1.0: counters are named without `_total`, units are said, the end is marked."""
    lines: list[str] = []
    for family in families:
        name = family.name.removesuffix("_total")
        lines.append(f"# TYPE {name} {family.kind}")
        if family.unit:
            lines.append(f"# UNIT {name} {family.unit}")
        lines.append(f"# HELP {name} {family.help}")
        lines += _samples(family, family.name)
    return "".join(line + "\n" for line in [*lines, "# EOF"])


def _samples(family: Family, name: str) -> Iterator[str]:
    for point in family.points:
        if isinstance(point.value, Histogram):
            yield from _histogram(name, point.labels, point.value)
        else:
            yield f"{name}{_labels(point.labels)} {_number(point.value)}"


def _histogram(name: str, labels: Pairs, found: Histogram) -> Iterator[str]:
    below = 0
    for bound, count in zip((*found.bounds, math.inf), found.counts, strict=True):
        below += count
        yield f"{name}_bucket{_labels((*labels, ('le', _number(float(bound)))))} {below}"
    yield f"{name}_sum{_labels(labels)} {_number(found.sum)}"
    yield f"{name}_count{_labels(labels)} {found.count}"


def _labels(labels: Pairs) -> str:
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in labels) + "}" if labels else ""


def _escaped(value: str) -> str:
    return _SIGNS.sub(lambda sign: _ESCAPED[sign[0]], value)


def _number(value: float) -> str:
    if isinstance(value, int):
        return str(value)
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return "NaN" if value != value else repr(value)
