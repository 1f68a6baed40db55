"""The JSON objects on a line of a log, with what loggers, terminals and shells make of it put right."""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec
import orjson

from llmmon.formats.home_made import is_stamped
from llmmon.text.patterns import lazy


class UnreadableError(Exception):
    """A line that holds no object; the text says why."""


def object_of(line: bytes) -> dict[str, Any]:
    """The JSON object on a line; raises `UnreadableError` with the reason.

    Put up with are NaN and Infinity, bad UTF-8, byte order marks, zero bytes, the colours of terminals, a needless
    comma, an object inside a JSON string and text before the object.
    """
    found = objects_of(line)
    if len(found) == 1:
        return found[0]
    raise UnreadableError("several objects where one was expected")


def objects_of(line: bytes) -> list[dict[str, Any]]:
    """As `object_of`, of a line that may hold several objects one after the other."""
    try:
        found = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        found = _repaired(line, str(error).split(": line")[0])
    if isinstance(found, str):
        found = _inside(found.strip()) or found
    if b'"$number' in line:
        found = _plain_numbers(found)
    if isinstance(found, dict):
        return [found]
    if isinstance(found, _Several):
        return found.objects
    raise UnreadableError(f"{_KINDS.get(type(found), 'a value')} where an object was expected")


def _plain_numbers(found: Any) -> Any:
    """Numbers as MongoDB's extended JSON writes them, `{"$numberLong": "12"}`, as plain ones."""
    if isinstance(found, list):
        return [_plain_numbers(each) for each in found]
    if not isinstance(found, dict):
        return found
    if len(found) == 1 and (kind := next(iter(found))) in _EXTENDED:
        try:
            return _EXTENDED[kind](found[kind])
        except (TypeError, ValueError):
            return None
    return {key: _plain_numbers(value) for key, value in found.items()}


_EXTENDED: Final[dict[str, Any]] = {
    "$numberInt": int,
    "$numberLong": int,
    "$numberDouble": float,
    "$numberDecimal": float,
}
_KINDS: Final = {
    list: "an array",
    str: "a string",
    int: "a number",
    float: "a number",
    bool: "true or false",
    type(None): "null",
}


class _Several(msgspec.Struct):
    """Objects that stand on one line."""

    objects: list[dict[str, Any]]


def _inside(text: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return None


def _repaired(line: bytes, reason: str) -> Any:
    text = plain_text(line).removeprefix(",").lstrip()
    if text.startswith(("{'", "[{'")):
        raise UnreadableError(_PYTHON)
    if not text.startswith("{") and not re.match(r"\[\s*[\[{\"\]]", text):
        return text_object(text)
    return _lenient(text, reason)


_PYTHON: Final = "a Python dict, not JSON: log json.dumps(record) instead of the record"


def plain_text(line: bytes) -> str:
    """A line as text, without marks, zero bytes and colours."""
    text = decoded(_without_zeros(line) if b"\0" in line else line)
    return (_COLOURS.sub("", text) if "\x1b" in text else text).strip(_AROUND)


def decoded(line: bytes) -> str:
    """UTF-8 as text; bytes that are none are taken for Windows-1252."""
    try:
        return line.decode()
    except UnicodeDecodeError:
        return line.decode("utf-8", "surrogateescape").translate(_WINDOWS)


def _without_zeros(line: bytes) -> bytes:
    """A line of UTF-16 among others (its newline was cut in two), or with the hole that a truncated log has."""
    zeros = line.count(b"\0")
    if 2 * zeros > 0.8 * len(line):
        pairs = line.lstrip(b"\0\r\n")
        even = pairs[: len(pairs) & ~1]
        if even[1::2].count(0) > 0.8 * len(even) / 2:
            return even.decode("utf-16-le", "replace").encode("utf-8", "replace")
    return line.replace(b"\0", b"")


_COLOURS: Final = lazy(r"\x1b\[[0-9;:?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[()][0-9A-B]")
BLANK: Final = b"\0\x1e \t\r\n\f\v"  # what a line may hold and still be blank
_AROUND: Final = "\ufeff\x1e \t\r\n\f\v"
_WINDOWS: Final = {0xDC00 + byte: bytes([byte]).decode("cp1252", "replace") for byte in range(0x80, 0x100)}
_NEEDLESS_COMMA: Final = lazy(r'("(?:[^"\\]|\\.)*+(?:"|\Z))|,(?=\s*[}\]])')


def _lenient(text: str, reason: str) -> Any:
    """An object with what strict JSON does not have; also several. Raises `UnreadableError`."""
    text = text.rstrip(", \t")
    found = _strict(text) or _several(text)
    if found is None and re.search(r",\s*[}\]]", text):
        found = _strict(_NEEDLESS_COMMA.sub(lambda sign: sign[1] or "", text))
    if found is None:
        reason = reason if text.endswith(("}", "]")) else "cut off"
        raise UnreadableError(f"not valid JSON: {reason}")
    return found


def _strict(text: str) -> Any:
    """JSON, also with NaN, raw tabs in texts and halves of surrogate pairs; None if it is none."""
    import json  # only bad lines need it

    try:
        found = json.loads(text, strict=False)
        # half a surrogate pair is no text: it becomes "?"
        return json.loads(json.dumps(found, ensure_ascii=False).encode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return None


def _several(text: str) -> _Several | None:
    """Objects one after the other, also with commas between them; None if there is anything else."""
    import json

    decoder, found, at = json.JSONDecoder(strict=False), [], 0
    while at < len(text):
        try:
            each, end = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            return None
        if not isinstance(each, dict):
            return None
        found.append(json.loads(json.dumps(each, ensure_ascii=False).encode("utf-8", "replace")))
        at = end + len(text[end:]) - len(text[end:].lstrip(", \t"))
    return _Several(found) if found else None


def text_object(text: str) -> dict[str, Any]:
    """The object or the `key=value` pairs at the end of a line, with the line's time if they have none of their own.

    Raises `UnreadableError` where the line has neither.
    """
    prefix, brace, _ = text.partition("{")
    found = None
    if brace and text.endswith("}") and '":' not in prefix:
        found = _inside(text[len(prefix) :])
    if not isinstance(found, dict):
        found = _pairs(text)
    if not isinstance(found, dict):
        raise UnreadableError(_PYTHON if text[len(prefix) :].startswith("{'") else "not JSON")
    stamp = _STAMP.search(prefix[:80])
    return found if stamp is None else stamped(found, stamp[0])


_PAIR: Final = lazy(r'(?<![^\s,;|\[(])([A-Za-z_][\w.@/-]{0,79})=("(?:[^"\\]|\\.)*+"|[^\s",;]*+)')
_LEAST_PAIRS: Final = 3
_NUMBER: Final = lazy(r"-?(?:0|[1-9]\d{0,17})(?:\.\d{1,18})?")
_WORDS: Final[dict[str, Any]] = {"true": True, "false": False, "null": None, "nil": None, "None": None, "": None}


def _pairs(text: str) -> dict[str, Any] | None:
    """The pairs of a line of logfmt, `model=gpt-4o latency_ms=1200 msg="done"`, with a message before them or none."""
    found = {key: _value(value) for key, value in _PAIR.findall(text)}
    return found if len(found) >= _LEAST_PAIRS else None


def _value(text: str) -> Any:
    if text.startswith('"'):
        inner = _inside(text)
        return inner if isinstance(inner, str) else text[1:-1]
    if _NUMBER.fullmatch(text):
        return orjson.loads(text)
    return _WORDS.get(text, text)


_STAMP: Final = lazy(
    r"\d{4}[-/]\d\d[-/]\d\d[Tt ]\d\d:\d\d:\d\d(?:[.,]\d{1,9})?(?: ?(?:Z\b|[+-]\d\d:?\d\d))?"
    r"|\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}"
    r"|[A-Z][a-z]{2} [A-Z][a-z]{2} +\d\d? \d\d:\d\d:\d\d(?:\.\d{1,6})? \d{4}"
)


def stamped(found: dict[str, Any], moment: Any) -> dict[str, Any]:
    """The object, with a time from around it if it has none of its own."""
    return found if moment is None or is_stamped(found) else {"timestamp": moment, **found}
