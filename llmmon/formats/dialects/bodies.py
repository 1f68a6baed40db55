"""The replies of providers (OpenAI, Anthropic, Gemini) wherever they stand: on their own, or in a log's fields."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, Final

from llmmon.formats.dialect import Dialect, Object, Row
from llmmon.formats.dialects.anthropic import ANTHROPIC_MESSAGE
from llmmon.formats.dialects.google import GEMINI
from llmmon.formats.dialects.openai import (
    API_ERROR,
    OPENAI_CHAT,
    OPENAI_CHUNK,
    OPENAI_COMPLETION,
    OPENAI_EMBEDDING,
    OPENAI_RESPONSE,
)
from llmmon.formats.mapping import Binding, admit, embedded, value_at

RAW: Final = (
    OPENAI_CHAT,
    OPENAI_RESPONSE,
    OPENAI_CHUNK,
    OPENAI_COMPLETION,
    OPENAI_EMBEDDING,
    ANTHROPIC_MESSAGE,
    GEMINI,
    API_ERROR,
)
BODY_KEYS: Final = (
    "response",
    "response_body",
    "responseBody",
    "output",
    "body",
    "result",
    "completion",
    "raw_response",
)
_USAGE: Final = ("usage", "usageMetadata", "usage_metadata", "error")


def body_of(value: Any) -> Object | None:
    """The object in a value, which may be JSON in a text; None if it is neither."""
    found = embedded(value) if isinstance(value, str) else value
    return found if isinstance(found, dict) else None


def raw_dialect(body: Object) -> Dialect | None:
    """Whose reply an object is, None if no provider's."""
    if not any(key in body for key in _USAGE):
        return None
    return next((dialect for dialect in RAW if dialect.claims(body)), None)


def body_in(row: Object) -> tuple[str, Dialect] | None:
    """The key of an object under which a provider's reply stands, and whose it is."""
    for key in BODY_KEYS:
        if key in row and (body := body_of(row[key])) is not None and (dialect := raw_dialect(body)) is not None:
            return key, dialect
    return None


def row_of(bindings: Iterable[Binding], found: Object) -> Row:
    """The values of one object as a row: "slot" or "slot:unit", the first choice that has one."""
    row: Row = {}
    done: set[str] = set()
    for binding in bindings:
        if binding.slot not in done and (value := admit(binding, value_at(found, binding.path))) is not None:
            done.add(binding.slot)
            row[_key(binding)] = value
    return row


@lru_cache(maxsize=4096)
def _key(binding: Binding) -> str:
    return f"{binding.slot}:{binding.unit}" if binding.unit else binding.slot


def body_row(value: Any) -> Row:
    """The row of a provider's reply (or JSON text of it), empty where it is none."""
    body = body_of(value)
    dialect = None if body is None else raw_dialect(body)
    return {} if body is None or dialect is None else row_of(dialect.bindings, body)


def object_in(found: Mapping[str, Any], key: str) -> Object:
    """The object under a key (or JSON text of it), empty where there is none."""
    return body_of(found.get(key)) or {}
