"""The layout of a line: what stands around its values."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmmon.formats.tabular.scan import Cell, template_of


def test_a_line_is_cut_at_its_commas() -> None:
    assert template_of(b'{"model": "m", "usage": {"in": 5, "out":7}}\n') == (
        Cell(b'{"model": ', ("model",), b"", b'"'),
        Cell(b' "usage": {"in": ', ("usage", "in"), b"", b"5"),
        Cell(b' "out":', ("usage", "out"), b"}}", b"7"),
    )


def test_elements_of_lists_are_numbered_and_what_is_empty_has_no_value() -> None:
    assert template_of(b'{"a": [true, {"b": null}], "c": {}, "d": []}\n') == (
        Cell(b'{"a": [', ("a", "0"), b"", b"t"),
        Cell(b' {"b": ', ("a", "1", "b"), b"}]", b"n"),
        Cell(b' "c": {}', ("c",)),
        Cell(b' "d": []}', ("d",)),
    )


@pytest.mark.parametrize(
    "line",
    [
        b'{"a": "x, y"}\n',
        b'{"a": "x\\ny"}\n',
        b'{"a": 1, "a": 2}\n',
        b'{"a": 1}',
        b'{"\x80": 1}\n',
        b'{"a\\u0041": 1}\n',
        b"{" + b", ".join(b'"k%d": 1' % n for n in range(500)) + b"}\n",
    ],
)
def test_what_could_mean_two_things_is_no_template(line: bytes) -> None:
    assert template_of(line) is None


@given(st.dictionaries(st.sampled_from("abcdef"), st.none() | st.integers() | st.booleans() | st.just("t"), min_size=1))
def test_the_cells_of_a_line_make_up_the_line(row: dict[str, object]) -> None:
    import json

    line = json.dumps(row).encode() + b"\n"
    cells = template_of(line)
    assert cells is not None
    values = [json.dumps(value).encode() for value in row.values()]
    parts = (cell.before + value + cell.after for cell, value in zip(cells, values, strict=True))
    assert line == b",".join(parts) + b"\n"
