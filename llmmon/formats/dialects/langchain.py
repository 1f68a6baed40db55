"""LangChain's stream of events (`astream_events`): the ends of calls to models."""

from __future__ import annotations

from typing import Final

from llmmon.formats.dialect import Dialect, bind, marks


def _output(path: str) -> tuple[str, ...]:
    """Where a part of the message stands: as it is, as LangChain serializes it, or in the older form of events."""
    generation = "data.output.generations.0.0.message"
    return tuple(f"{at}.{path}" for at in ("data.output", "data.output.kwargs", generation, f"{generation}.kwargs"))


LANGCHAIN: Final = Dialect(
    name="langchain",
    title="LangChain events",
    marks=marks(
        "event=on_chat_model_start|on_chat_model_stream|on_chat_model_end|on_llm_start|on_llm_stream|on_llm_end "
        "run_id name data"
    ),
    only=marks("event=on_chat_model_end|on_llm_end")[0],
    bindings=bind(
        call_key="run_id",
        request_id="run_id",
        end=("timestamp", "time", "ts"),
        latency=("latency_ms:ms", "duration_ms:ms"),
        model=(*_output("response_metadata.model_name"), *_output("response_metadata.model"), "metadata.ls_model_name"),
        provider="metadata.ls_provider",
        prompt_tokens=_output("usage_metadata.input_tokens"),
        completion_tokens=_output("usage_metadata.output_tokens"),
        total_tokens=_output("usage_metadata.total_tokens"),
        cached_tokens=_output("usage_metadata.input_token_details.cache_read"),
        cache_write_tokens=_output("usage_metadata.input_token_details.cache_creation"),
        reasoning_tokens=_output("usage_metadata.output_token_details.reasoning"),
        finish_reason=(*_output("response_metadata.finish_reason"), *_output("response_metadata.stop_reason")),
        success="event:present",
        prompt="data.input.messages",
        output=(*_output("content"), "data.output:filled"),
    ),
    tags_at=(("metadata",),),
    nests=True,
    lacks="a time and a latency only where the program that writes the events adds them",
)
