"""Spans an object each: the OpenTelemetry SDK's console exporter, Phoenix's API and its data frames."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

from llmmon.formats.dialect import Dialect, Feed, Object, Row, Step, marks
from llmmon.formats.dialects.bodies import object_in
from llmmon.formats.dialects.genai import Attributes, add_event, call_of, flattened, is_call, settle, spoken, tool_step
from llmmon.formats.mapping import CALL_KEY, CALL_PARENT


def _row(found: Object, attributes: Attributes, *, failed: bool, message: Any) -> Row:
    row = call_of(attributes)
    row |= {"start": found.get("start_time"), "end": found.get("end_time"), "tags": attributes}
    events = found.get("events")
    for event in events if isinstance(events, list) else ():
        if isinstance(event, dict):
            add_event(row, event.get("name"), event.get("timestamp"), object_in(event, "attributes"))
    settle(row, failed=failed, message=message)
    return row


def _console(found: Object) -> list[Row]:
    attributes = object_in(found, "attributes")
    if not is_call(attributes):
        return []
    status, context = object_in(found, "status"), object_in(found, "context")
    row = _row(found, attributes, failed=status.get("status_code") == "ERROR", message=status.get("description"))
    row |= placed(_hex(context.get("trace_id")), _hex(context.get("span_id")), _hex(found.get("parent_id")))
    row["tags"] = (attributes, object_in(object_in(found, "resource"), "attributes"))
    return [row]


def _hex(identifier: Any) -> Any:
    return identifier.removeprefix("0x") if isinstance(identifier, str) else identifier


def _phoenix(found: Object) -> list[Row]:
    context = object_in(found, "context")
    return _phoenix_call(
        found, flattened(object_in(found, "attributes")), context.get("trace_id"), context.get("span_id")
    )


def _phoenix_frame(found: Object) -> list[Row]:
    attributes = {
        key[11:]: value for key, value in found.items() if key.startswith("attributes.") and value is not None
    }
    return _phoenix_call(found, flattened(attributes), found.get("context.trace_id"), found.get("context.span_id"))


def _phoenix_call(found: Object, attributes: dict[str, Any], trace: Any, span: Any) -> list[Row]:
    attributes = {"openinference.span.kind": found.get("span_kind"), **attributes}
    if not is_call(attributes):
        return []
    row = _row(found, attributes, failed=found.get("status_code") == "ERROR", message=found.get("status_message"))
    return [row | placed(trace, span, found.get("parent_id"))]


def _steps_of(found: Object, attributes: Attributes, trace: Any, span: Any, *, failed: bool) -> Iterator[Step]:
    step = tool_step(
        attributes,
        start=found.get("start_time"),
        end=found.get("end_time"),
        failed=failed,
        trace=trace,
        span=span,
        named=found.get("name"),
    )
    if step is not None:
        yield step
    elif is_call(attributes):
        yield from spoken(attributes, _row(found, attributes, failed=False, message=None) | {"trace": trace})


def _console_steps(found: Object) -> Iterator[Step]:
    context, status = object_in(found, "context"), object_in(found, "status")
    trace, span = _hex(context.get("trace_id")), _hex(context.get("span_id"))
    failed = status.get("status_code") == "ERROR"
    return _steps_of(found, object_in(found, "attributes"), trace, span, failed=failed)


def _phoenix_steps(found: Object) -> Iterator[Step]:
    context = object_in(found, "context")
    attributes = {"openinference.span.kind": found.get("span_kind"), **flattened(object_in(found, "attributes"))}
    failed = found.get("status_code") == "ERROR"
    return _steps_of(found, attributes, context.get("trace_id"), context.get("span_id"), failed=failed)


def _frame_steps(found: Object) -> Iterator[Step]:
    flat = {key[11:]: value for key, value in found.items() if key.startswith("attributes.") and value is not None}
    attributes = {"openinference.span.kind": found.get("span_kind"), **flattened(flat)}
    failed = found.get("status_code") == "ERROR"
    return _steps_of(found, attributes, found.get("context.trace_id"), found.get("context.span_id"), failed=failed)


def placed(trace: Any, span: Any, parent: Any) -> Row:
    """Where a span stands: its trace, its id, and the keys that tell whether it is around another."""
    return {
        "trace": trace,
        "span": span,
        "request_id@9": span,
        CALL_KEY: f"{trace}:{span}" if span else None,
        CALL_PARENT: f"{trace}:{parent}" if parent else None,
    }


def _opening(calls: Callable[[Object], list[Row]]) -> Callable[[], Feed]:
    return lambda: calls


OTEL_CONSOLE: Final = Dialect(
    name="otel_console",
    title="OpenTelemetry console exporter",
    marks=marks("context status attributes start_time"),
    open=_opening(_console),
    steps=lambda: _console_steps,
    nests=True,
)
PHOENIX: Final = Dialect(
    name="phoenix",
    title="Phoenix spans",
    marks=marks("context span_kind status_code attributes"),
    open=_opening(_phoenix),
    steps=lambda: _phoenix_steps,
    nests=True,
)
PHOENIX_FRAME: Final = Dialect(
    name="phoenix_dataframe",
    title="Phoenix data frame",
    marks=marks("context.span_id span_kind start_time"),
    open=_opening(_phoenix_frame),
    steps=lambda: _frame_steps,
    nests=True,
)
