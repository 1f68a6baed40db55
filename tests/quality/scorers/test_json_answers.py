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
