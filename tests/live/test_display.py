"""The live display: fits every size, says what it does not know, and text from logs is harmless in it."""

from __future__ import annotations

import re
from typing import Any

import msgspec
import pytest
from rich.cells import cell_len

from llmmon.anomaly.report import IncidentReport
from llmmon.ingest.report import SourceReport
from llmmon.live.display import Screen, frame, line_of, row_of
from llmmon.live.watcher import COURSE, TOTALS, LiveAlert, LiveReport
from llmmon.reports.summary import GroupRow, Share

NOW_US = 1_780_000_000_000_000
HOSTILE = "\x1b[31mred\x1b[2J\u202eabc\n"


def statistics(**known: Any) -> dict[str, Any]:
    return {**dict.fromkeys(TOTALS), "request_count": 0, "error_count": 0, **known}


def report(groups: int = 3, **more: Any) -> LiveReport:
    known = statistics(
        request_count=1234, error_count=12, error_rate=0.01, requests_per_minute=82.3, latency_p50_ms=812.0,
        latency_p95_ms=3200.0, latency_p99_ms=8100.0, cost_total_usd=1.23, unpriced_requests=1, prompt_tokens=10**9,
    )  # fmt: skip
    plain = LiveReport(
        logs="logs/" + "long-" * 30,
        tz="UTC",
        now_us=NOW_US,
        start_us=NOW_US - 900_000_000,
        window_us=900_000_000,
        by=("model",),
        sorted_by="request_count",
        totals=known,
        exact=True,
        groups=tuple(GroupRow({"model": f"a-model-with-a-long-name-{n}"}, known) for n in range(groups)),
        errors=tuple(Share(f"error-{n}", 3, 0.25) for n in range(9)),
        course=tuple({name: float(n) for name in COURSE} for n in range(90)),
        every_us=10_000_000,
        source=SourceReport(lines=5, rejected=2),
        last_us=NOW_US - 2_000_000,
    )
    return msgspec.structs.replace(plain, **more)


@pytest.mark.parametrize(("width", "height"), [(80, 24), (160, 45), (40, 10), (20, 5), (300, 100), (1, 1)])
@pytest.mark.parametrize("groups", [0, 3, 200])
@pytest.mark.parametrize("colour", [True, False])
def test_a_frame_fits_the_terminal(width: int, height: int, groups: int, colour: bool) -> None:
    lines = frame(report(groups), Screen(width, height, colour))
    assert len(lines) <= height
    assert max(cell_len(re.sub(r"\x1b\[\d+m", "", line)) for line in lines) <= width


def test_what_is_wrong_is_shown_at_80_by_24() -> None:
    alerts = tuple(LiveAlert(f"rule {n}", "critical", "firing", NOW_US - 120_000_000) for n in range(5))
    text = "\n".join(frame(report(200, alerts=alerts, incidents=(incident(),)), Screen(80, 24, False)))
    assert "critical rule 0 (firing for 2 min)" in text
    assert "high over 30 s ago: latency doubled" in text
    assert "more" in text
    assert "2 unreadable" in text
    assert "q quit" in re.sub(r"\x1b\[\d+m", "", text)


def incident(description: str = "latency doubled") -> IncidentReport:
    at = NOW_US - 30_000_000
    return IncidentReport(
        id="i", severity="high", status="over", lead="i", metric_name="latency_ms", group={}, timestamp_us=at,
        start_us=at, end_us=at, headline=description, figures="", size="1 call", usual=None, during=1.0, calls=1,
        hits=None,
    )  # fmt: skip


def test_text_from_logs_is_harmless() -> None:
    known = report().totals
    hostile = report(
        logs=HOSTILE,
        errors=(Share(HOSTILE, 1, 1.0),),
        alerts=(LiveAlert(HOSTILE, "error", "firing", NOW_US),),
        incidents=(incident(HOSTILE),),
    )
    hostile = msgspec.structs.replace(hostile, groups=(GroupRow({"model": HOSTILE}, known),))
    for line in frame(hostile, Screen(160, 45)):
        assert "\u202e" not in line
        assert "\n" not in line
        assert re.sub(r"\x1b\[\d+m", "", line).count("\x1b") == 0
        assert "\x1b[2J" not in line


def test_nothing_is_shown_as_a_dash_never_as_nought() -> None:
    empty = report(0, totals=statistics(), errors=(), course=({},), last_us=None, source=SourceReport())
    text = "\n".join(frame(empty, Screen(80, 24, False)))
    assert "no calls yet" in text
    assert "p50 -" in re.sub(r"\x1b\[\d+m", "", text)
    assert "no calls in this window" in text
    assert "cost=- " in line_of(empty)


def test_a_line_and_an_object_hold_the_same_figures() -> None:
    line, row = line_of(report()), row_of(report())
    assert "requests=1,234" in line
    assert "cost=~$1.23" in line
    assert "last=2s" in line
    assert row["totals"]["request_count"] == 1234
    assert row["cost_per_hour_usd"] == pytest.approx(4.92)


def test_the_help_names_every_key() -> None:
    text = "\n".join(frame(report(), Screen(80, 24, False, help=True)))
    assert all(word in text for word in ("group by", "window", "sort", "pause", "quit"))
