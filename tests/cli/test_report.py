"""`llmmon report`: the page that is written, and what it says."""

from __future__ import annotations

import json
import random
import re
import shlex
from collections.abc import Callable
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import CommandServer, Ran, Run, clean_environment

SAMPLES = str(Path(__file__).parents[2] / "sample_logs")
HOUR = 3600


def text_of(page: Path) -> str:
    """The page's words, one space between elements."""
    body = re.sub(r"(?s)<(script|style)>.*?</\1>", "", page.read_text())
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", " ", body)))


def call(seconds: int, **more: Any) -> dict[str, Any]:
    day, rest = divmod(seconds, 24 * HOUR)
    stamp = f"2026-01-{day + 1:02d}T{rest // HOUR:02d}:{rest % HOUR // 60:02d}:{rest % 60:02d}Z"
    return {"timestamp": stamp, "model": "gpt-4o", "status": "ok", "latency_ms": 500, "cost_usd": 0.01, **more}


def week(days: int = 4, an_hour: int = 4) -> list[dict[str, Any]]:
    return [call(n * HOUR // an_hour, user=f"u{n % 3}", prompt_tokens=n) for n in range(days * 24 * an_hour)]


@pytest.fixture
def reported(run: Run, tmp_path: Path) -> Callable[..., tuple[Ran, str]]:
    def made(*args: str) -> tuple[Ran, str]:
        ran = run("report", *args, "-o", "r.html")
        return ran, text_of(tmp_path / "r.html") if ran.code == 0 else ""

    return made


@pytest.fixture(scope="module")
def sample(commands: CommandServer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of the sample logs."""
    folder = tmp_path_factory.mktemp("sample")
    talk = {name: str(folder / name) for name in ("stdout", "stderr")}
    args = ["report", SAMPLES, "-o", "r.html"]
    code = commands.run(args=args, cwd=str(folder), env=clean_environment(folder), stdin="/dev/null", **talk)
    assert code == 0, (folder / "stderr").read_text()
    assert (folder / "stdout").read_text() == ""
    return folder / "r.html"


def test_the_sample_logs_have_every_section(sample: Path) -> None:
    page = sample.read_text()
    assert len(page) < 1_000_000
    sections = re.findall(r'<section id="([^"]+)"', page)
    assert sections == [
        *("figures", "incidents", "over-time", "groups", "cost", "latency", "errors", "requests", "quality", "source")
    ]
    charts = re.findall(r'<figure class="chart [a-z]+ view-all" id="chart-([^"]+)"', page)
    assert charts == [*("requests", "errors", "latency", "ttft", "speed", "tokens", "cost", "quality", "truncated")]
    assert f"llmmon report {SAMPLES} -o r.html" in text_of(sample)


def test_the_heading_is_the_verdict(sample: Path, run: Run, write: Callable[..., Path], tmp_path: Path) -> None:
    heading = re.compile("<h1>([^<]*)</h1>")
    assert heading.findall(sample.read_text()) == [
        "5 incidents, 4 critical. The last ended 10 Mar 15:20; none is open."
    ]
    write("a.jsonl", week())
    for options, verdict in (((), "No incidents."), (("--since", "2030-01-01"), "No calls in this time range.")):
        run("report", "a.jsonl", *options, "-o", "r.html")
        (found,) = heading.findall((tmp_path / "r.html").read_text())
        assert found.startswith(verdict), found


def test_before_and_after_a_time_are_compared(run: Run, tmp_path: Path) -> None:
    assert run("report", SAMPLES, "--at", "2026-03-06", "-o", "r.html").code == 0
    page = text_of(tmp_path / "r.html")
    assert "Before and after 2026-03-06 00:00 UTC" in page
    assert "latency_p95_ms" in page


def test_the_same_command_gives_the_same_bytes(run: Run, write: Callable[..., Path], tmp_path: Path) -> None:
    write("a.jsonl", week())
    pages = []
    for _ in range(2):
        assert run("report", "a.jsonl", "-o", "r.html").code == 0
        pages.append((tmp_path / "r.html").read_bytes())
    assert pages[0] == pages[1]


def test_the_order_of_lines_does_not_matter_to_the_figures(
    run: Run, write: Callable[..., Path], tmp_path: Path
) -> None:
    rows = [
        {**row, "request_id": str(n), "latency_ms": 100 + n, "cost_usd": 0.01 + n / 1e4} for n, row in enumerate(week())
    ]
    pages = []
    for order in (rows, random.Random(1).sample(rows, len(rows))):  # noqa: S311 - an order, not a secret
        write("a.jsonl", order)
        assert run("report", "a.jsonl", "-o", "r.html").code == 0
        pages.append(re.sub(r"a\.jsonl:\d+", "a.jsonl", (tmp_path / "r.html").read_text()))
    assert pages[0] == pages[1]


def test_figures_are_those_of_summarize(run: Run, sample: Path) -> None:
    page = text_of(sample)
    totals = run("summarize", SAMPLES, "-f", "json").json["data"]["totals"]
    assert f"Requests {totals['request_count']:,} " in page
    assert f"Cost ${totals['cost_total_usd']:.2f} " in page
    assert f"Latency p95 {totals['latency_p95_ms'] / 1000:.2f} s" in page
    assert f"Tokens in / out {totals['prompt_tokens'] / 1e6:.2f} M " in page


def test_incidents_are_those_of_anomalies(run: Run, sample: Path) -> None:
    found = run("anomalies", SAMPLES, "-f", "json").json["data"]["incidents"]
    page = sample.read_text()
    assert re.findall(r"<h3>\d+\. ([^<]+)</h3>", page) == [one["description"].split(", ")[0] for one in found]
    assert [f"--explain {one['id'][:7]}" in page for one in found] == [True] * len(found)
    shaded = {n for numbers in re.findall(r'class="band[a-z ]*" data-n="([^"]+)"', page) for n in numbers.split(" ")}
    assert {str(n) for n in range(1, len(found) + 1)} == shaded


def test_more_incidents_than_cards_are_in_a_table(run: Run, tmp_path: Path) -> None:
    assert run("simulate", "logs", "--days", "14", "--per-day", "3000", "--seed", "5").code == 0
    assert run("report", "logs", "-o", "r.html").code == 0
    found = run("anomalies", "logs", "-f", "json").json["data"]["incidents"]
    page = (tmp_path / "r.html").read_text()
    assert len(found) > 8
    (table,) = re.findall(r"(?s)<caption>Incidents \(UTC\)</caption>.*?</table>", page)
    assert table.count("<tr>") == len(found) + 1


def test_failing_calls_are_listed_with_what_was_said_of_them(
    write: Callable[..., Path], reported: Callable[..., tuple[Ran, str]]
) -> None:
    rows = week()
    error = {"success": False, "status_code": 429, "error_type": "rate_limit"}
    rows[100] |= {**error, "error_message": "Rate limit reached: 30,000 of 30,000"}
    write("a.jsonl", rows)
    _, page = reported("a.jsonl")
    assert "429 rate_limit Rate limit reached: 30,000 of 30,000" in page
    assert re.search(r"a\.jsonl:\d+", page)


def test_the_command_to_go_on_reads_the_same_calls(write: Callable[..., Path], run: Run, tmp_path: Path) -> None:
    (tmp_path / "r.html").touch()
    more = ("--where", "model=gpt-4o", "--by", "user", "--force", "-o", "r.html")
    assert run("report", SAMPLES, *more).code == 0
    commands = re.findall(r"<code>(llmmon anomalies [^<]+)</code>", (tmp_path / "r.html").read_text())
    assert commands
    assert "--force" not in commands[0]
    for command in commands:
        words = shlex.split(unescape(command))
        assert run(*words[1:]).code == 0, command


def test_a_window_is_compared_with_the_time_before_it(
    write: Callable[..., Path], reported: Callable[..., tuple[Ran, str]]
) -> None:
    days = [call(n * 600) for n in range(144)] + [call(86400 + n * 300) for n in range(288)]
    write("a.jsonl", days)
    ran, page = reported("a.jsonl", "--since", "2026-01-02", "--until", "2026-01-03")
    assert ran.code == 0
    assert "Requests 288 0.20/min ▲ 100 % 144 → 288" in page
    assert "Changes are relative to the day before." in page
    _, first = reported("a.jsonl", "--until", "2026-01-02", "--since", "2026-01-01")
    assert "no earlier period" in first


def test_all_of_a_log_is_compared_by_its_last_day(
    write: Callable[..., Path], reported: Callable[..., tuple[Ran, str]]
) -> None:
    rows = week()
    write("a.jsonl", [*rows[:288], *rows[288::2]])
    _, page = reported("a.jsonl")
    assert "compare the last day with the day before" in page
    assert re.search(r"▼ \d\d % 9\d → [45]\d", page)


def test_buckets_can_be_chosen(write: Callable[..., Path], reported: Callable[..., tuple[Ran, str]]) -> None:
    write("a.jsonl", week())
    assert "per 1d" in reported("a.jsonl", "--every", "1d")[1]
    ran, _ = reported("a.jsonl", "--every", "1s")
    assert ran.code == 2
    assert "more than a page can show" in ran.stderr


def test_days_begin_at_midnight_of_the_zone(
    write: Callable[..., Path], reported: Callable[..., tuple[Ran, str]]
) -> None:
    write("a.jsonl", week())
    _, page = reported("a.jsonl", "--every", "1d", "--tz", "Asia/Kolkata")
    assert "from (Asia/Kolkata) requests 2026-01-01 00:00 74 2026-01-02 00:00 96" in page


def test_groups_are_as_asked_for(write: Callable[..., Path], reported: Callable[..., tuple[Ran, str]]) -> None:
    write("a.jsonl", [{**row, "team": "blue"} for row in week(1)])
    _, page = reported("a.jsonl", "--by", "tag.team")
    assert "By tag.team" in page
    assert "By model" not in page
    assert reported("a.jsonl", "--by", "modle")[0].code == 2


@pytest.mark.parametrize(
    "rows",
    [
        [{"model": "m"}],
        [{"timestamp": "2026-01-01T00:00:00Z", "model": "m", "latency_ms": 812}],
        [{"timestamp": "2026-01-01T00:00:00Z", "model": "m", "latency_ms": 0, "cost_usd": 0}],
        [{"latency_ms": 1}, {"output": ""}],
    ],
)
def test_very_little_is_a_page_too(
    write: Callable[..., Path], reported: Callable[..., tuple[Ran, str]], rows: list[dict[str, Any]]
) -> None:
    write("a.jsonl", rows)
    ran, page = reported("a.jsonl")
    assert ran.code == 0, ran.stderr
    assert "Nothing could be judged" in page


def test_an_empty_log_is_as_everywhere_no_input(write: Callable[..., Path], reported: Callable[..., Any]) -> None:
    write("a.jsonl", [])
    assert reported("a.jsonl")[0].code == 3


def test_a_time_without_calls_is_a_page(write: Callable[..., Path], reported: Callable[..., tuple[Ran, str]]) -> None:
    write("a.jsonl", week(1))
    ran, page = reported("a.jsonl", "--since", "2027-01-01")
    assert ran.code == 0, ran.stderr
    assert "0 requests" in page


def test_hostile_names_are_shown_and_do_nothing(write: Callable[..., Path], run: Run, tmp_path: Path) -> None:
    evil = "</script><script>alert(1)</script>"
    fields = ("model", "user", "feature", "error_type", "error_message", "finish_reason", "request_id")
    write("a.jsonl", [{**call(n), "status": "error", **dict.fromkeys(fields, evil)} for n in range(20)])
    assert run("report", "a.jsonl", "-o", "r.html").code == 0
    page = (tmp_path / "r.html").read_text()
    assert page.count("<script") == 1
    assert "&lt;/script&gt;&lt;script&gt;alert(1)" in page


def test_no_text_of_a_call_is_on_the_page(write: Callable[..., Path], run: Run, tmp_path: Path) -> None:
    write("a.jsonl", [{**call(n), "prompt": "secret question", "output": "secret answer"} for n in range(20)])
    for more in ([], ["--score"]):
        assert run("report", "a.jsonl", "-o", "r.html", *more).code == 0
        assert "secret" not in (tmp_path / "r.html").read_text()


def test_scoring_adds_flags(write: Callable[..., Path], reported: Callable[..., tuple[Ran, str]]) -> None:
    answers = ["I'm sorry, but I can't help with that.", "Paris is the capital of France."]
    write("a.jsonl", [{**call(n), "prompt": "What is the capital?", "output": answers[n % 2]} for n in range(20)])
    _, page = reported("a.jsonl", "--score")
    assert "20 answers scored from their texts" in page
    assert "refusal 10 50.0 %" in page


def test_alerts_that_are_remembered_are_listed(
    run: Run, write: Callable[..., Path], tmp_path: Path, reported: Callable[..., tuple[Ran, str]]
) -> None:
    write("a.jsonl", [call(n * 60, latency_ms=9000 if 20 < n < 40 else 100) for n in range(120)])
    rule = {
        "name": "slow",
        "metric": "latency_p95_ms",
        "condition": "gt",
        "threshold": 5000,
        "window": "5m",
        "min_count": 1,
    }
    lines = "\n".join(f"{key} = {json.dumps(value)}" for key, value in rule.items())
    (tmp_path / "llmmon.toml").write_text(f'state = "state.db"\n[[rules]]\n{lines}\n')
    assert "slow" not in reported("a.jsonl")[1]
    run("check", "a.jsonl", "--now", "2026-01-01T01:30:00")
    ran, page = reported("a.jsonl")
    assert ran.code == 0, ran.stderr
    assert re.search(r"Alerts \(UTC\).*2026-01-01 00:2\d 2026-01-01 00:4\d resolved slow", page)
    assert reported("a.jsonl", "--state", "gone.db")[0].code == 2


def test_a_pipe_is_read(run: Run, tmp_path: Path) -> None:
    lines = "".join(json.dumps(row) + "\n" for row in week(1))
    assert run("report", "-", "-o", "r.html", stdin=lines).code == 0
    assert "96 requests · -" in text_of(tmp_path / "r.html")


def test_the_page_goes_to_stdout_where_no_file_is_named(run: Run, write: Callable[..., Path]) -> None:
    write("a.jsonl", week(1))
    assert run("report", "a.jsonl").stdout.startswith("<!DOCTYPE html>")


def test_another_format_is_refused(run: Run, write: Callable[..., Path]) -> None:
    write("a.jsonl", week(1))
    ran = run("report", "a.jsonl", "-f", "json")
    assert ran.code == 2
    assert "a report is HTML" in ran.stderr
