"""What Elasticsearch, Splunk and Loki put around the lines of a log."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.log_samples import calls_in, lines

CALL = {"model": "gpt-4o-mini", "prompt_tokens": 100, "completion_tokens": 20, "latency_ms": 900}
NS = "1773479820000000000"
SEARCH = {"took": 3, "hits": {"total": {"value": 1}, "hits": [{"_index": "logs", "_id": "1", "_source": CALL}]}}
QUERY = {"resultType": "streams", "result": [{"stream": {"app": "x"}, "values": [[NS, json.dumps(CALL)]]}]}


@pytest.mark.parametrize(
    "stored",
    [
        {"_index": "logs", "_id": "1", "_score": 1.0, "_source": CALL},
        SEARCH,
        {"preview": False, "offset": 0, "result": {"_raw": json.dumps(CALL), "_time": "2026-03-14T09:17:00.000+00:00"}},
        {"preview": False, "lastrow": True, "result": {**CALL, "_time": "2026-03-14T09:17:00.000+00:00"}},
        {"status": "success", "data": QUERY},
        {"streams": [{"stream": {"app": "x"}, "values": [[NS, json.dumps(CALL)], [NS, "started"]]}]},
        {"labels": {"app": "x"}, "line": json.dumps(CALL), "timestamp": "2026-03-14T09:17:00Z"},
    ],
    ids=["hit", "search", "splunk raw", "splunk fields", "loki query", "loki push", "logcli"],
)
def test_calls_are_found_inside_what_a_store_of_logs_exports(stored: Any) -> None:
    (call,) = calls_in(lines(stored))
    assert (call["model"], call["prompt_tokens"], call["latency_ms"]) == ("gpt-4o-mini", 100, 900)
    if "_source" not in json.dumps(stored):
        assert call["timestamp"] == "2026-03-14T09:17:00Z"


def test_a_reply_of_a_provider_inside_a_hit_is_read_as_one() -> None:
    reply = {"id": "c", "object": "chat.completion", "created": 1_773_479_820, "model": "gpt-5", "choices": []}
    hit = {"_index": "logs", "_source": {**reply, "usage": {"prompt_tokens": 9, "completion_tokens": 2}}}
    (call,) = calls_in(lines(hit))
    assert (call["request_id"], call["total_tokens"]) == ("c", 11)
