"""Where lines and their cells begin and end."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmmon.formats.tabular import scan
from llmmon.formats.tabular.scan import Signs, signs_of


def signs_in(text: bytes) -> Signs:
    return signs_of(np.frombuffer(text, np.uint8), np.empty((2, scan.BLOCK), np.bool_), escapes=b"\\" in text)


@given(st.text('ab,"\n\\é\t', max_size=60).map(str.encode), st.integers(1, 9))
def test_signs_are_those_of_each_line_however_large_the_blocks(text: bytes, block: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scan, "BLOCK", block)
        found = signs_in(b"\n" + text)
    lines = [line + b"\n" for line in text.split(b"\n")]
    lines = lines[:-1] if text.endswith(b"\n") or not text else [*lines[:-1], lines[-1][:-1]]
    assert len(lines) == found.lines
    assert found.quotes == text.count(b'"')
    assert found.quotes_by_line().tolist() == [line.count(b'"') for line in lines] or not lines
    odd = [not line.isascii() or b"\\" in line or b"\t" in line or not line.endswith(b"\n") for line in lines]
    three = [line.count(b",") == 2 and not is_odd for line, is_odd in zip(lines, odd, strict=True)]
    assert found.lines_of(3).tolist() == three


def test_cells_start_behind_a_comma_or_the_last_line() -> None:
    text = b"\na,bc\nx\nd,e\n"
    found = signs_in(text)
    for rows in (np.flatnonzero(found.lines_of(2)), np.array([2])):
        starts, ends = found.cells(rows, 2)
        cells = [[text[a:b] for a, b in zip(*cell, strict=True)] for cell in zip(starts, ends, strict=True)]
        assert cells == ([[b"a", b"d"], [b"bc", b"e"]] if len(rows) == 2 else [[b"d"], [b"e"]])
