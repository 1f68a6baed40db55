"""Is the answer the JSON that was asked for? Tolerant of fences and of prose around it, and says which."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from itertools import islice
from typing import Any, Final

import orjson

from llmmon.quality.scorers.flags import UNKNOWN, Signal

_MOST_CHARS: Final = 2_000_000
_MOST_STARTS: Final = 20

ASKED: Final = re.compile(
    r"(?i)\b(?:in|as|into|with|using|valid|following|return|output|respond|respond with|produce|give|single|only|"
    r"wrapped in|formatted as|format)\b[^.\n]{0,40}?\bjson\b|\bjson (?:format|object|output|array|schema|response"
    r"|document)\b"
    r"|```json"
)
# A program that deals with JSON is asked for, not JSON.
PROGRAM: Final = re.compile(
    r"(?i)\b(?:write|create|make|build|implement|develop|show|give)\b[^.\n]{0,40}"
    r"\b(?:script|program|function|code|class|method|app|application|module|endpoint|server|api|parser|query|regex|schema)\b"
)
ABOUT: Final = re.compile(
    r"(?i)\b(?:what is|explain|parse|parsing|read|convert|load|from|difference)\b[^.\n]{0,30}\bjson\b"
)
ONLY: Final = re.compile(r"(?i)\b(?:respond|reply|answer|return|output|response)\b[^.\n]{0,40}\bjson\b|```json")
SKELETON: Final = re.compile(r"```json[ \t]{0,4}\n(.{2,4000}?)```", re.DOTALL)
SKELETON_KEY: Final = re.compile(r'"([^"\n\\]{1,60})"\s{0,3}:')
CODE: Final = re.compile(
    r"```[ \t]{0,4}(?i:python|py|javascript|js|jsx|typescript|ts|tsx|bash|sh|shell|zsh|powershell|java|kotlin|scala"
    r"|go|rust"
    r"|c|cpp|c\+\+|c#|csharp|ruby|rb|php|perl|swift|r|sql|html|css|xml|yaml|yml|toml|hcl|dockerfile|lua|dart|vb)\b"
)
FENCE: Final = re.compile(r"```[ \t]{0,4}[\w+-]{0,12}[ \t]{0,4}\r?\n")
START: Final = re.compile(r"[{\[]")


def judge_json(prompt: str | None, output: str, schema: object) -> Signal:
    """invalid_json of one answer; unknown where no JSON was asked for. `detail` is the form found, or the fault."""
    required = required_keys(schema)
    logged = required is not None
    if required is None:
        if not prompt or not asks_for_json(prompt):
            return UNKNOWN
        required = skeleton_keys(prompt)
    form, value = _read(output[:_MOST_CHARS], required)
    if form == "broken" and not logged and CODE.search(output):
        return UNKNOWN  # a program that deals with JSON
    if value is not None and (fault := schema_fault(value, schema)):
        return Signal(_STRENGTH["schema"], (), fault)
    return Signal(_STRENGTH[form], (), form)


_STRENGTH: Final = {
    "strict": 0.0,
    "fenced": 0.05,
    "embedded": 0.2,
    "lenient": 0.35,
    "keys missing": 0.8,
    "schema": 0.85,
    "broken": 0.95,
}


def asks_for_json(prompt: str) -> bool:
    """Whether the prompt asks for an answer in JSON, rather than about JSON."""
    ends = prompt if len(prompt) < 8_000 else f"{prompt[:4_000]}\n{prompt[-4_000:]}"
    if "json" not in ends.lower() or not ASKED.search(ends):
        return False
    if PROGRAM.search(ends) and not ONLY.search(ends):
        return False
    return "```json" in ends or not ABOUT.search(ends) or re.search(r"(?i)\bjson (?:format|object)\b", ends) is not None


def required_keys(schema: object) -> tuple[str, ...] | None:
    """The keys that a schema, response_format or list of keys requires; None where there is none of these."""
    if isinstance(schema, (str, bytes)):
        try:
            schema = orjson.loads(schema)
        except orjson.JSONDecodeError:
            return None
    if isinstance(schema, (list, tuple)):
        return tuple(key for key in schema if isinstance(key, str))
    return _keys_of(schema) if isinstance(schema, Mapping) else None


def _keys_of(schema: Mapping[Any, Any]) -> tuple[str, ...] | None:
    if schema.get("type") == "text":
        return None
    for name in ("json_schema", "schema"):
        if isinstance(schema.get(name), Mapping):
            return _keys_of(schema[name])
    required = schema.get("required")
    return tuple(key for key in required if isinstance(key, str)) if isinstance(required, list) else ()


def schema_fault(value: Any, schema: object) -> str:
    """Where and how a value breaks a JSON schema, such as `$.items[0].price: type`; empty where it does not.

    Only a schema that says more than keys is checked, and only where the package jsonschema is installed. References to
    other documents are not followed, and regular expressions of a schema are not run.
    """
    inner = _inner(schema)
    if inner is None or not inner.keys() & {"type", "properties", "items", "anyOf", "oneOf", "allOf", "enum", "$ref"}:
        return ""
    check = _checker(orjson.dumps(inner, option=orjson.OPT_SORT_KEYS).decode())
    return "" if check is None else check(value)


def _inner(schema: object) -> Mapping[Any, Any] | None:
    """The JSON schema in a `response_format`, a tool, or text."""
    for _ in range(4):
        if isinstance(schema, (str, bytes)):
            try:
                schema = orjson.loads(schema)
            except orjson.JSONDecodeError:
                return None
        if not isinstance(schema, Mapping):
            return None
        names = ("json_schema", "schema", "function", "parameters", "input_schema")
        nested = next((schema[name] for name in names if isinstance(schema.get(name), Mapping)), None)
        if nested is None:
            return None if schema.get("type") in ("json_object", "json_schema", "text", "function") else schema
        schema = nested
    return None


@lru_cache(maxsize=256)
def _checker(text: str) -> Callable[[Any], str] | None:
    """What checks values against this schema; None where it is none, or jsonschema is not installed."""
    try:
        from jsonschema import Draft202012Validator, exceptions, validators  # type: ignore[import-untyped]  # no types
        from referencing.exceptions import Unresolvable
    except ModuleNotFoundError:
        return None
    schema = orjson.loads(text)

    def unchecked(*_: Any) -> Iterator[Any]:
        return iter(())

    try:
        Draft202012Validator.check_schema(schema)
    except (exceptions.SchemaError, RecursionError):
        return None
    kind = validators.extend(Draft202012Validator, {"pattern": unchecked, "patternProperties": unchecked})
    validator = kind(schema)

    def check(value: Any) -> str:
        try:
            error = next(validator.iter_errors(value), None)
        except (Unresolvable, RecursionError, TypeError, ValueError):
            return ""
        return "" if error is None else f"{error.json_path}: {error.validator}"

    return check


def skeleton_keys(prompt: str) -> tuple[str, ...]:
    """The keys of the last JSON example in the prompt, where it is a form to fill in."""
    blocks = SKELETON.findall(prompt[-8_000:])
    if not blocks or not re.search(r"_{2}|\.{3}|<|\$\{|string|your", blocks[-1]):
        return ()
    try:
        value = orjson.loads(blocks[-1])
    except orjson.JSONDecodeError:
        return tuple(dict.fromkeys(SKELETON_KEY.findall(blocks[-1])))
    return tuple(value) if isinstance(value, dict) else ()


def json_form(output: str, required: tuple[str, ...] = ()) -> str:
    """How the answer holds JSON with these keys: strict, fenced, embedded, lenient, keys missing or broken.

    lenient: only with control characters inside strings, which most parsers refuse.
    """
    return _read(output, required)[0]


def _read(output: str, required: tuple[str, ...]) -> tuple[str, Any]:
    """The form, and the value where it holds the keys."""
    text = output.strip().lstrip("\ufeff")
    without_keys = False
    for form, value in _readings(text):
        if isinstance(value, (dict, list)):
            if not required or (isinstance(value, dict) and all(key in value for key in required)):
                return form, value
            without_keys = True
    return "keys missing" if without_keys else "broken", None


def _readings(text: str) -> Iterator[tuple[str, Any]]:
    try:
        yield "strict", orjson.loads(text.encode("utf-8", "replace"))
        return
    except orjson.JSONDecodeError:
        pass
    fenced = [_decode(text, match.end()) for match in islice(FENCE.finditer(text), _MOST_STARTS)]
    yield from (("fenced" if form == "embedded" else form, value) for form, value, _ in filter(None, fenced))
    at, tried = 0, 0
    while tried < _MOST_STARTS and (match := START.search(text, at)):
        tried += 1
        found = _decode(text, match.start())
        at = match.start() + 1
        if found and found[1] and found[2] - match.start() >= 0.2 * len(text):
            yield found[0], found[1]
            at = found[2]


_STRICT: Final = json.JSONDecoder()
_LENIENT: Final = json.JSONDecoder(strict=False)
OPENING: Final = re.compile(r"\s{0,40}")


def _decode(text: str, at: int) -> tuple[str, Any, int] | None:
    start = OPENING.match(text, at)
    at = start.end() if start else at
    for form, decoder in (("embedded", _STRICT), ("lenient", _LENIENT)):
        try:
            value, end = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            continue
        return form, value, end
    return None
