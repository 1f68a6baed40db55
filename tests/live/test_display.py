"""The live display: fits every size, says what it does not know, and text from logs is harmless in it."""

from __future__ import annotations

import re
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from llmmon.anomaly.report import IncidentReport
from llmmon.ingest.report import SourceReport
from llmmon.live.display import Screen, frame
from llmmon.live.graphs import ceiling, graph, shares
from llmmon.live.line import line_of, row_of
from llmmon.live.watcher import COURSE, TOTALS, FailedCall, Limit, LiveAlert, LiveReport
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
    assert max(cell_len(re.sub(r"\x1b\[[\d;]+m", "", line)) for line in lines) <= width


def test_what_is_wrong_is_shown_at_80_by_24() -> None:
    alerts = tuple(LiveAlert(f"rule {n}", "critical", "firing", NOW_US - 120_000_000) for n in range(5))
    text = "\n".join(frame(report(200, alerts=alerts, incidents=(incident(),)), Screen(80, 24, False)))
    assert "critical rule 0 (firing for 2 min)" in text
    assert "more" in text
    assert "2 unreadable" in text
    assert "q quit" in re.sub(r"\x1b\[[\d;]+m", "", text)


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
        assert re.sub(r"\x1b\[[\d;]+m", "", line).count("\x1b") == 0
        assert "\x1b[2J" not in line


def test_nothing_is_shown_as_a_dash_never_as_nought() -> None:
    empty = report(0, totals=statistics(), errors=(), course=({},), last_us=None, source=SourceReport())
    text = "\n".join(frame(empty, Screen(80, 24, False)))
    assert "no calls yet" in text
    assert "p50 -" in re.sub(r"\x1b\[[\d;]+m", "", text)
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


def plain_frame(one: LiveReport, screen: Screen) -> list[str]:
    return [re.sub(r"\x1b\[[\d;]+m", "", line) for line in frame(one, screen)]


def failed(n: int, **names: str | None) -> FailedCall:
    known: dict[str, str | None] = {"model": "gpt-4o", "error_type": "rate_limit", **names}
    return FailedCall(NOW_US - n * 60_000_000, known, 429, f"limit {n} reached", f"app.jsonl:{n}")


@pytest.mark.parametrize(("width", "height"), [(80, 24), (120, 40), (200, 60), (100, 30), (61, 20)])
@pytest.mark.parametrize("failing", [0, 3, 100])
def test_the_screen_is_filled(width: int, height: int, failing: int) -> None:
    one = report(5, failing=tuple(failed(n) for n in range(failing)))
    lines = plain_frame(one, Screen(width, height))
    assert len(lines) == height
    assert sum(not line.strip() for line in lines) <= 2
    graphs = [line for line in lines if re.search("[\u2801-\u28ff]", line)]
    assert len(graphs) >= (4 if height >= 24 else 2)
    (head,) = (line for line in lines if line.startswith(" by model"))
    assert head.count("requests") == (2 if width >= 80 else 1)
    assert ("failing calls" in "\n".join(lines)) == bool(failing)


def test_graphs_have_a_scale_and_a_clock() -> None:
    text = "\n".join(plain_frame(report(), Screen(120, 40)))
    assert "requests/min 88.0" in text
    assert re.search(r"100 \S*[\u2800-\u28ff]", text)
    assert re.search(r"\d\d:\d\d +\d\d:\d\d +\d\d:\d\d", text)


def test_a_failing_call_says_what_when_and_where_in_full() -> None:
    line = next(x for x in plain_frame(report(failing=(failed(7),)), Screen(120, 40)) if "limit 7" in x)
    assert re.search(r"\d\d:\d\d:\d\d +gpt-4o +429 rate_limit +limit 7 reached +app\.jsonl:7$", line.rstrip())


def test_a_figure_has_a_colour_only_where_it_is_out_of_the_ordinary() -> None:
    quiet = "\n".join(frame(report(failing=(failed(1),)), Screen(120, 40)))
    assert "\x1b[31m" not in quiet
    assert "\x1b[33m" in quiet  # unreadable lines
    limits = (Limit("error_rate", "gt", 0.005, ("model",)), Limit("latency_p95_ms", "gt", 3000, (), grave=False))
    out = "\n".join(frame(report(limits=limits), Screen(120, 40)))
    assert out.count("\x1b[31m  1.0 %") + out.count("\x1b[31m   1.0 %") >= 3
    assert "\x1b[33m3.20 s\x1b[0m" in out


def test_an_open_incident_is_in_a_bar_and_colours_its_own_figures() -> None:
    group = {"model": "a-model-with-a-long-name-1"}
    going = msgspec.structs.replace(incident("answers took long"), end_us=None, group=group)
    lines = frame(report(incidents=(going,)), Screen(120, 40))
    assert "\x1b[1;7;31m HIGH  open for 30 s: answers took long, 1 call \x1b[0m" in lines[1]
    coloured = [line for line in lines if "\x1b[31m" in line]
    assert len(coloured) == 1
    assert "a-model-with-a-long-name-1" in coloured[0]
    assert "none before" in "\n".join(lines)
    many = frame(report(incidents=(going,) * 9), Screen(80, 24))
    assert "and 7 more" in "\n".join(many)


def test_without_colour_what_is_wrong_is_bold_or_reversed() -> None:
    limits = (Limit("error_rate", "gt", 0.005),)
    text = "\n".join(frame(report(limits=limits), Screen(120, 40, colour=False)))
    assert not re.findall(r"\x1b\[[\d;]*3[1-7]m", text)
    assert "\x1b[1m12 (1.0 %)" in text


def test_a_filter_leaves_groups_and_failing_calls_that_hold_it() -> None:
    one = report(12, failing=(failed(1, model="a"), failed(2, model="NAME-11")))
    lines = plain_frame(one, Screen(120, 40, filter="name-11", typing=True))
    assert [line.split()[0] for line in lines if "a-model" in line] == ["a-model-with-a-long-name-11"]
    assert "app.jsonl:2" in "\n".join(lines)
    assert "app.jsonl:1 " not in "\n".join(lines)
    assert "filter: name-11▏" in lines[-1]
    assert "no group holds 'zzz'" in "\n".join(plain_frame(one, Screen(120, 40, filter="zzz")))


@pytest.mark.parametrize("selected", [0, 5, 90, 199])
def test_the_selected_group_is_on_the_screen(selected: int) -> None:
    lines = plain_frame(report(200), Screen(100, 24, selected=selected))
    assert any(line.startswith(f">a-model-with-a-long-name-{selected} ") for line in lines)


def test_an_opened_group_shows_its_own_failures_and_how_to_go_back() -> None:
    one = report(opened={"model": "b"}, failing=(failed(1, model="b"), failed(2)))
    lines = plain_frame(one, Screen(100, 30))
    assert "model b" in lines[0]
    assert "Esc back" in lines[-1]
    assert "app.jsonl:1" in "\n".join(lines)
    assert "app.jsonl:2" not in "\n".join(lines)


def test_failing_calls_take_the_whole_screen() -> None:
    lines = plain_frame(report(failing=tuple(failed(n) for n in range(50))), Screen(100, 40, errors=True))
    assert sum("rate_limit" in line for line in lines) >= 28
    none = "\n".join(plain_frame(report(), Screen(100, 40, errors=True)))
    assert "no failing calls in this window" in none


@given(st.lists(st.one_of(st.none(), st.floats(0, 1e9)), max_size=300), st.integers(1, 90), st.integers(1, 20))
def test_a_graph_has_its_size_and_stays_in_its_scale(values: list[float | None], width: int, rows: int) -> None:
    high = ceiling(values)
    lines = graph(values, width, rows, high)
    assert [len(line) for line in lines] == [width] * rows
    known = [value for value in values if value]
    assert not known or max(known) <= high * 1.000001
    assert not known or high <= 2.5 * max(known)
    assert any(set(line) - {"\u2800"} for line in lines) == any(value > 0 for value in known)


@given(st.integers(1, 300), st.integers(0, 100), st.integers(0, 200), st.integers(0, 100))
def test_no_part_of_a_screen_is_larger_than_the_whole(width: int, room: int, groups: int, failures: int) -> None:
    parts = shares(width, room, groups, failures)
    graphs_high = 4 // parts.graphs_across * (parts.graph_rows + 1) + 1 if parts.graph_rows else 0
    assert min(parts.graph_rows, parts.table, parts.feed) >= 0
    assert graphs_high + parts.table + parts.feed <= max(room, groups + 1 if not parts.graph_rows else room)
