"""Success, failure and the kind of error, from whatever a log says about them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

import msgspec
import numpy as np

from llmmon.formats import values
from llmmon.formats.mapping import embedded
from llmmon.metrics.columns import MISSING_CODE, BoolArray, CodeArray, FloatArray, Names
from llmmon.metrics.record import Status

STATUSES: Final[list[str]] = [status.value for status in Status]
_OK, _ERROR, _CANCELLED, _UNKNOWN = range(4)
_UNSAID: Final = -1

_OK_WORDS: Final = frozenset(
    (
        "ok success succeeded successful completed complete done finished pass passed true default unset incomplete "
        "debug warning"
    ).split()
)
_ERROR_WORDS: Final = frozenset("error failed failure fail errored exception timeout timed_out expired false".split())
# of calls that have begun and not ended
_OPEN_WORDS: Final = frozenset(
    "started start starting begin begun pending queued running in_progress inprogress processing sent new".split()
)
_CANCELLED_WORDS: Final = frozenset("cancelled canceled aborted abort interrupted".split())
# what an error text says -> the name it is counted under
_KINDS: Final = (
    ("rate_limit", r"rate.?limit|too many requests|throttl|\b429\b|quota"),
    ("timeout", r"time[d]?.?out|deadline|\b504\b|\b408\b"),
    ("context_length", r"context.{0,12}(?:length|window)|maximum context|too many tokens|prompt is too long"),
    ("content_filter", r"content.?(?:filter|policy)|safety|guardrail"),
    ("authentication", r"unauthori[sz]ed|authenticat|invalid.{0,5}api.?key|\b401\b|forbidden|permission|\b403\b"),
    ("overloaded", r"overloaded|\b529\b|unavailable|\b503\b"),
    ("server_error", r"internal.{0,5}(?:server )?error|server.?error|bad gateway|upstream|\b50[0-9]\b"),
    ("connection", r"connect|network|\bdns\b|\bssl\b|reset by peer"),
    ("invalid_request", r"invalid|bad request|\b400\b|\b422\b"),
    ("not_found", r"not.?found|\b404\b"),
)
_BY_CODE: Final = {
    400: "invalid_request",
    401: "authentication",
    403: "authentication",
    404: "not_found",
    408: "timeout",
    413: "invalid_request",
    422: "invalid_request",
    429: "rate_limit",
    503: "overloaded",
    504: "timeout",
    529: "overloaded",
}
_HTTP: Final = r"(?:http[ /]*(?:1\.1|2)?\s*)?(\d{3})\b"
_NAME_LIKE: Final = r"[A-Za-z][\w.:\-]{1,79}\Z"
_DEEPEST: Final = 8  # errors inside errors


@lru_cache(maxsize=32)
def _compiled(pattern: str) -> re.Pattern[str]:
    """Compiled when first needed: a log without errors needs none."""
    return re.compile(pattern, re.IGNORECASE)


class Outcomes(msgspec.Struct, frozen=True, eq=False):
    """How each row ended: codes into `STATUSES`, HTTP statuses, and for error rows logged without a type or
    message the ones that were found (by row).
    """

    status: CodeArray
    status_code: FloatArray | None
    types: Mapping[int, str]
    messages: Mapping[int, str]


def is_over(value: Any) -> bool:
    """Whether a status says that a call has ended; a word such as `started` says that it has not."""
    return not isinstance(value, str) or value.strip().lower().replace("-", "_") not in _OPEN_WORDS


def settle(
    size: int,
    flags: tuple[FloatArray | None, FloatArray | None],
    said: Mapping[str, list[Sequence[Any]]],
    logged: Mapping[str, Names | None],
    status_code: FloatArray | None,
    completed: BoolArray,
) -> Outcomes:
    """The outcome of each row; an explicit success or failure flag wins over everything else.

    `said` holds the raw columns of the slots outcome and error, `logged` the error types and messages;
    `completed` marks rows that show signs of an answer, which are successes where nothing is said.
    """
    words, coded = _from_words(said["outcome"], size)
    if coded is not None:
        status_code = coded if status_code is None else np.where(np.isnan(status_code), coded, status_code)
    status: CodeArray = np.where(completed, _OK, _UNKNOWN).astype(np.int32)
    for column in said["error"]:
        status[_truthy(column)] = _ERROR
    for names in logged.values():
        if names is not None:
            status[_says_something(names)] = _ERROR
    status = np.where(words == _UNSAID, status, words)
    if status_code is not None:
        status[status_code >= 400] = _ERROR
    status = _flagged(status, *flags)
    return Outcomes(status, status_code, *_describe(status, said["error"], logged, status_code))


def _truthy(column: Sequence[Any]) -> BoolArray:
    found: BoolArray = np.fromiter(map(bool, column), np.bool_, len(column))
    for row in np.flatnonzero(found).tolist():
        if isinstance(value := column[row], str):
            found[row] = value not in _NOTHING
    return found


def _says_something(names: Names) -> BoolArray:
    empty = [code for code, value in enumerate(names.values) if value in _NOTHING]
    said: BoolArray = names.codes != MISSING_CODE
    return said & ~np.isin(names.codes, empty) if empty else said


_NOTHING: Final = frozenset({"", "None", "null", "none", "false", "False"})


def _flagged(status: CodeArray, success: FloatArray | None, failed: FloatArray | None) -> CodeArray:
    if failed is not None:
        status = np.where(failed == 1, _ERROR, np.where((failed == 0) & (status == _UNKNOWN), _OK, status))
    if success is not None:
        not_ok = np.where(status == _CANCELLED, _CANCELLED, _ERROR)
        status = np.where(success == 1, _OK, np.where(success == 0, not_ok, status))
    settled: CodeArray = status.astype(np.int32)
    return settled


def _from_words(columns: list[Sequence[Any]], size: int) -> tuple[CodeArray, FloatArray | None]:
    """Statuses and HTTP codes from status words, numbers or objects; `_UNSAID` where there is none."""
    words = np.full(size, _UNSAID, np.int32)
    coded: FloatArray | None = None
    for column in columns:
        found = values.by_distinct(column, word_status).astype(np.int32)
        words = np.where(words == _UNSAID, found, words)
        codes = values.by_distinct(column, http_code)
        if not np.isnan(codes).all():
            coded = codes if coded is None else np.where(np.isnan(coded), codes, coded)
    return words, coded


def word_status(value: Any, depth: int = _DEEPEST) -> int:
    """What a status word, number or object says: an index into `STATUSES`, -1 for nothing."""
    if isinstance(value, bool):
        return _OK if value else _ERROR
    if isinstance(value, dict):
        said = next((value[k] for k in ("status_code", "code", "status", "state") if k in value), None)
        return word_status(said, depth - 1) if depth else _UNSAID
    if isinstance(value, (int, float)):
        return _ERROR if value >= 400 else _OK if value >= 100 else _UNSAID
    if not isinstance(value, str):
        return _UNSAID
    word = value.partition(",")[0].strip().lower().replace(" ", "_").removeprefix("status_code_")
    for status, words in ((_OK, _OK_WORDS), (_ERROR, _ERROR_WORDS), (_CANCELLED, _CANCELLED_WORDS)):
        if word in words:
            return status
    code = http_code(value)
    return _UNSAID if code != code else _ERROR if code >= 400 else _OK


def http_code(value: Any) -> float:
    """The HTTP status in a number, `"503"` or `"HTTP 503"`, NaN if there is none."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value) if 100 <= value < 600 else np.nan
    if isinstance(value, str) and (match := _compiled(_HTTP).match(value.strip())):
        return float(match[1]) if 100 <= int(match[1]) < 600 else np.nan
    return np.nan


def _describe(
    status: CodeArray,
    errors: list[Sequence[Any]],
    logged: Mapping[str, Names | None],
    status_code: FloatArray | None,
) -> tuple[dict[int, str], dict[int, str]]:
    """Type and message for the error rows that were logged without."""
    types: dict[int, str] = {}
    messages: dict[int, str] = {}
    failed = status == _ERROR
    undescribed = failed & _lacks(logged["error_type"])
    if errors:
        undescribed |= failed & _lacks(logged["error_message"])
    for row in np.flatnonzero(undescribed).tolist():
        known_type, known_message = (_name_at(logged[field], row) for field in ("error_type", "error_message"))
        kind, message = describe(next((column[row] for column in errors if column[row]), None))
        if message and not known_message:
            messages[row] = message
        if not known_type:
            code = np.nan if status_code is None else status_code[row]
            types[row] = kind or kind_of_text(known_message or message) or kind_of_code(code)
    return types, messages


def _lacks(names: Names | None) -> Any:
    return np.True_ if names is None else names.codes == MISSING_CODE


def _name_at(names: Names | None, row: int) -> str | None:
    return None if names is None or names.codes[row] < 0 else names.values[names.codes[row]]


def describe(error: Any, depth: int = _DEEPEST) -> tuple[str | None, str | None]:
    """The type and the message that an error value names, either may be None."""
    if isinstance(error, str) and depth and isinstance(inside := embedded(error), dict):
        return describe(inside, depth - 1)
    if isinstance(error, str):
        return (error, None) if _compiled(_NAME_LIKE).match(error) else (None, error or None)
    if isinstance(error, dict):
        inner = error.get("error")
        if isinstance(inner, dict) and depth:
            return describe(inner, depth - 1)
        code = error.get("code")
        named = code if isinstance(code, str) and _compiled(_NAME_LIKE).match(code) else None
        kind = named or next((error[k] for k in ("type", "name", "class", "status", "code") if error.get(k)), None)
        message = next((error[k] for k in ("message", "msg", "detail", "error") if isinstance(error.get(k), str)), None)
        return values.name(kind), message
    return None, None


def kind_of_text(text: str | None) -> str | None:
    """The kind of error that a message speaks of, None if it is not one of the usual."""
    head = (text or "")[:500]
    return next((kind for kind, pattern in _KINDS if _compiled(pattern).search(head)), None)


def kind_of_code(code: float) -> str:
    """The kind of error of an HTTP status; `error` where there is none."""
    if not code >= 400:
        return "error"
    return _BY_CODE.get(int(code), "server_error" if code >= 500 else f"http_{int(code)}")
