"""Ollama's replies as they are, streamed or not: lengths of time are in nanoseconds."""

from __future__ import annotations

from typing import Final

from llmmon.formats.dialect import Dialect, bind, marks

_LENGTHS: Final = bind(provider="model:*=ollama", latency="total_duration:ns")

OLLAMA: Final = Dialect(
    name="ollama",
    title="Ollama replies",
    marks=marks("model created_at done"),
    only=marks("eval_count")[0],  # the pieces of a stream before the last, and a model that is only loaded, have none
    bindings=(
        *_LENGTHS,
        *bind(
            end="created_at",
            model="model",
            prompt_tokens="prompt_eval_count",
            completion_tokens="eval_count",
            finish_reason="done_reason",
            output=("message.content:filled", "response:filled"),
        ),
    ),
    lacks="no user; the answer's text only where it was not streamed",
)
OLLAMA_EMBEDDING: Final = Dialect(
    name="ollama_embedding",
    title="Ollama embeddings",
    marks=marks("model embeddings total_duration"),
    bindings=(
        *_LENGTHS,
        *bind(model="model", operation="model:*=embedding", prompt_tokens="prompt_eval_count"),
    ),
    lacks="no time",
)
