"""One line of any kind -> its object: repairs, envelopes, and the reason where there is none."""

from __future__ import annotations

import json
from typing import Any

import orjson


class UnreadableError(Exception):
    """A line that holds no object; the text says why."""


def object_of(line: bytes) -> dict[str, Any]:
    """The JSON object on a line; raises `UnreadableError` with the reason.

    NaN and Infinity, bad UTF-8 and a byte order mark are put up with.
    """
    try:
        found = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        found = _repaired(line, error)
    if isinstance(found, dict):
        return found
    raise UnreadableError(f"{_KINDS.get(type(found), 'a value')} where an object was expected")


_KINDS = {list: "an array", str: "a string", int: "a number", float: "a number", bool: "true or false"}


def _repaired(line: bytes, error: orjson.JSONDecodeError) -> Any:
    text = line.decode("utf-8", "replace").lstrip("\ufeff").strip()
    if not text.startswith(("{", "[")):
        raise UnreadableError("not JSON") from None
    try:
        found = json.loads(text)
        # half a surrogate pair is no text: it becomes "?"
        return json.loads(json.dumps(found, ensure_ascii=False).encode("utf-8", "replace"))
    except (json.JSONDecodeError, RecursionError, ValueError):
        reason = "cut off" if _is_cut(text) else str(error).split(": line")[0]
        raise UnreadableError(f"not valid JSON: {reason}") from None


def _is_cut(text: str) -> bool:
    return not text.rstrip().endswith(("}", "]"))
