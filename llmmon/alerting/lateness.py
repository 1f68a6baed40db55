"""Calls that arrive after their minute was evaluated: how many, how late, and how long to wait for the next ones.

A call is logged with the time at which it began, often only when it ends. Where a provider hangs or a log is shipped
late, the newest minutes therefore seem empty. Such minutes are evaluated again, and where many calls are late, minutes
wait for as long as the calls take, for some hours.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec
import numpy as np

from llmmon.alerting.history import Stream
from llmmon.alerting.state import StateFile
from llmmon.metrics.aggregates import Aggregates
from llmmon.text.figures import counted
from llmmon.text.times import HOUR_US, MINUTE_US, duration_text

MOST_LATE: Final = 60  # minutes that are evaluated again, and that a minute waits
_MANY: Final = 0.05  # share of late calls from which minutes wait
_LEAST: Final = 5  # calls that are many
_HOLDS_US: Final = 6 * HOUR_US  # how long minutes go on waiting after the last late call
_FACT: Final = "waiting"


class Lateness(msgspec.Struct, frozen=True):
    """The late calls of one run: their number, the share of all new ones, and the first minute that they change."""

    calls: int = 0
    share: float = 0.0
    first_minute: int = 0
    oldest_minute: int = 0  # also of calls that are too late to be evaluated again


class _Waiting(msgspec.Struct, frozen=True):
    wait_us: int
    until_us: int


def lateness(parts: Mapping[Stream, Aggregates], evaluated: int) -> Lateness:
    """The calls whose minute was evaluated before they arrived; `evaluated` is the last evaluated minute."""
    found = Lateness()
    for stream, part in parts.items():
        if stream.every_us != MINUTE_US or not part.groups or not part.sums:
            continue
        minutes = np.array([group[0] for group in part.groups], np.int64)
        counts = next(iter(part.sums.values())).count
        late = minutes < evaluated
        calls = int(counts[late].sum())
        if calls > found.calls:
            near = minutes[late & (minutes >= evaluated - MOST_LATE)]
            first = int(near.min()) if near.size else evaluated
            found = Lateness(calls, calls / max(1, int(counts.sum())), first, int(minutes[late].min()))
    return found


def wait_us(state: StateFile, now_us: int) -> int:
    """How long minutes wait at present because of late calls; 0 if they do not."""
    text = state.fact(_FACT)
    if text is None:
        return 0
    waiting = msgspec.json.decode(text, type=_Waiting)
    return waiting.wait_us if now_us < waiting.until_us <= now_us + _HOLDS_US else 0


def wait_for(state: StateFile, found: Lateness, now_us: int) -> int:
    """Note late calls; returns how long minutes wait from now on, so that such calls are in time."""
    before = wait_us(state, now_us)
    if found.calls < _LEAST or found.share < _MANY:
        return before
    needed = min(now_us - found.first_minute * MINUTE_US, MOST_LATE * MINUTE_US) // MINUTE_US * MINUTE_US
    waiting = _Waiting(max(before, needed), now_us + _HOLDS_US)
    state.set_fact(_FACT, msgspec.json.encode(waiting).decode())
    return waiting.wait_us


def sentence(found: Lateness, now_us: int) -> str:
    """What is said of late calls, with the `late` that would fit."""
    late_us = now_us // MINUTE_US * MINUTE_US - found.oldest_minute * MINUTE_US
    fits = f'late = "{duration_text(max(late_us, MINUTE_US))}" would wait for them'
    return (
        f"{counted(found.calls, 'call')} arrived after {'its' if found.calls == 1 else 'their'} minute was evaluated,"
        f" up to {duration_text(late_us)} late;"
        f" the last {MOST_LATE} minutes are evaluated again ({fits})"
    )
