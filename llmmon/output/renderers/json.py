"""The versioned JSON envelope: one object a command."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import orjson

from llmmon.formats.accounting import MOST_REJECTS_SHOWN
from llmmon.ingest.report import SourceReport
from llmmon.output.renderers import Page, Rendered
from llmmon.text.times import iso

SCHEMA_VERSION: Final = 1
_C1: Final = re.compile("[\x7f-\x9f]")  # controls that JSON lets through and some terminals obey


def render(page: Page) -> Rendered:
    """`{"schema_version", "command", "source", "data"}`; missing is null."""
    envelope = {
        "schema_version": SCHEMA_VERSION,
        "command": page.command,
        "source": source_data(page.source),
        "data": page.view.data,
    }
    return Rendered(dumps(envelope, indent=True) + "\n")


def dumps(value: Any, *, indent: bool = False) -> str:
    """Any JSON value as text; NaN and infinity become null, half surrogates `?`."""
    options = orjson.OPT_NON_STR_KEYS | (orjson.OPT_INDENT_2 if indent else 0)
    try:
        text = orjson.dumps(value, option=options).decode()
    except TypeError:
        text = orjson.dumps(_encodable(value), option=options).decode()
    return _C1.sub(lambda sign: f"\\u{ord(sign[0]):04x}", text)


def _encodable(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, Mapping):
        return {_encodable(key): _encodable(item) for key, item in value.items()}
    return [_encodable(item) for item in value] if isinstance(value, (list, tuple)) else value


def source_data(source: SourceReport) -> dict[str, Any]:
    """The source accounting as the contract names it."""
    counted = ("bytes_read", "lines", "blank", "used", "skipped", "rejected", "requests", "samples")
    rest = ("duplicates", "outside", "filtered", "undated")
    return {
        "files": list(source.files),
        **{name: getattr(source, name) for name in (*counted, *rest)},
        "dialects": dict(source.dialects),
        "first_rejects": [
            {"file": r.file, "line": r.line, "byte": r.byte, "reason": r.reason}
            for r in source.rejects[:MOST_REJECTS_SHOWN]
        ],
        "start": iso(source.start_us),
        "end": iso(source.end_us),
        "timezone": source.timezone,
        "now": iso(source.now_us),
        "warnings": list(source.warnings),
    }
