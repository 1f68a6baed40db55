"""JSON answers: the form that was found, and the keys that a schema requires."""

from __future__ import annotations

import pytest

from llmmon.quality.scorers.json_answers import json_form, judge_json, required_keys

SCHEMA = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object", "required": ["a", "b"]}}}


@pytest.mark.parametrize(
    ("form", "output"),
    [
        ("strict", '{"a": 1}'),
        ("strict", "[1, 2]"),
        ("fenced", '```json\n{"a": 1}\n```'),
        ("fenced", 'Here:\n```\n{"a": 1}\n```\nDone.'),
        ("embedded", 'The answer is {"a": 1} as asked.'),
        ("lenient", '{"a": "one\ntwo"}'),
        ("broken", '{"a": 1'),
        ("broken", "{'a': 1}"),
        ("broken", "no JSON at all"),
        ("broken", ""),
    ],
)
def test_the_form_is_named(form: str, output: str) -> None:
    assert json_form(output) == form


def test_required_keys_are_read_from_every_kind_of_schema() -> None:
    assert required_keys(["a", "b"]) == ("a", "b")
    assert required_keys({"type": "object", "required": ["a"]}) == ("a",)
    assert required_keys(SCHEMA) == ("a", "b")
    assert required_keys('{"required": ["a"]}') == ("a",)
    assert required_keys({"type": "json_object"}) == ()
    assert required_keys({"type": "text"}) is None
    assert required_keys(None) is None
    assert required_keys("not json") is None


def test_a_missing_key_is_a_fault() -> None:
    assert judge_json(None, '{"a": 1, "b": 2}', SCHEMA).strength == 0.0
    finding = judge_json(None, '{"a": 1}', SCHEMA)
    assert finding.detail == "keys missing"
    assert (finding.strength or 0) > 0.5


def test_a_form_to_fill_in_gives_the_keys() -> None:
    prompt = 'Use this JSON format:\n```json\n{\n "city": "___",\n "year": "___"\n}\n```'
    assert judge_json(prompt, '{"city": "Rome"}', None).detail == "keys missing"
    assert judge_json(prompt, '{"city": "Rome", "year": "1960"}', None).detail == "strict"


def test_deep_nesting_is_survived() -> None:
    assert json_form("[" * 100_000) == "broken"


ORDER = {
    "type": "object",
    "required": ["items"],
    "additionalProperties": False,
    "properties": {
        "items": {"type": "array", "items": {"type": "object", "properties": {"price": {"type": "number"}}}}
    },
}


@pytest.mark.parametrize("logged", [ORDER, {"type": "json_schema", "json_schema": {"name": "order", "schema": ORDER}}])
def test_a_value_is_checked_against_the_whole_schema(logged: dict[str, object]) -> None:
    assert judge_json(None, '{"items": [{"price": 2.5}]}', logged).detail == "strict"
    assert judge_json(None, '{"items": [{"price": "two"}]}', logged).detail == "$.items[0].price: type"
    assert judge_json(None, '{"items": [], "more": 1}', logged).detail == "$: additionalProperties"
    assert (judge_json(None, '{"items": [{"price": "two"}]}', logged).strength or 0) > 0.5


def test_a_schema_that_cannot_be_checked_is_no_fault() -> None:
    for schema in ({"type": 7}, {"$ref": "https://example.com/order.json"}, {"type": "object", "pattern": "(a+)+$"}):
        assert judge_json(None, '{"a": 1}', schema).detail == "strict"


def test_a_program_on_json_is_no_json() -> None:
    asked = "Write a Python script that saves a dictionary in JSON format to a file."
    assert judge_json(asked, "```python\nimport json\n```", None).strength is None
