"""Evaluation logs of Inspect (`.json`): the events of a model, sample by sample."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from llmmon.formats.dialect import Dialect, Feed, Object, Row, bind, marks
from llmmon.formats.dialects.bodies import object_in, row_of

_EVENT: Final = bind(
    request_id="uuid",
    start="timestamp",
    end="completed",
    latency="output.time:s",
    model=("output.model", "model"),
    model_requested="model",
    prompt_tokens="output.usage.input_tokens",
    completion_tokens="output.usage.output_tokens",
    total_tokens="output.usage.total_tokens",
    cached_tokens="output.usage.input_tokens_cache_read",
    cache_write_tokens="output.usage.input_tokens_cache_write",
    reasoning_tokens="output.usage.reasoning_tokens",
    cost="output.usage.total_cost:usd",
    finish_reason="output.choices.0.stop_reason",
    error=("error", "output.error"),
    prompt="input",
    output="output.choices.0.message.content",
)


def _open() -> Feed:
    def calls(found: Object) -> list[Row]:
        about = object_in(found, "eval")
        return [row for sample in _listed(found, "samples") for row in _calls(sample, about)]

    return calls


def _listed(found: Object, key: str) -> list[Object]:
    listed = found.get(key)
    return [each for each in listed if isinstance(each, dict)] if isinstance(listed, list) else []


def _calls(sample: Object, about: Object) -> Iterator[Row]:
    for event in _listed(sample, "events"):
        if event.get("event") == "model" and event.get("pending") is not True:
            row = row_of(_EVENT, event)
            cached: Any = {"cache_hit": 1} if event.get("cache") == "read" else {}
            shared = {
                "feature": about.get("task"),
                "session": sample.get("uuid"),
                "tags": object_in(sample, "metadata"),
            }
            failed = bool(event.get("error") or object_in(event, "output").get("error"))
            yield row | cached | shared | ({"failed": True} if failed else {"success": True})


INSPECT: Final = Dialect(
    name="inspect",
    title="Inspect evaluation logs",
    marks=marks("version status eval plan samples"),
    proof=lambda found: isinstance(found["eval"], dict) and isinstance(found["samples"], list),
    open=_open,
)
