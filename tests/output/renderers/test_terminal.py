"""Tables on a terminal: what is shown at which width, what is cut and how, and what colours mean."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.cells import cell_len

from llmmon.ingest.report import SourceReport
from llmmon.output.renderers import Page
from llmmon.output.renderers.terminal import common_folder, render
from llmmon.output.views import Column, Kind, Table, View
from llmmon.text.figures import count
from tests.conftest import CommandServer, Run, clean_environment

SAMPLES = str(Path(__file__).parents[3] / "sample_logs")
LONG = "bedrock:arn:aws:bedrock:eu-central-1:123456789012:inference-profile/claude-{}-v1:0"


def table(*rows: tuple[str, ...], total: tuple[str, ...] = ()) -> Table:
    columns = (
        Column("model", right=False), Column("calls"), Column("share", rank=1), Column("where", right=False),
    )  # fmt: skip
    return Table("by model", columns, rows, total=total)


def shown(one: Table, width: int, *, colour: bool = False) -> list[str]:
    view = View(data={}, rows=(), tables=(one,))
    return render(Page("x", view, SourceReport(), width, colour)).text.rstrip("\n").split("\n")


TWO = (
    (LONG.format("sonnet-4-5"), count(1234), "12.0 %", "/home/me/app/sample_logs/2026-03-02.jsonl:451"),
    (LONG.format("haiku-4-5"), count(7), "1.0 %", "/home/me/app/sample_logs/2026-03-03.jsonl:12"),
)


def test_names_have_all_the_width_there_is() -> None:
    assert TWO[0][0] in "\n".join(shown(table(*TWO), 200))


@pytest.mark.parametrize("width", [60, 80])
def test_names_are_cut_in_the_middle_and_numbers_and_places_never(width: int) -> None:
    title, _, *lines = shown(table(*TWO), width)
    assert title == "by model, in /home/me/app/sample_logs/"
    for line, row in zip(lines, TWO, strict=True):
        assert cell_len(line) <= width
        assert line.endswith(row[3].removeprefix("/home/me/app/sample_logs/"))
        assert f" {row[1]} " in line
        assert line.startswith("bedrock")
        assert "…" in line
        assert "-v1:0" in line


def test_a_column_goes_before_a_name_is_hard_to_read() -> None:
    assert "share" not in shown(table(*TWO), 60)[1]
    assert "share" in shown(table(*TWO), 100)[1]


@pytest.mark.parametrize("width", [1, 5, 20])
def test_a_table_without_room_is_whole_all_the_same(width: int) -> None:
    text = " ".join(shown(table(*TWO), width))
    assert "1,234" in text
    assert "2026-03-02.jsonl:451" in text


def test_a_total_is_the_last_row_and_stands_out() -> None:
    lines = shown(table(*TWO, total=("all", count(1241), "13.0 %", "")), 200, colour=True)
    assert "all" in lines[-1]
    assert lines[-1].startswith("\x1b[1m")


def test_words_of_the_theme_are_coloured_and_names_are_not() -> None:
    columns = (Column("model", right=False), Column("severity", right=False))
    one = Table("t", columns, (("critical", "critical"), ("b", "low")))
    line = shown(one, 80, colour=True)[2]
    assert line.startswith("critical  ")
    assert "\x1b[1;31mcritical" in line
    assert "\x1b" not in "".join(shown(one, 80))


def test_a_text_is_cut_at_its_end() -> None:
    one = Table("t", (Column("message", right=False), Column("n")), (("Rate limit reached " * 9, "1"),))
    assert re.search(r"Rate limit reached Rate.*…  1$", shown(one, 60)[2])
    assert Column("message", right=False).holds is Kind.TEXT


def test_folders_in_common() -> None:
    assert common_folder(["a/b/c:1", "a/b/d:2"]) == "a/b/"
    assert common_folder(["a/b/c:1", "x"]) == ""
    assert common_folder(["a/b/c:1"]) == ""


# --- every command, at every width: what must be there

# command -> the columns of its first table that stay at 60, 80, 100 and 160 columns; each holds at all wider ones, too
PRIORITIES: dict[str, tuple[tuple[str, ...], ...]] = {
    "summarize": (("model", "requests", "errors", "p95", "cost"), ("p50",), ("tokens in",), ("p99", "of cost")),
    "summarize --sort ttft_p95_ms": (("model", "requests", "ttft_p95_ms", "cost"), (), (), ()),
    "summarize --by user": (("user", "requests", "errors", "p95", "cost"), ("p50",), ("tokens in",), ("of cost",)),
    "requests": (("time", "model", "where"), ("latency",), ("status", "cost"), ("ttft", "id")),
    "requests --where error": (("time", "model", "error", "where"), ("code",), ("latency",), ("user", "id")),
    "requests --sort cost_usd": (("time", "model", "cost", "where"), ("latency",), (), ()),
    "requests --where feature=chat": (("time", "model", "feature", "where"), (), ("latency",), ()),
    "cost": (("model", "calls", "cost"), ("certain",), ("logged",), ("difference",)),
    "compare --at 2026-03-06": (("metric", "before", "after", "change", "verdict"), (), (), ("95 % interval",)),
    "anomalies --flat": (("when", "severity", "metric", "group"), (), (), ("usual", "during")),
    "tools": (),
    "sessions": (),
    "cache": (),
    "limits": (),
    "inspect": (("file", "dialect", "lines"), (), (), ()),
    "score": (),
    "anomalies": (),
    "rules suggest": (),
    "rules backtest": (),
    "check --now log": (),
}
WIDTHS = (60, 80, 100, 160)


@pytest.fixture(scope="module")
def at_width(commands: CommandServer, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, int], list[str]]:
    folder = tmp_path_factory.mktemp("widths")

    def run(command: str, width: int) -> list[str]:
        words = command.split(" ")
        at = 2 if words[0] == "rules" else 1
        args = [*words[:at], SAMPLES, *words[at:]]
        talk = {name: str(folder / name) for name in ("stdout", "stderr")}
        environment = clean_environment(folder) | {"COLUMNS": str(width)}
        commands.run(args=args, cwd=str(folder), env=environment, stdin="/dev/null", **talk)
        assert "internal error" not in (folder / "stderr").read_text()
        return (folder / "stdout").read_text().split("\n")

    return run


@pytest.mark.parametrize("command", PRIORITIES)
def test_the_columns_that_matter_are_there_at_every_width(
    command: str, at_width: Callable[[str, int], list[str]]
) -> None:
    wanted: tuple[str, ...] = ()
    for width, more in zip(WIDTHS, PRIORITIES[command] or ((),) * 4, strict=True):
        wanted += more
        lines = at_width(command, width)
        rows = [line for line in lines if line.count("   ") > 1 and not line.startswith(" ")]
        assert width < 80 or max(map(cell_len, rows), default=0) <= width
        if wanted:
            heads = next(line for line in lines if re.match(f"{wanted[0]}  ", line))
            shown = re.split(r"  +", heads.strip())
            assert [title for title in wanted if title not in shown] == [], (width, heads)


@pytest.mark.parametrize("columns", ["0", "", "-1", "abc", "²", "1", "999999999999", "1e3", " 80 "])
def test_odd_widths_of_the_terminal_are_survived(run: Run, columns: str) -> None:
    ran = run("requests", SAMPLES, "--limit", "2", env={"COLUMNS": columns})
    assert ran.code == 0
    assert "2026-03-10.jsonl:689" in ran.stdout
