"""Attributes of spans -> calls: OpenTelemetry's `gen_ai.*` (current and earlier), OpenLLMetry, OpenInference."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from llmmon.formats.dialect import Row, Step
from llmmon.formats.mapping import CALL_KEY, CALL_PARENT
from llmmon.formats.messages import spoken_steps

Attributes = Mapping[str, Any]

# slot -> attributes, the first that is there wins
_CHOICES: Final[dict[str, tuple[str, ...]]] = {
    "provider": ("gen_ai.provider.name", "gen_ai.system", "llm.provider", "llm.system", "ai.model.provider"),
    "model": (
        "gen_ai.response.model",
        "llm.response.model_name",
        "gen_ai.request.model",
        "llm.request.model_name",
        "llm.model_name",
        "embedding.model_name",
        "ai.response.model",
        "ai.model.id",
    ),
    "model_requested": ("gen_ai.request.model", "llm.request.model_name"),
    "operation": ("gen_ai.operation.name", "llm.request.type", "openinference.span.kind"),
    "prompt_tokens": (
        "gen_ai.usage.input_tokens",
        "gen_ai.usage.prompt_tokens",
        "llm.token_count.prompt",
        "ai.usage.inputTokens",
        "ai.usage.promptTokens",
        "ai.usage.tokens",  # of embeddings
    ),
    "completion_tokens": (
        "gen_ai.usage.output_tokens",
        "gen_ai.usage.completion_tokens",
        "llm.token_count.completion",
        "ai.usage.outputTokens",
        "ai.usage.completionTokens",
    ),
    "total_tokens": ("gen_ai.usage.total_tokens", "llm.usage.total_tokens", "llm.token_count.total"),
    "cached_tokens": (
        "gen_ai.usage.cache_read.input_tokens",
        "gen_ai.usage.cache_read_input_tokens",
        "gen_ai.usage.input_cached_tokens",
        "gen_ai.usage.cached_tokens",
        "gen_ai.usage.cached_input_tokens",
        "gen_ai.usage.input_tokens.cached",
        "ai.usage.cachedInputTokens",
        "llm.token_count.prompt_details.cache_read",
        "llm.token_count.prompt_details.cache_input",
    ),
    "cache_write_tokens": (
        "gen_ai.usage.cache_creation.input_tokens",
        "gen_ai.usage.cache_creation_input_tokens",
        "llm.token_count.prompt_details.cache_write",
    ),
    "reasoning_tokens": (
        "gen_ai.usage.reasoning.output_tokens",
        "gen_ai.usage.reasoning_tokens",
        "gen_ai.usage.output_reasoning_tokens",
        "llm.usage.reasoning_tokens",
        "ai.usage.reasoningTokens",
        "llm.token_count.completion_details.reasoning",
    ),
    "input_audio_tokens": ("gen_ai.usage.audio.input_tokens", "llm.token_count.prompt_details.audio"),
    "input_image_tokens": ("gen_ai.usage.image.input_tokens",),
    "output_audio_tokens": ("gen_ai.usage.audio.output_tokens", "llm.token_count.completion_details.audio"),
    "output_image_tokens": ("gen_ai.usage.image.output_tokens",),
    "ttft:s": ("gen_ai.response.time_to_first_chunk", "gen_ai.server.time_to_first_token"),
    "ttft:ms": ("ai.response.msToFirstChunk",),
    "cost:usd": ("llm.cost.total", "gen_ai.usage.cost", "operation.cost"),
    "cost_input:usd": ("llm.cost.prompt",),
    "cost_output:usd": ("llm.cost.completion",),
    "service_tier": ("gen_ai.openai.response.service_tier", "openai.response.service_tier"),
    "finish_reason": ("gen_ai.response.finish_reasons", "gen_ai.completion.0.finish_reason", "llm.finish_reason"),
    "session": (
        "gen_ai.conversation.id",
        "session.id",
        "traceloop.association.properties.session_id",
        "traceloop.association.properties.chat_id",
    ),
    "subagent": ("gen_ai.agent.id", "gen_ai.agent.name"),
    "user": ("user.id", "enduser.id", "gen_ai.user", "llm.user", "traceloop.association.properties.user_id"),
    "feature": ("traceloop.workflow.name", "gen_ai.agent.name", "traceloop.entity.name"),
    "prompt_version": ("gen_ai.prompt.version", "llm.prompt_template.version"),
    "request_id": ("gen_ai.response.id",),
    "error_type": ("error.type", "exception.type"),
    "error_message": ("exception.message",),
    "prompt:json": (
        "gen_ai.input.messages",
        "gen_ai.prompt",
        "input.value",
        "traceloop.entity.input",
        "ai.prompt.messages",
    ),
    "output:json": (
        "gen_ai.output.messages",
        "gen_ai.completion",
        "output.value",
        "traceloop.entity.output",
        "ai.response.text",
    ),
}


def _keys() -> dict[str, tuple[str, ...]]:
    keys: dict[str, tuple[str, ...]] = {}
    for slot, names in _CHOICES.items():
        name, colon, unit = slot.partition(":")
        for rank, attribute in enumerate(names):
            keys[attribute] = (*keys.get(attribute, ()), f"{name}@{rank}{colon}{unit}")
    return keys


_KEYS: Final = _keys()
_KINDS: Final = frozenset({"LLM", "EMBEDDING"})
_NO_CALL: Final = frozenset({"invoke_agent", "create_agent", "execute_tool", "invoke_workflow", "retrieval"})
_SIGNS: Final = (
    "gen_ai.request.model",
    "llm.request.type",
    "gen_ai.usage.input_tokens",
    "gen_ai.usage.output_tokens",
    "gen_ai.usage.prompt_tokens",
    "gen_ai.usage.completion_tokens",
)


def is_call(attributes: Attributes) -> bool:
    """Whether a span with these attributes is a call, and not an agent, a workflow or a tool around calls."""
    kind = attributes.get("openinference.span.kind")
    if kind is not None:
        return kind in _KINDS if isinstance(kind, str) else False
    operation = attributes.get("gen_ai.operation.name")
    if (isinstance(operation, str) and operation in _NO_CALL) or "traceloop.span.kind" in attributes:
        return False
    return any(sign in attributes for sign in _SIGNS) or _is_sdk_call(attributes.get("ai.operationId"))


def _is_sdk_call(operation: Any) -> bool:
    """Whether an operation of the AI SDK is a request itself, such as `ai.generateText.doGenerate`."""
    return isinstance(operation, str) and operation.rpartition(".")[2] in {"doGenerate", "doStream", "doEmbed"}


_TOOLS: Final = {
    "tool": ("gen_ai.tool.name", "tool.name", "tool_call.function.name", "traceloop.entity.name", "mcp.tool.name"),
    "id": ("gen_ai.tool.call.id", "tool_call.id"),
    "arguments": (
        *("gen_ai.tool.call.arguments", "tool.parameters", "tool_call.function.arguments", "input.value"),
        *("traceloop.entity.input", "gen_ai.tool.parameters"),
    ),
    "result": ("gen_ai.tool.call.result", "output.value", "traceloop.entity.output", "gen_ai.tool.output"),
    "server": ("mcp.server.name", "gen_ai.tool.server.name", "tool.server"),
    "session": _CHOICES["session"],
    "subagent": _CHOICES["subagent"],
    "error": ("error.type", "exception.type"),
}
_TOOL_KINDS: Final = ("TOOL", "tool", "execute_tool")
_TEXT_SLOTS: Final = frozenset({"prompt:json", "output:json", "arguments", "result"})


def _read_attributes() -> frozenset[str]:
    slots = {**_CHOICES, **_TOOLS}
    texts = {name for slot in _TEXT_SLOTS for name in slots[slot]}
    named = {name for slot, names in slots.items() if slot not in _TEXT_SLOTS for name in names}
    kinds = {"openinference.span.kind", "traceloop.span.kind", "ai.operationId", "exception.type", "exception.message"}
    return frozenset((named - texts) | kinds | set(_SIGNS))


# every attribute that is read of a span and that is no prompt, answer, argument or result of a tool
READ_ATTRIBUTES: Final = _read_attributes()


def tool_step(
    attributes: Attributes, *, start: Any, end: Any, failed: bool, trace: Any, span: Any, named: Any = None
) -> Step | None:
    """The tool call that a span is, None for any other span; `named` is the span's own name."""
    kinds = (attributes.get(key) for key in ("gen_ai.operation.name", "openinference.span.kind", "traceloop.span.kind"))
    if not any(isinstance(kind, str) and kind in _TOOL_KINDS for kind in kinds):
        return None
    found: dict[str, Any] = {slot: next((attributes[key] for key in keys if attributes.get(key) is not None), None)
             for slot, keys in _TOOLS.items()}  # fmt: skip
    if found["tool"] is None and isinstance(named, str):
        found["tool"] = named.removeprefix("execute_tool ")
    if found["id"] is None:
        found["id"] = f"{trace}:{span}"
    if found["result"] is None:
        found["result"] = ""
    return Step(**found, trace=trace, start=start, end=end, failed=failed or found["error"] is not None)


def spoken(attributes: Attributes, row: Row) -> Iterator[Step]:
    """The tool calls that the messages of a call's span tell of."""
    asked, answered = attributes.get("gen_ai.input.messages"), attributes.get("gen_ai.output.messages")
    if asked is None and answered is None:
        return
    around = {
        "session": next((row[key] for key in row if key.startswith("session@")), None),
        "trace": row.get("trace"),
        "request_id": next((row[key] for key in ("request_id@0", "request_id@9") if row.get(key) is not None), None),
        "start": next((row[key] for key in row if key.partition(":")[0] == "start"), None),
        "end": next((row[key] for key in row if key.partition(":")[0] == "end"), None),
    }
    yield from spoken_steps({"messages": asked, "output": answered}, around)


def call_of(attributes: Attributes) -> Row:
    """The slots that the attributes of a call fill."""
    row: Row = {}
    for name, value in attributes.items():
        for key in _KEYS.get(name, ()):
            row[key] = value
    if isinstance(reasons := row.get("finish_reason@0"), list):
        row["finish_reason@0"] = reasons[0] if reasons else None
    if "prompt@0:json" not in row and "gen_ai.prompt.0.content" in attributes:
        row["prompt"] = _numbered(attributes, "gen_ai.prompt")
    if "output@0:json" not in row and "gen_ai.completion.0.content" in attributes:
        row["output"] = _numbered(attributes, "gen_ai.completion")
    return row


def _numbered(attributes: Attributes, stem: str) -> list[Any]:
    found: list[Any] = []
    while (text := attributes.get(f"{stem}.{len(found)}.content")) is not None and len(found) < 1000:
        found.append(text)
    return found


def add_event(row: Row, name: Any, moment: Any, attributes: Attributes) -> None:
    """What an event of a span tells: the first token, an exception, prompt and answer."""
    if name == "First Token Stream Event":
        row.setdefault("first_output_at", moment)
    elif name == "exception":
        row.setdefault("error_type@1", attributes.get("exception.type"))
        row.setdefault("error_message@1", attributes.get("exception.message"))
    elif name in ("gen_ai.content.prompt", "gen_ai.content.completion"):
        slot = "prompt" if name == "gen_ai.content.prompt" else "output"
        row.setdefault(f"{slot}@1:json", attributes.get("gen_ai.prompt" if slot == "prompt" else "gen_ai.completion"))


def settle(row: Row, *, failed: bool, message: Any) -> None:
    """Success or failure, from the span's status and its error attributes."""
    failed = failed or row.get("error_type@0") is not None
    row["success"] = not failed
    if failed and isinstance(message, str) and message:
        row["error_message@0"] = message


def flattened(attributes: Mapping[str, Any], depth: int = 8) -> dict[str, Any]:
    """Nested attributes by their dotted names; those that are flat already stay as they are."""
    flat: dict[str, Any] = {}
    stack: list[tuple[str, Mapping[str, Any], int]] = [("", attributes, depth)]
    while stack:
        prefix, found, left = stack.pop()
        for key, value in found.items():
            if isinstance(value, dict) and left:
                stack.append((f"{prefix}{key}.", value, left - 1))
            else:
                flat[prefix + key] = value
    return flat


Span = tuple[Any, Any, Row | None]  # its id, that of the span around it, its row if it is a call
_COUNTS: Final = ("prompt_tokens@", "completion_tokens@", "total_tokens@")


def nested(trace_of: Callable[[Row], Any], found: Iterable[Span]) -> list[Row]:
    """The calls of one batch of spans, without those that stand around others and count the same.

    Each has as its `call_parent` the nearest call around it, or what is around the batch: it may come later.
    """
    spans = list(found)
    around = {span: parent for span, parent, _ in spans if isinstance(span, str)}
    rows = {span: row for span, _, row in spans if row is not None and isinstance(span, str)}
    outer: dict[str, bool] = {}  # whether a call within the call carries tokens
    parents: dict[int, str] = {}
    for at, (_, parent, row) in enumerate(spans):
        if row is None:
            continue
        outside = parent
        for _ in range(_DEEPEST):
            if not isinstance(outside, str) or outside not in around or outside in rows:
                break
            outside = around[outside]
        if isinstance(outside, str) and outside:
            parents[at] = outside
            outer[outside] = outer.get(outside, False) or _counts(row)
    calls = []
    for at, (span, _, row) in enumerate(spans):
        if row is None or (isinstance(span, str) and span in outer and (outer[span] or not _counts(row))):
            continue
        trace = trace_of(row)
        row[CALL_KEY] = f"{trace}:{span}" if span else None
        row[CALL_PARENT] = f"{trace}:{parents[at]}" if at in parents else None
        calls.append(row)
    return calls


_DEEPEST: Final = 64  # spans around spans


def _counts(row: Row) -> bool:
    return any(key.startswith(_COUNTS) for key in row)
