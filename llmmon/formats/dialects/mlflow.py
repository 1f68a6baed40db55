"""MLflow's traces: spans in one object, their attributes JSON in texts."""

from __future__ import annotations

from typing import Any, Final

from llmmon.formats.dialect import Dialect, Feed, Object, Row, bind, marks
from llmmon.formats.dialects.bodies import body_row, object_in, row_of
from llmmon.formats.dialects.genai import nested
from llmmon.formats.mapping import embedded

_CALLS: Final = frozenset({"CHAT_MODEL", "LLM", "EMBEDDING"})
_USAGE: Final = bind(
    prompt_tokens="input_tokens",
    completion_tokens="output_tokens",
    total_tokens="total_tokens",
    cached_tokens="cache_read_input_tokens",
    cache_write_tokens="cache_creation_input_tokens",
)


def _plain(value: Any) -> Any:
    """An attribute's value, which is JSON in a text."""
    if not isinstance(value, str):
        return value
    inner = embedded(value)
    return value.strip('"') if inner is None else inner


def _open() -> Feed:
    def calls(found: Object) -> list[Row]:
        info, data = object_in(found, "info"), object_in(found, "data") or found
        trace = info.get("trace_id") or info.get("request_id") or found.get("trace_id")
        listed = data.get("spans")
        spans = [each for each in listed if isinstance(each, dict)] if isinstance(listed, list) else []
        return nested(lambda _: trace, [_span(span, trace, info) for span in spans])

    return calls


def _span(span: Object, trace: Any, info: Object) -> tuple[Any, Any, Row | None]:
    attributes = {key: _plain(value) for key, value in object_in(span, "attributes").items()}
    identity, parent = span.get("span_id"), span.get("parent_span_id") or span.get("parent_id")
    kind = attributes.get("mlflow.spanType")
    if not isinstance(kind, str) or kind not in _CALLS:
        return identity, parent, None
    asked, answered = attributes.get("mlflow.spanInputs"), attributes.get("mlflow.spanOutputs")
    status = object_in(span, "status")
    code = status.get("code") or span.get("status_code")
    about = object_in(info, "trace_metadata") or object_in(info, "request_metadata")
    row = body_row(answered) if isinstance(answered, dict) else {}
    row |= row_of(_USAGE, object_in(attributes, "mlflow.chat.tokenUsage"))
    model = attributes.get("mlflow.llm.model") or (asked.get("model") if isinstance(asked, dict) else None)
    row |= {
        "request_id": identity,
        "start:ns": span.get("start_time_unix_nano") or span.get("start_time"),
        "end:ns": span.get("end_time_unix_nano") or span.get("end_time"),
        "model": model or row.get("model"),
        "provider": attributes.get("mlflow.llm.provider"),
        "operation": kind,
        "cost:usd": object_in(attributes, "mlflow.llm.cost").get("total_cost"),
        "trace": trace,
        "session": about.get("mlflow.trace.session"),
        "user": about.get("mlflow.trace.user"),
        "feature": span.get("name"),
        "prompt": asked,
        "output": answered,
        "tags": object_in(info, "tags"),
        "success": not (isinstance(code, str) and code.endswith("ERROR")),
        "error_message": status.get("message") or span.get("status_message") or None,
    }
    return identity, parent, row


MLFLOW: Final = Dialect(
    name="mlflow",
    title="MLflow traces",
    marks=marks("info data"),
    proof=lambda found: (
        isinstance(found["info"], dict)
        and isinstance(found["data"], dict)
        and isinstance(found["data"].get("spans"), list)
    ),
    open=_open,
    nests=True,
)
