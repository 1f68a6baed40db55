"""`score --send` against servers that check what the platforms document: fields, ids, keys, refusals."""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from llmmon.errors import UsageError
from llmmon.http_client import Retries
from llmmon.quality.platforms import PLATFORMS, Sent, feedback_of, platform_of, send
from tests.conftest import Run
from tests.support.judge_server import Answer, Behaviour, judge_server

RUN, TRACE, SPAN = "018f4b0a-0000-7000-8000-000000000001", "018f4b0a-0000-7000-8000-000000000002", "b7ad6b7169203331"
FAST = Retries(attempts=2, timeout_s=5, first_wait_s=0.01, longest_wait_s=0.05)
TEXT = {"type": "string", "minLength": 1}
SCORE = {"type": "number", "minimum": 0, "maximum": 1}


def obj(required: str, **properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": required.split(),
        "additionalProperties": False,
    }


def listed(each: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "minItems": 1, "items": each}


# the requests as the public API references describe them
SCHEMAS: dict[str, dict[str, Any]] = {
    "langfuse": obj(
        "batch",
        batch=listed(
            obj(
                "id type timestamp body",
                id=TEXT,
                type={"const": "score-create"},
                timestamp={"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$"},
                body=obj(
                    "id traceId name value dataType",
                    id=TEXT,
                    traceId=TEXT,
                    observationId=TEXT,
                    name=TEXT,
                    value=SCORE,
                    dataType={"enum": ["NUMERIC", "BOOLEAN"]},
                    comment=TEXT,
                ),
            )
        ),
    ),
    "langsmith": obj(
        "id run_id key score feedback_source",
        id={"type": "string", "pattern": "^[0-9a-f-]{36}$"},
        run_id={"type": "string", "pattern": "^[0-9a-f-]{36}$"},
        trace_id={"type": "string", "pattern": "^[0-9a-f-]{36}$"},
        key=TEXT,
        score=SCORE,
        comment=TEXT,
        feedback_source=obj("type metadata", type={"enum": ["api", "model"]}, metadata={"type": "object"}),
    ),
    "phoenix": obj(
        "data",
        data=listed(
            obj(
                "span_id name annotator_kind result identifier",
                span_id={"type": "string", "pattern": "^[0-9a-f]{16}$"},
                name=TEXT,
                annotator_kind={"enum": ["HUMAN", "LLM", "CODE"]},
                result=obj("score", label=TEXT, score=SCORE, explanation=TEXT),
                identifier=TEXT,
            )
        ),
    ),
}
PATHS = {
    "langfuse": "/api/public/ingestion",
    "langsmith": "/feedback",
    "phoenix": "/v1/span_annotations?sync=true",
}


def row(**changes: Any) -> dict[str, Any]:
    return {"request_id": RUN, "trace": TRACE, "span": SPAN, "overall": 0.25, "flags": ["refusal"]} | changes


def variables(url: str) -> dict[str, str]:
    return {
        "LANGFUSE_BASE_URL": f"{url}/",
        "LANGFUSE_PUBLIC_KEY": "pk-1",
        "LANGFUSE_SECRET_KEY": "sk-1",
        "LANGSMITH_ENDPOINT": url,
        "LANGSMITH_API_KEY": "ls-1",
        "PHOENIX_COLLECTOR_ENDPOINT": f"{url}/v1/traces",
        "PHOENIX_API_KEY": "px-1",
    }


def deliver(name: str, rows: list[Mapping[str, Any]], behave: Behaviour) -> tuple[Sent, list[Any]]:
    with judge_server(behave) as server:
        base = server.url.removesuffix("/v1")
        return send(platform_of(name), rows, variables(base), FAST), server.seen


@pytest.mark.parametrize("name", PLATFORMS)
def test_what_is_sent_is_what_the_platform_documents(name: str) -> None:
    judged = {"status": "scored", "scores": {"accuracy": 0.5}}
    sent, seen = deliver(name, [row(), row(flags=[], judge=judged)], lambda *_: Answer(body=b"{}"))
    assert (sent.answers, sent.scores, sent.refused, sent.unknown, sent.error) == (2, 4, 0, 0, None)
    for path, _, body in seen:
        assert path == PATHS[name]
        jsonschema.validate(body, SCHEMAS[name])
    assert "llmmon.judge.accuracy" in json.dumps([body for *_, body in seen])


def test_each_platform_gets_its_keys() -> None:
    found = {name: deliver(name, [row()], lambda *_: Answer())[1][0][1] for name in PLATFORMS}
    assert base64.b64decode(found["langfuse"]["authorization"].removeprefix("Basic ")) == b"pk-1:sk-1"
    assert found["langsmith"]["x-api-key"] == "ls-1"
    assert found["phoenix"]["authorization"] == "Bearer px-1"


@pytest.mark.parametrize("name", PLATFORMS)
def test_the_same_scores_have_the_same_ids(name: str) -> None:
    def ids(value: Any) -> set[str]:
        body = value.get("batch", value.get("data", [value]))
        return {each.get("body", each).get("id", each.get("identifier")) for each in body}

    first, second = (deliver(name, [row(flags=[])], lambda *_: Answer())[1][0][2] for _ in range(2))
    assert ids(first) == ids(second) != {None}


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("langfuse", {"request_id": None, "trace": None}),
        ("langsmith", {"request_id": "chatcmpl-1"}),
        ("phoenix", {"span": None, "request_id": "chatcmpl-1"}),
    ],
)
def test_an_answer_without_an_id_of_the_platform_is_counted_and_not_sent(name: str, changes: dict[str, Any]) -> None:
    sent, seen = deliver(name, [row(**changes), row()], lambda *_: Answer())
    assert (sent.answers, sent.unknown, sent.scores) == (1, 1, 2)
    assert "chatcmpl-1" not in json.dumps([body for *_, body in seen])


def test_scores_that_langfuse_refuses_are_counted() -> None:
    reply = {"successes": [{"id": "1", "status": 201}], "errors": [{"id": "2", "status": 400, "message": "no"}]}
    sent, _ = deliver("langfuse", [row()], lambda *_: Answer(207, json.dumps(reply).encode()))
    assert (sent.scores, sent.refused, sent.error) == (1, 1, None)


@pytest.mark.parametrize("name", PLATFORMS)
def test_a_platform_that_refuses_ends_the_run_with_its_status(name: str) -> None:
    sent, seen = deliver(name, [row() for _ in range(2000)], lambda *_: Answer(401))
    assert sent.scores == 0
    assert sent.error is not None
    assert "answered 401" in sent.error
    assert len(seen) <= 8  # requests under way; the others are not tried


def test_a_platform_that_is_busy_for_a_moment_gets_the_scores_in_the_end() -> None:
    sent, seen = deliver("langsmith", [row(flags=[])], lambda n, _: Answer(503 if n == 0 else 200))
    assert (sent.scores, sent.error, len(seen)) == (1, None, 2)


@pytest.mark.parametrize(
    ("name", "variable"), [("langfuse", "LANGFUSE_PUBLIC_KEY"), ("langsmith", "LANGSMITH_API_KEY")]
)
def test_a_missing_key_is_named(name: str, variable: str) -> None:
    with pytest.raises(UsageError, match=variable):
        platform_of(name).address({})


def test_feedback_holds_no_text_of_the_answer() -> None:
    found = feedback_of(row(evidence={"refusal": [[0, 5]]}, flags=["refusal", "secret"]))
    assert [each.name for each in found] == ["llmmon.overall", "llmmon.refusal", "llmmon.secret"]
    assert all(each.comment is None or "secret" not in each.comment for each in found)


def langfuse_log(folder: Path) -> Path:
    log = folder / "langfuse.jsonl"
    call = {
        "id": "obs-1",
        "traceId": "trace-1",
        "type": "GENERATION",
        "startTime": "2026-03-01T10:00:00Z",
        "endTime": "2026-03-01T10:00:02Z",
        "model": "gpt-4o",
        "input": "What is the capital of France?",
        "output": "I'm sorry, but I can't help with that.",
    }
    log.write_text(json.dumps(call) + "\n")
    return log


def test_a_langfuse_export_is_scored_and_sent_back(run: Run, tmp_path: Path) -> None:
    with judge_server(lambda *_: Answer(207, b'{"successes":[],"errors":[]}')) as server:
        env = variables(server.url.removesuffix("/v1"))
        ran = run("score", str(langfuse_log(tmp_path)), "--send", "langfuse", env=env)
    assert ran.code == 0
    assert "sent 2 scores of 1 answer to http://127.0.0.1" in ran.stdout
    bodies = [event["body"] for event in server.seen[0][2]["batch"]]
    assert {(body["traceId"], body["observationId"], body["name"]) for body in bodies} == {
        ("trace-1", "obs-1", "llmmon.overall"),
        ("trace-1", "obs-1", "llmmon.refusal"),
    }


def test_an_outage_ends_with_5_and_says_what_to_do(run: Run, tmp_path: Path) -> None:
    with judge_server(lambda *_: Answer(401)) as server:
        env = variables(server.url.removesuffix("/v1"))
        ran = run("score", str(langfuse_log(tmp_path)), "--send", "langfuse", "-f", "json", env=env)
    assert ran.code == 5
    assert ran.json["data"]["sent"] | {"host": ""} == {
        "platform": "langfuse",
        "host": "",
        "answers": 1,
        "scores": 0,
        "refused": 0,
        "unknown": 0,
        "error": ran.json["data"]["sent"]["error"],
    }
    assert "sk-1" not in ran.stdout + ran.stderr


def test_a_dry_run_prints_the_requests_and_needs_no_key(run: Run, tmp_path: Path) -> None:
    ran = run("score", str(langfuse_log(tmp_path)), "--send", "langfuse", "--dry-run")
    assert ran.code == 0
    (line,) = ran.stdout.splitlines()
    jsonschema.validate(json.loads(line), SCHEMAS["langfuse"])
    assert uuid.UUID(json.loads(line)["batch"][0]["body"]["id"])


def test_a_dry_run_of_nothing_is_refused(run: Run, tmp_path: Path) -> None:
    ran = run("score", str(langfuse_log(tmp_path)), "--dry-run")
    assert (ran.code, "--send langfuse" in ran.stderr) == (2, True)


def test_spans_keep_the_id_that_annotations_need(run: Run, tmp_path: Path) -> None:
    log = tmp_path / "otlp.jsonl"
    pairs = {"gen_ai.request.model": "gpt-4o", "gen_ai.response.id": "chatcmpl-1", "gen_ai.completion": "Paris."}
    span = {
        "traceId": "0af7651916cd43dd8448eb211c80319c",
        "spanId": SPAN,
        "startTimeUnixNano": "1767225600000000000",
        "endTimeUnixNano": "1767225601000000000",
        "attributes": [{"key": key, "value": {"stringValue": value}} for key, value in pairs.items()],
    }
    log.write_text(json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}) + "\n")
    ran = run("score", str(log), "--send", "phoenix", "--dry-run")
    assert [each["span_id"] for each in json.loads(ran.stdout)["data"]] == [SPAN]
