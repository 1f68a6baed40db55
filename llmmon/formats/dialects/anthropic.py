"""Anthropic's messages as they are, and the results of message batches."""

from __future__ import annotations

from typing import Final

from llmmon.formats.dialect import Dialect, bind, marks
from llmmon.formats.mapping import Binding

# every step of a reply is billed, but the sums beside the steps leave those of compaction out;
# an advisor is another model
_STEPS: Final = "usage.iterations.[type!=advisor_message]"
# cache reads and writes are not in input_tokens
USAGE: Final[tuple[Binding, ...]] = bind(
    prompt_tokens=(f"{_STEPS}.input_tokens:exclusive", "usage.input_tokens:exclusive"),
    completion_tokens=(f"{_STEPS}.output_tokens", "usage.output_tokens"),
    cached_tokens=(f"{_STEPS}.cache_read_input_tokens", "usage.cache_read_input_tokens"),
    cache_write_tokens=(f"{_STEPS}.cache_creation_input_tokens", "usage.cache_creation_input_tokens"),
    cache_write_1h_tokens=(
        f"{_STEPS}.cache_creation.ephemeral_1h_input_tokens",
        "usage.cache_creation.ephemeral_1h_input_tokens",
    ),
    reasoning_tokens="usage.output_tokens_details.thinking_tokens",
    web_searches="usage.server_tool_use.web_search_requests",
    service_tier="usage.service_tier",
    speed="usage.speed",
)
ANTHROPIC_MESSAGE: Final = Dialect(
    name="anthropic",
    title="Anthropic messages",
    marks=marks("type=message stop_reason"),
    bindings=(*bind(request_id="id", model="model", finish_reason="stop_reason", output="content"), *USAGE),
    lacks="no time, no latency",
)
