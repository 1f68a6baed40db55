"""Braintrust's spans: rows of a project's log or of an experiment."""

from __future__ import annotations

from typing import Final

from llmmon.formats.dialect import Dialect, bind, marks

BRAINTRUST: Final = Dialect(
    name="braintrust",
    title="Braintrust spans",
    marks=marks("span_attributes root_span_id metrics"),
    only=marks("span_attributes/type=llm")[0],
    bindings=bind(
        call_key="span_id",
        call_parent="span_parents.0",
        request_id="id",
        start=("metrics.start:s", "created"),
        end="metrics.end:s",
        ttft="metrics.time_to_first_token:s",
        model="metadata.model",
        provider="metadata.provider",
        prompt_tokens="metrics.prompt_tokens",
        completion_tokens="metrics.completion_tokens",
        total_tokens="metrics.tokens",
        cached_tokens="metrics.prompt_cached_tokens",
        cache_write_tokens="metrics.prompt_cache_creation_tokens",
        reasoning_tokens="metrics.completion_reasoning_tokens",
        cost="metrics.estimated_cost:usd",
        cache_hit="metrics.cached",
        error="error",
        trace="root_span_id",
        feature="span_attributes.name",
        prompt="input",
        output="output",
        expected="expected",
    ),
    tags_at=(("metadata",),),
    nests=True,
)
