"""The replies of providers (OpenAI, Anthropic, Gemini) wherever they stand: on their own, or in a log's fields."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, Final

from llmmon.formats import replier
from llmmon.formats.dialect import Object, Row
from llmmon.formats.mapping import Binding, admit, embedded, value_at

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


def body_of(value: Any) -> Object | None:
    """The object in a value, which may be JSON in a text; None if it is neither."""
    found = embedded(value) if isinstance(value, str) else value
    return found if isinstance(found, dict) else None


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
    dialect = None if body is None else replier(body)
    return {} if body is None or dialect is None else row_of(dialect.bindings, body)


def object_in(found: Mapping[str, Any], key: str) -> Object:
    """The object under a key (or JSON text of it), empty where there is none."""
    return body_of(found.get(key)) or {}
