"""Lines of a log -> steps of agents: tool calls, their results, compactions. Read only where a command asks for them.

A dialect that records its tools gives them itself (`Dialect.steps`); in every other, steps are what messages tell:
the tool calls in the answer, and the results at the end of the prompt.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from hashlib import blake2b
from typing import Any, Final

import numpy as np
import orjson

from llmmon.formats import DIALECTS
from llmmon.formats.bound import Interners
from llmmon.formats.detection import ReadPlan
from llmmon.formats.dialect import Dialect, Object, Step, StepFeed
from llmmon.formats.envelopes import objects_in
from llmmon.formats.home_made import GENERIC
from llmmon.formats.json_text import UnreadableError
from llmmon.formats.mapping import Binding, Slot, value_at
from llmmon.formats.messages import failed_inside, home_made_tool, spoken_steps, text_of
from llmmon.formats.timestamps import moments
from llmmon.formats.values import durations, name
from llmmon.metrics.columns import EMPTY, MISSING_TIME, Columns, Names
from llmmon.metrics.steps import COMPACTION, STEP_NAMES, STEP_NUMBERS, TOOL

# what a line with a step holds somewhere
_SIGNS: Final = re.compile(rb"[tT]ool|TOOL|function_?[cCR]|mcp_call|[cC]ompact|shell_call|exec_command")
_PLACES: Final = ("session", "trace", "subagent", "request_id")
_TIMES: Final = ("start", "end")
_LONG_ID: Final = 16  # characters: such an id is one of a kind, a shorter one is so within its session


class StepReader:
    """Reads the steps of one span, line after line; stateful where a dialect of the file is."""

    def __init__(self, plan: ReadPlan, interners: Interners) -> None:
        self._plan = plan
        self._interners = interners
        self._feeds: dict[str, StepFeed] = {}
        self._around: dict[str, dict[str, list[Binding]]] = {}
        self._rows: list[tuple[Any, ...]] = []
        self._lines: list[int] = []

    def read(self, lines: Sequence[bytes], numbers: Sequence[int]) -> None:
        """Take in the steps of lines, each with its number."""
        for line, number in zip(lines, numbers, strict=True):
            if _SIGNS.search(line) is None:
                if self._plan.splittable:
                    continue
                if b"session" not in line and b"id" not in line:
                    continue
            try:
                objects = self._plan.layout.objects_of(line)
            except UnreadableError:
                continue
            for found in objects:
                for dialect, each in objects_in(found, self._plan.forced):
                    for step in self._steps(dialect, each):
                        self._rows.append(self._row(step))
                        self._lines.append(number)

    def _steps(self, dialect: Dialect | None, found: Object) -> Iterable[Step]:
        if dialect is not None and dialect.steps is not None:
            if dialect.name not in self._feeds:
                self._feeds[dialect.name] = dialect.steps()
            return self._feeds[dialect.name](found)
        if dialect is not None and (dialect.open is not None or dialect.samples):
            return ()
        named = GENERIC if dialect is None else dialect.name
        around = self._values_around(named, found)
        steps = list(spoken_steps(found, around))
        if not steps and dialect is None and (step := home_made_tool(found, around)) is not None:
            return (step,)
        return steps

    def _values_around(self, dialect: str, found: Object) -> dict[str, Any]:
        """Where the object stands, and when: by the bindings of its call."""
        if dialect not in self._around:
            mapping = self._plan.mapping(dialect)
            slots: dict[str, list[Binding]] = {}
            for binding in sorted(DIALECTS[dialect].bindings if mapping is None else mapping.bindings):
                if binding.slot in (*_PLACES, *_TIMES, "latency"):
                    slots.setdefault(binding.slot, []).append(binding)
            self._around[dialect] = slots
        values: dict[str, Any] = {}
        for slot, bindings in self._around[dialect].items():
            for binding in bindings:
                value = value_at(found, binding.path)
                if value is not None and not isinstance(value, (dict, list)):
                    is_length = binding.kind is Slot.DURATION
                    values[slot] = float(durations([value], binding.unit or "ms")[0]) if is_length else value
                    break
        return values

    def _row(self, step: Step) -> tuple[Any, ...]:
        arguments, result = step.arguments, step.result
        written = None if arguments is None else _canonical(arguments)
        said = None if result is None else text_of(result)
        place = step.session or step.trace
        inside = None if result is None else float(failed_inside(result))
        return (
            *(name(each) for each in (step.session, step.trace, step.subagent, step.tool)),
            *(name(each) for each in (step.server or server_of(step.tool), step.call, step.error)),
            step.start,
            step.end,
            COMPACTION if step.kind == "compaction" else TOOL,
            None if step.id is None else _key(_identity(step.id, place)),
            step.latency_us,
            None if written is None else _key(written),
            None if written is None else float(len(written)),
            None if said is None else _key(said.encode("utf-8", "replace")),
            None if said is None else float(len(said)),
            None if step.failed is None else float(step.failed),
            inside,
            float(step.spoken),
            None if written is None or not self._plan.step_texts else written.decode("utf-8", "replace"),
            said if self._plan.step_texts else None,
        )

    def take(self) -> Columns:
        """The steps so far; the next ones start afresh."""
        if not self._rows:
            return EMPTY
        lists = list(zip(*self._rows, strict=True))
        size = len(self._rows)
        names = dict(zip(STEP_NAMES, lists[: len(STEP_NAMES)], strict=True))
        starts, ends, *rest = lists[len(STEP_NAMES) :]
        kept = [key for key in STEP_NUMBERS if key != "end"]
        numbers = {key: np.array(values, np.float64) for key, values in zip(kept, rest, strict=False)}
        finished = moments(list(ends), "", self._plan.naive)
        numbers["end"] = np.where(finished == MISSING_TIME, np.nan, finished.astype(np.float64))
        columns = Columns(
            size=size,
            timestamp=moments(list(starts), "", self._plan.naive),
            numbers=numbers,
            names={key: self._named(key, values) for key, values in names.items()},
            texts={"arguments": list(rest[-2]), "result": list(rest[-1])} if self._plan.step_texts else {},
            positions=np.array(self._lines, np.int64),
        )
        self._rows, self._lines = [], []
        return columns

    def _named(self, key: str, values: Sequence[str | None]) -> Names:
        interner = self._interners[f"step {key}"]
        return Names(np.array([interner[value] for value in values], np.int32), interner.values_seen)


def server_of(tool: Any) -> str | None:
    """The MCP server that a tool's name begins with: `mcp__server__tool`; None for other tools."""
    if not isinstance(tool, str):
        return None
    first, _, rest = tool.partition("__")
    if not rest or not first:
        return None
    return rest.rpartition("__")[0] or None if first == "mcp" else first


def _identity(identifier: Any, place: Any) -> bytes:
    text = str(identifier)
    return (text if len(text) >= _LONG_ID else f"{place}\0{text}").encode("utf-8", "replace")


def _key(data: bytes) -> float:
    """A hash that a float holds exactly."""
    return float(int.from_bytes(blake2b(data, digest_size=8).digest()) >> 11)


def _canonical(arguments: Any) -> bytes:
    """Arguments as bytes that do not depend on the order of keys or on spaces."""
    if isinstance(arguments, str):
        if arguments[:1] not in ("{", "["):
            return arguments.encode("utf-8", "replace")
        try:
            arguments = orjson.loads(arguments)
        except orjson.JSONDecodeError:
            return str(arguments).encode("utf-8", "replace")
    try:
        written: bytes = orjson.dumps(arguments, option=orjson.OPT_SORT_KEYS)
        return written
    except (TypeError, orjson.JSONEncodeError):
        return repr(arguments).encode("utf-8", "replace")
