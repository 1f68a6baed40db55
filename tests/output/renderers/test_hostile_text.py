"""Text from logs is hostile: no renderer lets it steer a terminal, a browser, a spreadsheet or a table."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmmon.ingest.report import SourceReport
from llmmon.metrics.filters import Check
from llmmon.output.renderers import RENDERERS, Page, renderer
from llmmon.output.views import Column, Table, View
from llmmon.text.figures import plain
from tests.conftest import Run

HOSTILE = {
    "escape": "\x1b[31mred\x1b[0m",
    "title": "\x1b]0;owned\x07",
    "c1": "\x9b31mred",
    "markup": "[red]x[/red] [link=file:///etc/passwd]y[/link]",
    "script": "</script><script>alert(1)</script>",
    "formula": "=cmd|'/C calc'!A0",
    "plus": "+1+1",
    "at": "@SUM(A1)",
    "pipes": "a|b|c\n| d | e |",
    "bidi": "abc\u202edef\u2066",
    "invisible": "a\u200bb\ufeffc",
    "newline": "a\nb\r\nc",
    "nul": "a\x00b",
    "emoji": ":boom: 💥 é",
    "long": "x" * 5000,
    "surrogate": "a\ud800b",
    "quote": "a\"b'c,d;e",
}
CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def page_of(text: str, command: str = "test") -> Page:
    table = Table("by " + text, (Column(text, right=False), Column("n")), ((text, "1"),), note=text)
    view = View(
        data={"name": text}, rows=({"name": text, "n": 1},), title=text, headline=(("name", text),), tables=(table,),
        notes=(text,),
    )  # fmt: skip
    return Page(command, view, SourceReport(files=(text,)), width=80, checks=(Check(text, failed=True, message=text),))


@pytest.mark.parametrize("form", sorted(RENDERERS))
@pytest.mark.parametrize("name", sorted(HOSTILE))
def test_no_control_character_leaves_a_renderer(form: str, name: str) -> None:
    found = renderer(form)(page_of(HOSTILE[name])).text
    assert CONTROLS.findall(found) == []
    found.encode()


@pytest.mark.parametrize("form", ["table", "markdown"])
@pytest.mark.parametrize("name", ["bidi", "invisible"])
def test_letters_are_not_reordered_for_people(form: str, name: str) -> None:
    assert (
        re.findall("[\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]", renderer(form)(page_of(HOSTILE[name])).text) == []
    )


@given(st.text(), st.sampled_from(sorted(RENDERERS)))
def test_any_text_is_survived(text: str, form: str) -> None:
    found = renderer(form)(page_of(text)).text
    assert CONTROLS.findall(found) == []


@given(st.text())
def test_plain_text_is_one_line(text: str) -> None:
    assert len(plain(text).splitlines()) <= 1


def test_markup_is_shown_as_it_is() -> None:
    assert HOSTILE["markup"][:20] in renderer("table")(page_of(HOSTILE["markup"])).text


@pytest.mark.parametrize("name", ["formula", "plus", "at"])
def test_a_spreadsheet_does_not_run_a_cell(name: str) -> None:
    found = renderer("csv")(page_of(HOSTILE[name])).text
    (row,) = csv.DictReader(io.StringIO(found))
    assert "'" + HOSTILE[name] == row["name"]


@pytest.mark.parametrize(
    "text", ["x;=HYPERLINK(A1)", "x; =A1", "x|@A1", "x\t+A1", "x\n-A1", " =A1", "\ufeff=A1", "\uff1dA1"]
)
def test_no_separator_of_a_spreadsheet_makes_a_formula(text: str) -> None:
    found = renderer("csv")(page_of(text)).text
    (row,) = csv.DictReader(io.StringIO(found))
    assert not re.search("(?:^|[;|\t\n])[ \ufeff]*[=+@\uff1d-]", row["name"])
    assert text == row["name"].replace("'", "")


def test_numbers_in_csv_stay_numbers() -> None:
    view = View(data={}, rows=({"n": -1.5, "m": None, "ok": True},))
    assert renderer("csv")(Page("test", view, SourceReport())).text == "n,m,ok\n-1.5,,true\n"


@pytest.mark.parametrize("name", sorted(HOSTILE))
def test_a_row_of_markdown_has_as_many_cells_as_its_head(name: str) -> None:
    text = renderer("markdown")(page_of(HOSTILE[name])).text
    head, rule, *rows = [line for line in text.splitlines() if line.startswith("|")]
    cells = [len(re.findall(r"(?<!\\)\|", line)) for line in (head, rule, *rows)]
    assert [3] * len(cells) == cells


def test_markdown_carries_no_html() -> None:
    assert "<script" not in renderer("markdown")(page_of(HOSTILE["script"])).text.replace("\\<", "")


@pytest.mark.parametrize("name", sorted(HOSTILE))
def test_json_holds_the_text_as_it_was(name: str) -> None:
    found = json.loads(renderer("json")(page_of(HOSTILE[name])).text)
    assert HOSTILE[name].encode("utf-8", "replace").decode() == found["data"]["name"]


def test_json_has_no_nan() -> None:
    view = View(data={"a": float("nan"), "b": float("inf")}, rows=())
    assert json.loads(renderer("json")(Page("t", view, SourceReport())).text)["data"] == {"a": None, "b": None}


@pytest.mark.parametrize("form", sorted(RENDERERS))
def test_nothing_at_all_is_survived(form: str) -> None:
    renderer(form)(Page("test", View(data={}, rows=()), SourceReport(), checks=(Check("x", failed=False),)))


@pytest.mark.parametrize("width", [20, 40, 80, 160, 400])
def test_a_table_of_log_names_keeps_to_its_width(width: int) -> None:
    columns = tuple(Column(f"column {n}", rank=n) for n in range(12))
    table = Table("t", (Column("name", right=False), *columns), (("y" * 300, *["1,000"] * 12),))
    page = Page("t", View(data={}, rows=(), tables=(table,)), SourceReport(), width=width)
    found = renderer("table")(page)
    assert max(map(len, found.text.splitlines())) <= max(width, 60)
    assert (found.hidden == "") == (width >= 160)  # names are cut before columns are hidden


RUNS = [(command, form) for command in ("summarize", "requests", "inspect") for form in sorted(RENDERERS)]


@pytest.mark.parametrize(
    ("command", "form"), [(c, f) for c, f in RUNS if c == "summarize" or f not in ("junit", "sarif")]
)
def test_every_command_survives_a_hostile_log(run: Run, write: Callable[..., Path], command: str, form: str) -> None:
    texts = [text for name, text in HOSTILE.items() if name not in {"long", "surrogate"}]
    write("a.jsonl", [{"model": text, "user": text, "error_type": text, "error_message": text} for text in texts])
    checked = ("--fail-on", "error_rate>2") if form in ("junit", "sarif") else ()
    found = run(command, "a.jsonl", "-f", form, *checked)
    assert found.code == 0, found.stderr
    assert CONTROLS.findall(found.stdout) == []
    assert CONTROLS.findall(found.stderr) == []


@pytest.mark.parametrize("command", ["summarize", "requests", "inspect"])
def test_the_name_of_a_file_is_hostile_too(run: Run, write: Callable[..., Path], command: str) -> None:
    name = "a\x1b[31m\u202eb.jsonl"
    write(name, [{"model": "m"}, "nonsense"])
    found = run(command, name, "gone\x1b[31m.jsonl")
    assert found.code == 3
    assert CONTROLS.findall(found.stdout + found.stderr) == []
