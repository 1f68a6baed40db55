"""CSV as spreadsheets, databases and exports write it."""

from __future__ import annotations

import csv
import io
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmmon.formats.csv_table import RecordSplitter, Table, plain_number, table_of
from tests.support.log_samples import calls, calls_in, plan, read

ROWS = "2026-03-14T09:17:00Z,gpt-5,1100,7,ann\n2026-03-14T09:17:01Z,gpt-5,100,7,\n"
HEADER = "timestamp,model,prompt_tokens,completion_tokens,user\n"
SAME = calls_in((HEADER + ROWS).encode())


def written(delimiter: str = ",", **how: Any) -> str:
    out = io.StringIO()
    csv.writer(out, delimiter=delimiter, lineterminator="\n", **how).writerows(csv.reader((HEADER + ROWS).splitlines()))
    return out.getvalue()


@pytest.mark.parametrize(
    "text",
    [
        written(";"),
        written("\t"),
        written("|"),
        written(quoting=csv.QUOTE_ALL),
        written(";", quoting=csv.QUOTE_ALL),
        "\ufeff" + written(),
        "sep=;\n" + written(";"),
        written().replace("\n", "\r\n"),
        written().replace(",", ", "),
        written().replace("1100", '"1,100"'),
        written(";")
        .replace("1100", "1.100")
        .replace("user", "user;cost")
        .replace("ann", "ann;0,5")
        .replace("7;\n", "7;;1\n"),
        written().replace("prompt_tokens", "Prompt Tokens").replace("model", '"Model"'),
        written().replace(",ann", ',"ann"').replace("7,\n", "7,NULL\n"),
        "\n" + written().replace("\n", "\n\n"),
    ],
)
def test_how_it_is_written_does_not_matter(text: str) -> None:
    found = [{key: value for key, value in call.items() if key != "cost_usd"} for call in calls_in(text.encode())]
    assert found == SAME


def test_utf16_and_windows_bytes_in_cells() -> None:
    assert read((HEADER + ROWS.replace("ann", "Zoë")).encode("cp1252"))[0].name("user").texts() == ["Zoë", None]


CELLS = st.text('ab,;"\n\r é0', max_size=6)
WIDTH = 3


@given(rows=st.lists(st.lists(CELLS, min_size=WIDTH, max_size=WIDTH), max_size=6), cuts=st.sets(st.integers(1, 120)))
def test_records_come_out_as_they_went_in_wherever_the_stream_is_cut(rows: list[list[str]], cuts: set[int]) -> None:
    out = io.StringIO(newline="")
    csv.writer(out, quoting=csv.QUOTE_ALL).writerows(rows)
    data, table = out.getvalue().encode(), Table(("a", "b", "c"), texts=frozenset(range(WIDTH)), quoted=True)
    splitter, elements = RecordSplitter(table), []
    ends = sorted({cut for cut in cuts if cut < len(data)})
    for start, end in zip([0, *ends], [*ends, len(data)], strict=True):
        elements += splitter.feed(data[start:end])
    elements += splitter.finish()
    found = [list((table.row(record) or {}).values()) for _, record in elements]
    assert found == [[cell or None for cell in row] for row in rows]
    assert all(data[offset:].startswith(record) for offset, record in elements)


@given(data=st.binary(max_size=0) | st.text('a,"\n', max_size=60).map(str.encode), cuts=st.sets(st.integers(1, 60)))
def test_whatever_stands_in_it_a_cut_changes_nothing(data: bytes, cuts: set[int]) -> None:
    whole = b'timestamp,model,prompt_tokens\n2026-03-14T09:17:00Z,"m",3\n' + data
    how = plan(whole)
    assert not how.splittable
    ends = sorted({cut for cut in cuts if cut < len(whole)})
    pieces = [whole[start:end] for start, end in zip([0, *ends], [*ends, len(whole)], strict=True)]
    (columns, accounting), (same, same_accounting) = read(whole, how), read(whole, how, pieces)
    assert calls(columns) == calls(same)
    assert accounting == same_accounting
    assert accounting.lines == accounting.blank + accounting.used + accounting.skipped + accounting.rejected


def test_a_quote_that_is_not_closed_costs_its_line_and_no_other() -> None:
    text = HEADER + ROWS.replace("ann", '"ann') + '2026-03-14T09:17:02Z,gpt-5,1,7,"bob"\n'
    columns, accounting = read(text.encode())
    assert (columns.size, accounting.rejected) == (2, 1)
    assert accounting.rejects[0].reason == "a quoted cell that is not closed"


def test_a_row_of_totals_is_no_call() -> None:
    columns, accounting = read((HEADER + ROWS + "Total,,1200,14,\n").encode())
    assert (columns.size, accounting.rejects[0].reason) == (2, "a row of totals")


def test_prompts_with_answers_are_calls() -> None:
    assert calls_in(b'Question,Answer\n"Why,\nthough?",So.\n')[0]["output"] == "So."


def test_counts_under_names_of_texts_are_counts() -> None:
    (call,) = calls_in(b"timestamp,model,prompt,completion\n2026-03-14T09:17:00Z,m,12,3\n")
    assert (call["prompt_tokens"], call["completion_tokens"]) == (12, 3)


def test_json_in_a_cell_is_an_object() -> None:
    (call,) = calls_in(
        b'timestamp,model,usage\n2026-03-14T09:17:00Z,m,"{""prompt_tokens"": 5, ""completion_tokens"": 2}"\n'
    )
    assert call["prompt_tokens"] == 5


@pytest.mark.parametrize(
    "header",
    [
        "start_time,end_time,num_model_requests,model,input_tokens,output_tokens",
        "usage_date_utc,model_version,api_key,usage_input_tokens_no_cache,usage_output_tokens,web_search_count",
        "Date,Slug,Usage,BYOK Usage,Requests,Prompt Tokens,Completion Tokens",
    ],
)
def test_sums_of_usage_are_no_calls_and_are_said_to_be(header: str) -> None:
    columns, accounting = read(f"{header}\n{','.join('1' for _ in header.split(','))}\n".encode())
    assert (columns.size, accounting.rejected) == (0, 1)
    assert accounting.rejects[0].reason.startswith("a row of sums")


@pytest.mark.parametrize("rows", [ROWS, ROWS.splitlines(keepends=True)[0]])
def test_a_table_without_names_says_so(rows: str) -> None:
    _, accounting = read(rows.encode())
    assert accounting.rejects[0].reason.startswith("CSV without a line of column names")


def test_columns_of_any_name_can_be_mapped() -> None:
    from llmmon.formats.mapping import parse_override

    data = b'when,what,took\n2026-03-14T09:17:00Z,gpt-5,"1,200"\n'
    overrides = tuple(map(parse_override, ("timestamp=when", "model=what", "latency_ms=took")))
    (call,) = calls_in(data, overrides=overrides)
    assert (call["model"], call["latency_ms"]) == ("gpt-5", 1200)


@pytest.mark.parametrize(
    "text",
    [
        "hello, world, this is prose\nand, more, of it\n",
        "2026-03-14 09:17:00,123 INFO a, b, 5\n2026-03-14 09:17:00,123 INFO {}\n",
        "model, or not\n",
        "a;b\n",
    ],
)
def test_text_is_no_table(text: str) -> None:
    assert table_of(text.encode()) is None


@pytest.mark.parametrize(
    ("cell", "number"),
    [
        *(("1,234", "1234"), ("1,234,567.5", "1234567.5"), ("$0.0123", "0.0123"), ("-$1,000.50", "-1000.50")),
        *(("US$ 3", "3"), ("0.5 USD", "0.5"), ("12,34", "12,34"), ("€0.5", "€0.5"), ("a,b", "a,b"), ("1.5", "1.5")),
    ],
)
def test_numbers_as_spreadsheets_write_them(cell: str, number: str) -> None:
    assert plain_number(cell) == number


@pytest.mark.parametrize(
    ("cell", "number"), [("1.234,5", "1234.5"), ("0,0123", "0.0123"), ("1.234", "1234"), ("7", "7")]
)
def test_numbers_with_a_decimal_comma(cell: str, number: str) -> None:
    assert plain_number(cell, decimal_comma=True) == number
