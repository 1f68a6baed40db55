"""One line of any kind -> its object: repairs, text before the first brace, and the reason where there is none."""

from __future__ import annotations

import re
from typing import Any, Final

import orjson

from llmmon.formats.home_made import is_stamped


class UnreadableError(Exception):
    """A line that holds no object; the text says why."""


def object_of(line: bytes) -> dict[str, Any]:
    """The JSON object on a line; raises `UnreadableError` with the reason.

    NaN and Infinity, bad UTF-8, a byte order mark, an object inside a JSON string and text before the object
    are put up with.
    """
    try:
        found = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        found = _repaired(line, error)
    if isinstance(found, str):
        found = _inside(found.strip()) or found
    if isinstance(found, dict):
        return found
    raise UnreadableError(f"{_KINDS.get(type(found), 'a value')} where an object was expected")


_KINDS: Final = {
    list: "an array",
    str: "a string",
    int: "a number",
    float: "a number",
    bool: "true or false",
    type(None): "null",
}


def _inside(text: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return None


def _repaired(line: bytes, error: orjson.JSONDecodeError) -> Any:
    text = line.decode("utf-8", "replace").lstrip("\ufeff").strip()
    if not text.startswith("{") and not re.match(r"\[\s*[\[{\"\]]", text):
        return text_object(text)
    return _lenient(text, str(error).split(": line")[0])


def _lenient(text: str, reason: str) -> Any:
    import json  # only bad lines need it

    try:
        found = json.loads(text)
        # half a surrogate pair is no text: it becomes "?"
        return json.loads(json.dumps(found, ensure_ascii=False).encode("utf-8", "replace"))
    except (ValueError, RecursionError):
        reason = reason if text.endswith(("}", "]")) else "cut off"
        raise UnreadableError(f"not valid JSON: {reason}") from None


def text_object(text: str) -> dict[str, Any]:
    """The object at the end of a line of text, stamped with the line's time if it has none of its own."""
    prefix, brace, _ = text.partition("{")
    found = None
    if brace and text.endswith("}") and '":' not in prefix:
        found = _inside(text[len(prefix) :])
    if not isinstance(found, dict):
        raise UnreadableError("not JSON")
    stamp = re.search(_STAMP, prefix[:80])
    return found if stamp is None else stamped(found, stamp[0])


_STAMP: Final = r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d{1,9})?(?:Z|[+-]\d\d:?\d\d)?"


def stamped(found: dict[str, Any], moment: Any) -> dict[str, Any]:
    """The object, with a time from around it if it has none of its own."""
    return found if moment is None or is_stamped(found) else {"timestamp": moment, **found}
