"""Lines that share a layout are read as a table, and what is read is what the typed decoder reads line by line."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmmon.formats.accounting import Accounting
from llmmon.formats.canonical import Interners
from llmmon.formats.detection import Wanted, plan_for
from llmmon.formats.reader import SpanReader, uniform_reader
from llmmon.formats.tabular import reader
from llmmon.metrics.columns import concat, in_log_order
from tests.support.columns_factory import ALL_FIELDS, as_rows

ODD_NUMBERS = [
    *("-1", "0", "007", "1.", ".5", "1e5", "2.5E-05", "1e400", "00.5", "1.5.2", "0x1", "+1", "1_0", "NaN", "12345678"),
    *(
        "123456789",
        "1234567.5",
        "12345678.5",
        "0.12345678",
        "0.123456789",
        "9007199254740993",
        "1.7976931348623157e308",
    ),
]
ODD_TEXTS = [
    *(
        '"a, b"',
        '"a\\"b"',
        '"a"b"',
        '"',
        '""',
        '"\\u0041"',
        '"é"',
        '"a\tb"',
        '"}"',
        '"x',
        'x"',
        '"a" "b"',
        '"\x7f"',
        "'a'",
    ),
    *(
        '"a""',
        '""b"',
        '"a", "a": "b"',
        '"abcdefghijklmnopqrstuvwxyz012345"',
        '"abcdefghijklmnopqrstuvwxyz"x"',
        '"\\x"',
        '"\\u12"',
        '"\udcff"',
        '"a"b',
        '"a" ',
        '"\\ud800"',
    ),
]
ODD_STAMPS = ['"2026-03-02"', '"2026-03-02T10:00:61Z"', '"today"', "1772445600", '"2026-03-02T10:00:00\\u002b"']
ODD_WORDS = [
    "true",
    "false",
    "null",
    "True",
    "nul",
    "nulll",
    "{}",
    "[]",
    "[1]",
    '{"a": 1}',
    " 5",
    "5 ",
    "",
    "5, 6",
    "}",
]

digits = st.text("0123456789", min_size=1, max_size=17)
numbers = st.one_of(
    st.integers(0, 10**9).map(str),
    st.floats(0, 1e9).map(repr),
    st.integers(0, 10**8).map(lambda cents: f"{cents / 100}"),
    st.tuples(digits, digits).map(".".join),
    st.sampled_from(ODD_NUMBERS),
)
plain_texts = st.sampled_from(["gpt-4o", "gpt-4o-mini", "a model of more than thirty-two letters", "", "b"]).map(
    '"{}"'.format
)
odd_texts = st.sampled_from(ODD_TEXTS)
stamps = st.integers(0, 59).map(lambda second: f'"2026-03-02T10:00:{second:02d}.250000+00:00"')
odd_stamps = st.sampled_from(ODD_STAMPS)
words = st.sampled_from(ODD_WORDS)
USUAL = {
    "model": '"m"',
    "latency_ms": "812.5",
    "prompt_tokens": "5",
    "timestamp": '"2026-03-02T10:00:00Z"',
    "success": "true",
    "error_type": "null",
    "note": '"n"',
    "retries": "0",
    "flag": "true",
    "usage": '{"kept": 5}',
}

usual = {
    "model": plain_texts,
    "latency_ms": numbers,
    "prompt_tokens": st.integers(0, 10**6).map(str),
    "completion_tokens": st.integers(0, 10**6).map(str),
    "cost": st.integers(0, 10**8).map(lambda n: repr(n / 1e8)),
    "timestamp": stamps,
    "success": st.sampled_from(["true", "false"]),
    "error_type": st.sampled_from(["null", '"timeout"', '"rate_limit"']),
    "user": plain_texts,
    "note": plain_texts,
    "retries": st.integers(0, 9).map(str),
    "team": plain_texts,
    "flag": st.sampled_from(["true", "false", "null"]),
    "usage": st.just('{"prompt_tokens": 5, "cached": [1, "two"], "more": {}}'),
}
odd = numbers | odd_texts | odd_stamps | words | plain_texts
styles = st.sampled_from([(", ", ": "), (",", ":"), (" ,  ", " : ")])


@st.composite
def alike(draw: st.DrawFn) -> bytes:
    """A log of which most lines have one layout; some values, lines and bytes are odd."""
    keys = draw(st.lists(st.sampled_from(sorted(usual)), min_size=1, max_size=9, unique=True))
    comma, colon = draw(styles)
    lines = []
    for _ in range(draw(st.integers(2, 12))):
        values = [draw(odd if draw(st.integers(0, 40)) == 0 else usual[key]) for key in keys]
        body = comma.join(f'"{key}"{colon}{value}' for key, value in zip(keys, values, strict=True))
        lines.append(f"{{{body}}}".encode("utf-8", "surrogateescape"))
    for _ in range(draw(st.integers(0, 2))):
        at = draw(st.integers(0, len(lines) - 1))
        lines[at] = damaged(lines[at], draw(st.integers(0, len(lines[at]))), draw(st.binary(max_size=2)))
    lines.insert(
        draw(st.integers(0, len(lines))), draw(st.sampled_from([lines[0], b"", b"hello", b'{"model": "other"}']))
    )
    return b"\n".join(lines) + draw(st.sampled_from([b"\n", b""]))


def damaged(line: bytes, at: int, by: bytes) -> bytes:
    return line[:at] + by + line[at + len(by) :]


def read(data: bytes, chunks: list[bytes], *, as_table: bool) -> tuple[list[dict[str, Any]], Accounting, int]:
    """The calls and the accounting, and how many lines were read in tables."""
    plan = plan_for(data, Wanted(ALL_FIELDS, ("team",)))
    interners = Interners()
    tables = uniform_reader(plan, interners)
    reader = SpanReader(plan, interners, tables)
    in_tables = 0
    if tables is not None:
        plainly = tables.read

        def counted(chunk: Any) -> Any:
            nonlocal in_tables
            table = plainly(chunk) if as_table else None
            in_tables += 0 if table is None else len(table.rows)
            return table

        tables.read = counted  # type: ignore[method-assign]
    blocks = [reader.feed(chunk) for chunk in chunks]
    found = [block.columns for block in (*blocks, reader.flush()) if block is not None]
    return as_rows(in_log_order(concat(found))), reader.accounting, in_tables


@pytest.fixture(autouse=True, scope="module")
def tables_of_any_size() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reader, "LEAST_BYTES", 1)
        patch.setattr(reader, "_LEAST_SHARE", 0.5)
        yield


@given(alike(), st.integers(1, 5))
@settings(max_examples=400)
def test_a_table_holds_what_the_lines_hold(data: bytes, size: int) -> None:
    lines = [line + b"\n" for line in data.split(b"\n")]
    lines = [*lines[:-1], lines[-1][:-1]] if len(lines[-1]) > 1 else lines[:-1]
    chunks = [b"".join(lines[at : at + size * 4]) for at in range(0, len(lines), size * 4)]
    rows, accounting, _ = read(data, chunks, as_table=True)
    expected_rows, expected, _ = read(data, chunks, as_table=False)
    assert expected_rows == rows
    assert expected == accounting


@pytest.mark.parametrize("key", sorted(USUAL))
def test_one_odd_value_costs_no_other(key: str) -> None:
    for value in (*ODD_NUMBERS, *ODD_TEXTS, *ODD_STAMPS, *ODD_WORDS):
        usual_lines = [{**USUAL, "prompt_tokens": str(n)} for n in range(8)]
        usual_lines.insert(5, {**USUAL, key: value})
        lines = ("{" + ", ".join(f'"{name}": {text}' for name, text in line.items()) + "}\n" for line in usual_lines)
        data = "".join(lines).encode("utf-8", "surrogateescape")
        rows, accounting, in_tables = read(data, [data], as_table=True)
        assert (rows, accounting) == read(data, [data], as_table=False)[:2], value
        assert in_tables >= 8, value


def test_lines_of_one_layout_are_read_as_a_table() -> None:
    lines = [
        f'{{"model": "m{n % 7}", "latency_ms": {n}.25, "prompt_tokens": {n}, "success": true, "timestamp": '
        f'"2026-03-02T10:00:{n % 60:02d}Z", "usage": {{"total_tokens": {n + 5}, "parts": [1, 2]}}}}\n'
        for n in range(500)
    ]
    data = "".join(lines).encode()
    rows, accounting, in_tables = read(data, [data], as_table=True)
    assert in_tables == 500
    assert accounting.used == 500
    assert [row["prompt_tokens"] for row in rows] == list(range(500))
    assert [row["latency_ms"] for row in rows] == [n * 1000 + 250 for n in range(500)]


@pytest.mark.parametrize(
    "line",
    [
        b'{"model": "m7", "latency_ms": 1.25, "user": "a"}',
        b'{"model": "m7", "latency_ms": 1.25, "user": "\xc3\xa9"}',
        b'{"model": "m7", "latency_ms": 1.25e2, "user": "q"}',
        b'{"latency_ms": 1.25, "model": "m7"}',
        b'{"model": "m7"\t "latency_ms": 1.25, "user": "q"}',
        b'{"model": "m7", "latency_ms": 1.25, "user": "q"} ',
        b'{"model": "m7", "latency_ms": 1.25, "user": "q"}}',
        b'{"model": "m7", "latency_ms": 1.25, "user": "q"',
    ],
)
def test_other_lines_stand_between_those_of_a_table(line: bytes) -> None:
    usual_lines = [b'{"model": "m", "latency_ms": %d.5, "user": "u"}' % n for n in range(40)]
    data = b"\n".join([*usual_lines[:20], line, *usual_lines[20:]]) + b"\n"
    rows, accounting, _ = read(data, [data], as_table=True)
    assert (rows, accounting) == read(data, [data], as_table=False)[:2]


def test_a_text_that_goes_on_is_another_one() -> None:
    lines = [
        b'{"model": "m", "flag": %s}' % text for text in (b"true", b"12345678", b"12345678x", b"123456789", b"true")
    ]
    data = b"\n".join(3 * lines) + b"\n"
    rows, accounting, in_tables = read(data, [data, data], as_table=True)
    assert in_tables == 24
    assert accounting.rejected == 6
    assert rows == read(data, [data, data], as_table=False)[0]
