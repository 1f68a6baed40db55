"""What the default monitor watches: per metric which way is bad, and the smallest change worth a word."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Bad(StrEnum):
    """Which change of a metric is worth reporting."""

    UP = "up"
    DOWN = "down"
    BOTH = "both"


@dataclass(frozen=True, slots=True)
class Watch:
    """How one metric is judged.

    `shifts` are the changes that are looked for: of a level in log units (or in the metric's own units
    where `log` is False), of a rate as (factor, least addition) pairs; a change below half of the least
    one never accumulates. `tail` is the share of calls usually beyond the tail's limit (0: no tail is
    watched), reported as `tail_metric`. `drift` is the creeping change looked for overall. `given` is a
    metric of the same group whose change explains part of this one.
    """

    metric: str
    bad: Bad = Bad.BOTH
    log: bool = True
    shifts: tuple[float, ...] = (0.25, 0.8)
    drift: float = 0.0
    tail: float = 0.0
    tail_metric: str = ""
    given: str = ""


WATCHED: Final[dict[str, Watch]] = {
    row.metric: row
    for row in (
        Watch("latency_ms", Bad.UP, tail=0.02, tail_metric="latency_p99_ms", given="completion_tokens"),
        Watch("time_to_first_token_ms", Bad.UP),
        Watch("output_tokens_per_second", Bad.DOWN, tail=0.003),
        Watch("prompt_tokens", Bad.BOTH, drift=0.12),
        Watch("completion_tokens", Bad.BOTH),
        Watch("cost_per_request_usd", Bad.UP, drift=0.14),
        Watch("cost_per_token_usd", Bad.UP),
        Watch("quality_score", Bad.DOWN, log=False, shifts=(0.05, 0.15)),
        Watch("error_rate", Bad.UP, drift=1.6),
        Watch("truncated_rate", Bad.UP),
        Watch("refused_rate", Bad.UP),
        Watch("empty_rate", Bad.UP),
        Watch("requests", Bad.BOTH),
        Watch("cost_usd", Bad.UP),
    )
}


def watch_of(metric: str) -> Watch:
    """The row of a metric; one that is not in the table is watched both ways."""
    return WATCHED.get(metric) or Watch(metric)
