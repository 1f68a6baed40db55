"""Bytes of a span -> columns: chunks of whole lines in, blocks of canonical calls out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
import numpy as np

from llmmon.columns import EMPTY, Columns, concat
from llmmon.formats import claimant
from llmmon.formats.accounting import Accounting, Reject
from llmmon.formats.aliases import accepts, bindings_at, paths_of
from llmmon.formats.canonical import Interners, canonical
from llmmon.formats.dialect import Dialect, Feed, Object
from llmmon.formats.lines import UnreadableError, object_of
from llmmon.formats.mapping import Binding, Path, value_at
from llmmon.formats.mapping import Mapping as FieldMapping
from llmmon.formats.rows import Rows
from llmmon.formats.slots import SLOTS, sources_of
from llmmon.formats.typed import UNREADABLE, TypedDecoder, admit, compile_decoder

GENERIC: Final = "generic"
_OUTCOME_FIELDS: Final = frozenset({"status", "error_type", "error_message", "status_code"})
BLOCK_BYTES: Final = 8 << 20  # input that becomes one block of columns


class ReadPlan(msgspec.Struct, frozen=True):
    """How a file is read, decided once from its head; small and picklable.

    `mappings` has one entry for each data dialect seen; with `typed` the first is tried on every line.
    `fields` are the record's fields that the command needs; `label` is what home-made rows are counted as.
    """

    mappings: tuple[FieldMapping, ...]
    fields: frozenset[str]
    typed: bool = True
    label: str = GENERIC
    forced: str | None = None
    naive: str = "UTC"
    splittable: bool = True  # False: the file must be read from its beginning, as one span

    def mapping(self, dialect: str) -> FieldMapping | None:
        """The mapping for a dialect, None where the head had none of it."""
        return next((mapping for mapping in self.mappings if mapping.dialect == dialect), None)


class Block(msgspec.Struct, eq=False):
    """A block of calls, with the metric samples found among them."""

    columns: Columns
    samples: list[dict[str, Any]] = msgspec.field(default_factory=list)


class SpanReader:
    """Reads the chunks of one span, in order, and gives blocks of columns.

    A pure function of the bytes and the plan: how they are cut into chunks changes nothing.
    """

    def __init__(self, plan: ReadPlan, interners: Interners) -> None:
        self.plan = plan
        self.accounting = Accounting()
        self._interners = interners
        self._slots = sources_of(plan.fields)
        self._typed = self._compile()
        self._rows: dict[str, Rows] = {}
        self._samples: list[dict[str, Any]] = []
        self._feeds: dict[str, Feed] = {}
        self._generic = _GenericRows(plan, self._slots)
        self._bytes_in_block = 0
        self._bytes_before = 0

    def _compile(self) -> TypedDecoder | None:
        return compile_decoder(self.plan.mappings[0], self._slots) if self.plan.typed else None

    def feed(self, chunk: Any) -> Block | None:
        """Read a chunk of whole lines (bytes-like); a block when enough has come together."""
        self._read(chunk)
        size = len(chunk)
        self._bytes_before += size
        self._bytes_in_block += size
        return self.flush() if self._bytes_in_block >= BLOCK_BYTES else None

    def flush(self) -> Block:
        """What has been read and not yet been given."""
        self._bytes_in_block = 0
        parts = [self._canonical(name, rows) for name, rows in self._rows.items() if rows.size]
        columns = concat(parts) if parts else EMPTY
        if len(parts) > 1 and columns.positions is not None:
            columns = columns.take(np.argsort(columns.positions, kind="stable"))
        samples, self._samples = self._samples, []
        return Block(columns, samples)

    def _canonical(self, dialect: str, rows: Rows) -> Columns:
        raw = rows.take()
        outcome = bool(_OUTCOME_FIELDS & self.plan.fields)
        found = canonical(raw, self._interners, any_row=dialect != GENERIC, outcome=outcome)
        dropped = raw.size - found.size
        if dropped:  # home-made rows that carry nothing of a call
            self.accounting.used -= dropped
            self.accounting.skipped += dropped
        return found

    def _read(self, chunk: Any) -> None:
        newlines = int(np.count_nonzero(np.frombuffer(chunk, np.uint8) == 10))
        lines = newlines + (len(chunk) > 0 and chunk[-1] != 10)
        if self._typed is not None and self._read_typed(self._typed, chunk, lines):
            return
        self._read_each(bytes(chunk).split(b"\n")[:lines])

    def _read_typed(self, typed: TypedDecoder, chunk: Any, lines: int) -> bool:
        """The whole chunk by the typed decoder, if every line fits it."""
        try:
            rows = typed.decode_lines(chunk)
        except UNREADABLE:
            return False
        if len(rows) != lines:
            return False
        columns = typed.columns(rows)
        if not self._complete(columns):
            return False
        start = self.accounting.lines
        self._add_typed(typed, columns, rows, np.arange(start, start + lines))
        self.accounting.lines += lines
        return True

    def _complete(self, columns: Mapping[Binding, Sequence[Any]]) -> bool:
        required = self.plan.mappings[0].required
        return all(None not in column for binding, column in columns.items() if binding.path in required)

    def _add_typed(
        self, typed: TypedDecoder, columns: dict[Binding, Sequence[Any]], rows: Sequence[Any], lines: Any
    ) -> None:
        if not rows:
            return
        dialect = self.plan.mappings[0].dialect
        has_output = self._presence(typed, columns, len(rows))
        for binding in typed.output_at:
            columns.pop(binding, None)
        self._rows_of(dialect).add_columns(columns, lines, has_output)
        self.accounting.used += len(rows)
        self.accounting.read_as(self._label(dialect), len(rows))

    def _presence(self, typed: TypedDecoder, columns: Mapping[Binding, Sequence[Any]], size: int) -> list[bool] | None:
        """Whether each row has output text, looked at only where that decides something."""
        decided = all(
            any(binding.slot == slot and None not in column for binding, column in columns.items())
            for slot in ("model", "completion_tokens")
        )
        if decided or not typed.output_at:
            return None
        raw = [columns[binding] for binding in typed.output_at if binding in columns]
        return [any(_is_there(column[row]) for column in raw) for row in range(size)]

    def _read_each(self, lines: Sequence[bytes]) -> None:
        """Line by line: the typed decoder where it fits, else whatever dialect claims the object."""
        typed_rows: list[Any] = []
        typed_lines: list[int] = []
        others: dict[str, tuple[list[dict[Binding, Any]], list[int]]] = {}
        offset = 0
        for line in lines:
            number = self.accounting.lines
            self.accounting.lines += 1
            if not line.strip():
                self.accounting.blank += 1
            elif (row := self._typed_row(line)) is not None:
                typed_rows.append(row)
                typed_lines.append(number)
            else:
                self._read_line(line, number, offset, others)
            offset += len(line) + 1
        if self._typed is not None and typed_rows:
            columns = self._typed.columns(typed_rows)
            self._add_typed(self._typed, columns, typed_rows, np.array(typed_lines))
        for dialect, (found, at) in others.items():
            self._rows_of(dialect).add_rows(found, at)

    def _typed_row(self, line: bytes) -> Any:
        if self._typed is None:
            return None
        try:
            row = self._typed.decode(line)
        except UNREADABLE:
            return None
        if self.plan.mappings[0].required and not self._complete(self._typed.columns([row])):
            return None
        return row

    def _read_line(
        self,
        line: bytes,
        number: int,
        offset: int,
        others: dict[str, tuple[list[dict[Binding, Any]], list[int]]],
    ) -> None:
        try:
            found = object_of(line)
        except UnreadableError as error:
            self._reject(number, offset, str(error))
            return
        dialect = claimant(found, self.plan.forced)
        name = GENERIC if dialect is None else dialect.name
        rows = self._calls(dialect, found)
        self.accounting.read_as(self._label(name), 1)
        if not rows:
            self.accounting.skipped += 1
            return
        self.accounting.used += 1
        if dialect is not None and dialect.samples:
            self._samples.extend({**row, "line": number} for row in rows)
            self.accounting.samples += len(rows)
            return
        into = others.setdefault(name, ([], []))
        into[0].extend(self._bound(rows) if dialect is not None and dialect.open else rows)
        into[1].extend([number] * len(rows))

    def _calls(self, dialect: Dialect | None, found: Object) -> list[dict[Any, Any]]:
        if dialect is None:
            return [row] if (row := self._generic.row(found)) else []
        if dialect.open is not None:
            if dialect.name not in self._feeds:
                self._feeds[dialect.name] = dialect.open()
            return list(self._feeds[dialect.name](found))
        return [_data_row(dialect, found, self._slots)]

    def _bound(self, rows: Sequence[dict[str, Any]]) -> list[dict[Binding, Any]]:
        return [
            {
                binding: value
                for key, value in row.items()
                if (binding := _code_binding(key)).slot in self._slots or binding.slot in SLOTS
            }
            for row in rows
        ]

    def _label(self, dialect: str) -> str:
        return self.plan.label if dialect == GENERIC else dialect

    def _reject(self, number: int, offset: int, reason: str) -> None:
        self.accounting.rejected += 1
        self.accounting.rejects.append(Reject(number, self._bytes_before + offset, reason))

    def _rows_of(self, dialect: str) -> Rows:
        if dialect not in self._rows:
            self._rows[dialect] = Rows(self._interners, self.plan.naive)
        return self._rows[dialect]


def _is_there(raw: Any) -> bool:
    return raw is not None and bytes(raw) != b"null"


def _code_binding(key: str) -> Binding:
    slot, _, unit = key.partition(":")
    return Binding(slot, 0, (key,), unit)


def _data_row(dialect: Dialect, found: Object, slots: frozenset[str]) -> dict[Binding, Any]:
    return {
        binding: value
        for binding in dialect.bindings
        if binding.slot in slots and (value := admit(binding, value_at(found, binding.path))) is not None
    }


class _GenericRows:
    """Home-made objects, read by the file's mapping where its head had the key, by name where not."""

    def __init__(self, plan: ReadPlan, slots: frozenset[str]) -> None:
        mapping = plan.mapping(GENERIC)
        self._slots = slots | {"output"}
        self._bound: dict[Path, list[Binding]] = {}
        self._always: list[Binding] = []
        for binding in mapping.bindings if mapping else ():
            self._bound.setdefault(binding.path, []).append(binding)
            if binding.rank < 0 or binding.slot not in SLOTS:
                self._always.append(binding)
        self._known = {path for path, _ in mapping.shape} if mapping else set()

    def row(self, found: Object) -> dict[Binding, Any]:
        """The values of one object by binding."""
        row: dict[Binding, Any] = {}
        for path in paths_of(found):
            for binding in self._bindings(path):
                value = admit(binding, value_at(found, path))
                if value is not None and binding.slot in self._slots and accepts(binding, value):
                    row[binding] = value
        for binding in self._always:
            value = admit(binding, value_at(found, binding.path))
            if value is not None and binding.slot in self._slots:
                row[binding] = value
        return row

    def _bindings(self, path: Path) -> Sequence[Binding]:
        return self._bound.get(path, ()) if path in self._known else bindings_at(path)
