"""OpenAI's replies as they are, and those of servers that speak the same: vLLM, llama.cpp, OpenRouter."""

from __future__ import annotations

from typing import Final

from llmmon.formats.dialect import Dialect, Object, below, bind, marks

_REFUSED: Final = "=,*=refusal"  # whatever text is there says that the model refused
_COMMON: Final = bind(
    request_id="id",
    start="created:s",
    model="model",
    provider="provider",
    service_tier="service_tier",
    prompt_tokens="usage.prompt_tokens",
    completion_tokens="usage.completion_tokens",
    total_tokens="usage.total_tokens",
    cached_tokens=("usage.prompt_tokens_details.cached_tokens", "usage.prompt_cache_hit_tokens"),
    cache_write_tokens="usage.prompt_tokens_details.cache_write_tokens",
    reasoning_tokens=("usage.completion_tokens_details.reasoning_tokens", "usage.reasoning_tokens"),
    input_audio_tokens="usage.prompt_tokens_details.audio_tokens",
    input_image_tokens="usage.prompt_tokens_details.image_tokens",
    input_video_tokens="usage.prompt_tokens_details.video_tokens",
    cache_audio_read_tokens="usage.prompt_tokens_details.cached_tokens_details.audio_tokens",
    cache_image_read_tokens="usage.prompt_tokens_details.cached_tokens_details.image_tokens",
    output_audio_tokens="usage.completion_tokens_details.audio_tokens",
    output_image_tokens="usage.completion_tokens_details.image_tokens",
    output_citation_tokens="usage.citation_tokens:exclusive",  # Perplexity
    # Perplexity, OpenRouter, xAI
    web_searches=(
        "usage.num_search_queries",
        "usage.server_tool_use.web_search_requests",
        "usage.server_tool_use_details.web_search_requests",
        "usage.num_sources_used",
    ),
    # OpenRouter, Perplexity, xAI
    cost=("usage.cost:usd", "usage.cost.total_cost:usd", "usage.cost_in_usd_ticks:usd_ticks"),
    cost_upstream="usage.cost_details.upstream_inference_cost:usd",
    own_key="usage.is_byok",
    finish_reason=("choices.0.message.refusal:" + _REFUSED, "choices.0.finish_reason"),
    error="error",
    # llama.cpp and vLLM say how long the parts took
    latency_part=(
        "timings.prompt_ms:ms",
        "timings.predicted_ms:ms",
        "metrics.queue_time_ms:ms",
        "metrics.time_to_first_token_ms:ms",
        "metrics.generation_time_ms:ms",
    ),
    ttft="metrics.time_to_first_token_ms:ms",
)
_LACKS: Final = "no latency, no user (a reply as the API gives it); times are to the second"

OPENAI_CHAT: Final = Dialect(
    name="openai_chat",
    title="OpenAI chat completions",
    marks=marks("object=chat.completion"),
    bindings=(
        *_COMMON,
        *bind(output=("choices.0.message.content", "choices.0.message.refusal")),
    ),
    lacks=_LACKS,
)
OPENAI_COMPLETION: Final = Dialect(
    name="openai_completion",
    title="OpenAI text completions",
    marks=marks("object=text_completion"),
    bindings=(*_COMMON, *bind(output="choices.0.text")),
    lacks=_LACKS,
)
OPENAI_CHUNK: Final = Dialect(
    name="openai_chunk",
    title="OpenAI chat completion chunks",
    marks=marks("object=chat.completion.chunk"),
    bindings=(
        *_COMMON,
        *bind(
            prompt_tokens="x_groq.usage.prompt_tokens",
            completion_tokens="x_groq.usage.completion_tokens",
            total_tokens="x_groq.usage.total_tokens",
            output="choices.0.delta.content:filled",
        ),
    ),
    repeats=True,
    lacks="a call is many lines; tokens only where the stream was asked to include usage, no latency",
)


def _is_embedding(found: Object) -> bool:
    return isinstance(found["usage"], dict) and isinstance(found["data"], list)


OPENAI_EMBEDDING: Final = Dialect(
    name="openai_embedding",
    title="OpenAI embeddings",
    marks=marks("object=list data usage model"),
    proof=_is_embedding,
    bindings=bind(
        model="model",
        operation="data.0.object",
        prompt_tokens="usage.prompt_tokens",
        total_tokens="usage.total_tokens",
        success="object:present",
    ),
    lacks="no time, no latency",
)
OPENAI_RESPONSE: Final = Dialect(
    name="openai_responses",
    title="OpenAI responses",
    marks=marks("object=response"),
    bindings=bind(
        request_id="id",
        start="created_at:s",
        end="completed_at:s",
        model="model",
        service_tier="service_tier",
        prompt_tokens="usage.input_tokens",
        completion_tokens="usage.output_tokens",
        total_tokens="usage.total_tokens",
        cached_tokens="usage.input_tokens_details.cached_tokens",
        cache_write_tokens="usage.input_tokens_details.cache_write_tokens",
        reasoning_tokens="usage.output_tokens_details.reasoning_tokens",
        input_audio_tokens="usage.input_tokens_details.audio_tokens",
        input_image_tokens="usage.input_tokens_details.image_tokens",
        output_audio_tokens="usage.output_tokens_details.audio_tokens",
        output_image_tokens="usage.output_tokens_details.image_tokens",
        # opening and reading a page that was found costs nothing more
        web_searches=(
            "tool_usage.web_search.num_requests",
            "usage.tool_calls_details.search_web.invocation",
            "output.#[type=web_search_call,action/type!=open_page|find_in_page]",
        ),
        storage_searches="output.#[type=file_search_call]",
        code_executions="output.#[type=code_interpreter_call]",
        cost=("usage.cost:usd", "usage.cost.total_cost:usd", "usage.cost_in_usd_ticks:usd_ticks"),
        cost_upstream="usage.cost_details.upstream_inference_cost:usd",
        own_key="usage.is_byok",
        outcome="status",
        error="error",
        finish_reason="incomplete_details.reason",
        user="user",
        session="conversation.id",
        output="output",
    ),
    lacks="latency only to the second, and only where completed_at is there",
    nests=True,  # a reply in the background is asked for until it is there
)


# the last event of a stream holds the whole reply
OPENAI_EVENT: Final = Dialect(
    name="openai_event",
    title="OpenAI responses as events",
    marks=marks(
        "type sequence_number",
        "response type=response.created|response.in_progress|response.completed|response.incomplete|response.failed",
    ),
    only=marks("type=response.completed|response.incomplete|response.failed response/id")[0],
    bindings=below("response", OPENAI_RESPONSE.bindings),
    nests=True,
    lacks="latency only to the second, and only where completed_at is there",
)


def _is_error(found: Object) -> bool:
    error = found["error"]
    return isinstance(error, dict) and bool(error.keys() & {"message", "type", "code"}) and found.keys() <= _ERROR_KEYS


_ERROR_KEYS: Final = frozenset({"error", "type", "request_id", "object", "status_code"})
API_ERROR: Final = Dialect(
    name="api_error",
    title="Error replies of a provider",
    marks=marks("error"),
    proof=_is_error,
    bindings=bind(request_id="request_id", error="error", status_code=("status_code", "error.code")),
    lacks="no time, model or tokens",
)
