"""promptfoo's results: one document of an evaluation, or a line for each result."""

from __future__ import annotations

from typing import Any, Final

from llmmon.formats.dialect import Dialect, Feed, Object, Row, bind, marks
from llmmon.formats.dialects.bodies import object_in, row_of

_RESULT: Final = bind(
    request_id="id",
    prompt_tokens="response.tokenUsage.prompt",
    completion_tokens="response.tokenUsage.completion",
    total_tokens="response.tokenUsage.total",
    reasoning_tokens="response.tokenUsage.completionDetails.reasoning",
    cached_tokens="response.tokenUsage.completionDetails.cacheReadInputTokens",
    cost=("response.cost:usd", "cost:usd"),
    latency="latencyMs:ms",
    cache_hit="response.cached",
    finish_reason="response.finishReason",
    quality_score="score",
    prompt="prompt.raw",
    output="response.output",
    feature="description",
)
_OPERATIONS: Final = frozenset(
    "chat messages completion completions responses embedding embeddings assistant realtime image moderation".split()
)
_ERROR: Final = 2  # why a result failed: 1 is an assertion, which says nothing of the call


def _row(found: Object, moment: Any) -> Row:
    provider = found.get("provider")
    named = provider.get("id") if isinstance(provider, dict) else provider
    service, _, model = named.partition(":") if isinstance(named, str) else ("", "", "")
    first, colon, rest = model.partition(":")
    response = object_in(found, "response")
    row = row_of(_RESULT, found) | {
        "start": moment,
        "provider": service or None,
        "model": rest if colon and first in _OPERATIONS else model or None,
        "operation": first if colon and first in _OPERATIONS else None,
        "tags": (object_in(found, "metadata"), object_in(found, "vars")),
    }
    if not model:
        row |= {"model": named, "provider": None}
    error = response.get("error") or found.get("error")
    failed = bool(response.get("error")) or found.get("failureReason") == _ERROR
    failed = failed or (bool(error) and "failureReason" not in found and response.get("output") is None)
    return row | ({"failed": True, "error": error} if failed else {"success": True})


def _open() -> Feed:
    def calls(found: Object) -> list[Row]:
        results = object_in(found, "results")
        listed = results.get("results")
        return (
            [_row(each, results.get("timestamp")) for each in listed]
            if isinstance(listed, list)
            else [_row(found, None)]
        )

    return calls


def _is_evaluation(found: Object) -> bool:
    if "results" not in found:
        return True
    listed = object_in(found, "results").get("results")
    return isinstance(listed, list) and all(isinstance(each, dict) for each in listed)


PROMPTFOO: Final = Dialect(
    name="promptfoo",
    title="promptfoo results",
    marks=marks("evalId results", "latencyMs provider testCase promptIdx", "latencyMs provider response gradingResult"),
    proof=_is_evaluation,
    open=_open,
    lacks="times are those of the whole evaluation",
)
