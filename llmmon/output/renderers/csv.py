"""The command's rows as CSV, safe to open in a spreadsheet."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping
from typing import Any, Final

from llmmon.output.renderers import Page, Rendered
from llmmon.output.renderers.json import dumps
from llmmon.text.figures import visible

# where a cell begins, also for a spreadsheet that separates by other signs than commas
_FORMULA: Final = re.compile("(?:^|(?<=[;|\t\n]))(?=[ \ufeff]*[=+@\t\r\uff1d\uff0b\uff20-])")
_CONTROL: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")  # all but the tab and the newline


def render(page: Page) -> Rendered:
    """A header and one line a row; nested objects become `key.inner` columns, missing is empty."""
    rows = [_flat(row) for row in page.view.rows]
    names = list(dict.fromkeys(name for row in rows for name in row))
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(map(_cell, names))
    writer.writerows([_cell(row.get(name)) for name in names] for row in rows)
    return Rendered(out.getvalue())


def _flat(row: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in row.items():
        flat.update(_flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value})
    return flat


def _cell(value: Any) -> Any:
    if value is None or (isinstance(value, float) and value != value):
        return ""
    if isinstance(value, str):  # a text that a spreadsheet would run is marked as text
        return _CONTROL.sub(visible, _FORMULA.sub("'", value))
    return dumps(value) if isinstance(value, (list, tuple, bool)) else value
