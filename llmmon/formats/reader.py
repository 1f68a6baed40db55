"""Bytes of a span -> columns: chunks in, blocks of canonical calls out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from io import BytesIO
from itertools import accumulate, compress
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np

from llmmon.formats import DIALECTS
from llmmon.formats.accounting import LONGEST_LINE, Accounting, LongLine, Reject
from llmmon.formats.blocks import Rows
from llmmon.formats.canonical import Interners, canonical
from llmmon.formats.csv_table import Element
from llmmon.formats.detection import ReadPlan
from llmmon.formats.dialect import Dialect, Feed, Object, Row, bindings_of
from llmmon.formats.envelopes import objects_in
from llmmon.formats.home_made import GENERIC, tag_bindings
from llmmon.formats.home_made_rows import HomeMadeRows
from llmmon.formats.json_text import BLANK, UnreadableError
from llmmon.formats.mapping import CALL_KEY, CALL_SIGNS, Binding, FieldMapping, Keys, Picker, passes
from llmmon.formats.tabular.reader import Table, UniformReader
from llmmon.formats.typed import TypedDecoder, compile_decoder, decoded_at_once, decoded_each
from llmmon.metrics.columns import EMPTY, BoolArray, Columns, IntArray, concat
from llmmon.metrics.record import TAG_PREFIX

if TYPE_CHECKING:
    from llmmon.formats.steps import StepReader


class ObjectReader:
    """Reads one line after the other; stateful where a dialect of the file is."""

    def __init__(self, plan: ReadPlan) -> None:
        self._plan = plan
        self._keys: Keys = {}
        self._home_made = HomeMadeRows(plan.mapping(GENERIC), plan.slots(GENERIC), self._keys, plan.root)
        self._slots = plan.slots("")
        self._tags = [slot.removeprefix(TAG_PREFIX) for slot in self._slots if slot.startswith(TAG_PREFIX)]
        self._feeds: dict[str, Feed] = {}
        self._pickers: dict[str, Picker] = {}
        self._overridden = Picker((binding for binding in plan.extra if binding.rank < 0), self._keys)
        self._new: dict[str, int] = {}  # dialects that the plan does not know: lines so far
        self.met: list[bytes] = []

    def read(self, line: bytes) -> list[tuple[str, list[Any]]]:
        """Per object on the line, the name of its dialect and its rows; none for a line of column names.

        What the keys of a row mean is said by `binding`; those of metric samples are plain. Raises `UnreadableError`.
        """
        read = []
        for found in self._plan.layout.objects_of(line):
            for dialect, each in objects_in(found, self._plan.forced):
                read.append((GENERIC if dialect is None else dialect.name, self._rows(dialect, each)))
                if self._is_new(dialect, each) and len(line) <= _LONGEST_MET and len(self.met) < _MOST_MET:
                    self.met.append(bytes(line))
        return read

    def _is_new(self, dialect: Dialect | None, found: Object) -> bool:
        """Whether an object is one of the first of a kind that the plan was not made for."""
        if dialect is None:
            return self._home_made.is_unlike(found)
        if dialect.name in self._plan.dialects or self._new.get(dialect.name, 0) >= _MOST_ALIKE:
            return False
        self._new[dialect.name] = self._new.get(dialect.name, 0) + 1
        return True

    def _rows(self, dialect: Dialect | None, found: Object) -> list[Any]:
        if dialect is None:
            return [row] if (row := self._home_made.row(found)) else []
        if not passes(dialect.only, found):
            return []
        if dialect.open is None:
            return [self._data_row(dialect, found)]
        if dialect.name not in self._feeds:
            self._feeds[dialect.name] = dialect.open()
        rows = list(self._feeds[dialect.name](found))
        return rows if dialect.samples else [self._code_row(dialect, row, found) for row in rows]

    def _data_row(self, dialect: Dialect, found: Object) -> Row:
        if dialect.name not in self._pickers:
            self._pickers[dialect.name] = Picker(self._needed(dialect), self._keys)
        return self._pickers[dialect.name](found)

    def _needed(self, dialect: Dialect) -> list[Binding]:
        """The bindings to read, as the file's mapping has them."""
        mapping: FieldMapping | None = self._plan.mapping(dialect.name)
        bindings: Iterable[Binding] = bindings_of(dialect)
        if mapping is not None:
            bindings = mapping.bindings
        else:
            overrides = (binding for binding in self._plan.extra if binding.rank < 0)
            bindings = (*overrides, *tag_bindings(self._tags, dialect.tags_at), *bindings)
        slots = self._plan.slots(dialect.name)
        return [binding for binding in bindings if binding.slot in slots]

    def _code_row(self, dialect: Dialect, row: Row, found: Object) -> Row:
        tags = row.pop("tags", ())
        if (dialect.repeats or dialect.nests) and CALL_KEY not in row:
            row[CALL_KEY] = row.get("request_id")
        if self._plan.extra:
            row |= self._overridden(found) | self._tagged(tags)
        return row

    def binding(self, key: str) -> Binding | None:
        """The binding of a row's key, such as `slot@rank:unit`; None if the slot is not needed."""
        if key not in self._keys:
            name, _, unit = key.partition(":")
            slot, _, rank = name.partition("@")
            self._keys[key] = Binding(slot, int(rank or 0), (key,), unit) if slot in self._slots else None
        return self._keys[key]

    def _tagged(self, tags: Any) -> Row:
        places = [place for place in (tags if isinstance(tags, tuple) else (tags,)) if isinstance(place, dict)]
        row: Row = {}
        for tag in self._tags:
            value = next((place[tag] for place in places if place.get(tag) is not None), None)
            if isinstance(value, (str, int, float)):
                key = TAG_PREFIX + tag
                self._keys.setdefault(key, Binding(key, 0, (tag,)))  # a tag's name may hold any sign
                row[key] = value
        return row


_MOST_MET, _MOST_ALIKE = 48, 4
_LONGEST_MET: Final = 32 << 10  # bytes of a line


__all__ = ["BLOCK_BYTES", "GENERIC", "Block", "ReadPlan", "SpanReader"]
_OUTCOME_FIELDS: Final = frozenset({"status", "error_type", "error_message", "status_code"})
ROWS_BYTES: Final = 512 << 10  # with the rows made of it, it fits the level-2 cache
TABLE_BYTES: Final = 2 << 20  # enough lines that the calls of numpy do not count
BLOCK_BYTES: Final = 24 << 20  # input that becomes one block of columns: a span and what its last line adds


class Block(msgspec.Struct, eq=False):
    """A block of calls, with the metric samples found among them, and the steps of agents where they are read."""

    columns: Columns
    samples: list[dict[str, Any]] = msgspec.field(default_factory=list)
    steps: Columns = EMPTY


def typed_decoders(plan: ReadPlan) -> list[tuple[str, TypedDecoder]]:
    """The decoders of a plan's first mappings, each with the dialect that it reads."""
    found = []
    for mapping in plan.mappings[: plan.typed]:
        evident = mapping.dialect == GENERIC and not plan.rule.weak and not plan.rule.halves
        decoder = compile_decoder(mapping, plan.slots(mapping.dialect), CALL_SIGNS if evident else frozenset())
        if decoder is None:
            break
        found.append((mapping.dialect, decoder))
    return found


def uniform_reader(
    plan: ReadPlan, interners: Interners, decoders: Sequence[tuple[str, TypedDecoder]] | None = None
) -> UniformReader | None:
    """What reads lines that share one layout; what it learns of a span serves in the next ones."""
    decoders = typed_decoders(plan) if decoders is None else decoders
    typed = decoders[0][1] if decoders else None
    if typed is None or typed.texts_at or not plan.layout.splittable:
        return None
    first = plan.mappings[0]
    return UniformReader(typed, first, plan.slots(first.dialect), interners, _naive(plan, first.dialect))


def _naive(plan: ReadPlan, dialect: str) -> str:
    """The zone of stamps that name none."""
    settled = DIALECTS[dialect].naive if dialect in DIALECTS else None
    return settled or plan.naive


class SpanReader:
    """Reads the chunks of one span, in order, and gives blocks of columns.

    Chunks are whole lines, or any bytes where the plan's layout is "documents". A pure function of the
    bytes and the plan: how they are cut into chunks changes nothing.
    """

    def __init__(
        self,
        plan: ReadPlan,
        interners: Interners,
        uniform: UniformReader | None = None,
        typed: Sequence[tuple[str, TypedDecoder]] | None = None,
    ) -> None:
        self.plan = plan
        self.accounting = Accounting()
        self._interners = interners
        self._typed = typed_decoders(plan) if typed is None else typed
        self._uniform = uniform or (None if typed is not None else uniform_reader(plan, interners, self._typed))
        self._rows: dict[str, Rows] = {}
        self._samples: list[dict[str, Any]] = []
        self._looking: ObjectReader | None = None  # made where a line must be looked at
        self._documents = plan.layout.splitter()
        self._bytes_in_block = 0
        self._bytes_before = 0
        self._first = 0  # number of the span's first line
        self._steps = _step_reader(plan, interners) if plan.steps else None

    @property
    def _objects(self) -> ObjectReader:
        self._looking = self._looking or ObjectReader(self.plan)
        return self._looking

    @property
    def chunk_bytes(self) -> int:
        """How much is best read at a time."""
        return TABLE_BYTES if self._uniform is not None and self._uniform.is_hopeful else ROWS_BYTES

    def feed(self, chunk: Any) -> Block | None:
        """Read a chunk (bytes-like, or a `LongLine`); a block when enough has come together."""
        if isinstance(chunk, LongLine):
            self._pass_over(chunk)
            return None
        if self._documents is not None:
            self._read_elements(self._documents.feed(chunk))
        else:
            self._read(chunk)
        size = len(chunk)
        self._bytes_before += size
        self._bytes_in_block += size
        return self._block() if self._bytes_in_block >= BLOCK_BYTES else None

    def _pass_over(self, line: LongLine) -> None:
        reason = f"line longer than {LONGEST_LINE >> 20} MB"
        self.accounting.rejects.append(Reject(self.accounting.lines, self._bytes_before, reason))
        self.accounting.lines += 1
        self.accounting.rejected += 1
        self._bytes_before += line.size

    def flush(self) -> Block:
        """What has been read and not yet been given, at the end of the span."""
        if self._documents is not None:
            self._read_elements(self._documents.finish())
        return self._block()

    def _block(self) -> Block:
        self._bytes_in_block = 0
        found = [self._canonical(name, rows) for name, rows in self._rows.items() if rows.size]
        self._account(found)
        if self._looking is not None:
            self.accounting.met = self._looking.met
        columns = concat([kept for _, kept in found]) if found else EMPTY
        at = columns.positions
        if at is not None and (at[1:] < at[:-1]).any():  # lines that were read one by one came after the others
            columns = columns.take(np.argsort(at, kind="stable"))
        samples, self._samples = self._samples, []
        return Block(columns, samples, EMPTY if self._steps is None else self._steps.take())

    def _canonical(self, dialect: str, rows: Rows) -> tuple[Any, Columns]:
        raw = rows.take()
        outcome = bool(_OUTCOME_FIELDS & self.plan.fields)
        rule = self.plan.rule if dialect == GENERIC else None
        doubts = self.accounting.doubts
        return raw.lines, canonical(raw, self._interners, rule=rule, outcome=outcome, doubts=doubts)

    def _account(self, found: Sequence[tuple[Any, Columns]]) -> None:
        """Lines whose home-made rows turned out to carry nothing of a call were not used, but skipped."""
        if all(len(lines) == kept.size for lines, kept in found):
            return
        lines = np.unique(np.concatenate([lines for lines, _ in found]))
        kept = np.unique(np.concatenate([c.positions for _, c in found if c.positions is not None]))
        self.accounting.used -= len(lines) - len(kept)
        self.accounting.skipped += len(lines) - len(kept)

    def _read(self, chunk: Any) -> None:
        """As a table where the lines share a layout, else line by line."""
        if self._steps is not None:
            stepped = BytesIO(chunk).readlines()
            self._steps.read(stepped, range(self.accounting.lines, self.accounting.lines + len(stepped)))
        if self._uniform is not None and (table := self._uniform.read(chunk)) is not None:
            self._read_table(table, chunk)
        elif bytes(chunk[:1]).isspace() and bytes(chunk).isspace():
            self.accounting.blank += len(self._numbered(len(BytesIO(chunk).readlines())))
        elif self._typed and (found := decoded_at_once(self._typed[0][1], chunk)) is not None:
            rows, lines = found
            starts = (self._bytes_before + lines.edges).tolist
            self._read_each(lines, self._numbered(len(rows)), starts, rows)
        else:
            each = BytesIO(chunk).readlines()
            self._read_each(each, self._numbered(len(each)), partial(_starts, each, self._bytes_before))

    def _numbered(self, count: int) -> IntArray:
        """The numbers of the next lines."""
        start = self._first + self.accounting.lines
        self.accounting.lines += count
        return np.arange(start, start + count)

    def _read_table(self, table: Table, chunk: Any) -> None:
        numbers = self._numbered(len(table.edges) - 1)
        dialect = self.plan.mappings[0].dialect
        self._rows_of(dialect).add_columns(table.columns, numbers[table.rows])
        self.accounting.used += len(table.rows)
        self.accounting.read_as(self._label(dialect), len(table.rows))
        if len(table.others):
            places = [(int(table.edges[line]), int(table.edges[line + 1])) for line in table.others]
            starts = [self._bytes_before + start for start, _ in places]
            self._read_each([bytes(chunk[a:b]) for a, b in places], numbers[table.others], lambda: starts)

    def _read_elements(self, elements: Sequence[Element]) -> None:
        lines, starts = [element for _, element in elements], [offset for offset, _ in elements]
        if self._steps is not None:
            self._steps.read(lines, range(self.accounting.lines, self.accounting.lines + len(lines)))
        self._read_each(lines, self._numbered(len(lines)), lambda: starts)

    def _read_each(
        self,
        lines: Sequence[bytes],
        numbers: IntArray,
        starts_of: Callable[[], Sequence[int]],
        decoded: Sequence[Any] | None = None,
    ) -> None:
        """The typed decoders where they fit, else whatever dialect claims the objects on a line.

        `decoded` are the rows of all lines where the first decoder has read them.
        """
        left: IntArray = np.arange(len(lines))
        for dialect, typed in self._typed:
            if not len(left):
                break
            rows, others = (decoded, []) if decoded is not None else decoded_each(typed, [lines[at] for at in left])
            decoded = None
            read = np.delete(left, others) if others else left
            left = left[others]
            sorted_rows = typed.sort(rows)
            if sorted_rows is not None:
                calls, skipped = sorted_rows.calls, sorted_rows.skipped
                self._skip(dialect, int(np.count_nonzero(skipped)))
                left = np.sort(np.concatenate([left, read[~(calls | skipped)]]))
                rows, read = list(compress(rows, calls)), read[calls]
            if rows:
                opened = self._add_typed(dialect, typed, rows, numbers[read])
                if opened is not None:
                    left = np.sort(np.concatenate([left, read[opened]]))
        if len(left):
            starts = starts_of()
            self._read_others([(starts[at], lines[at]) for at in left], [int(numbers[at]) for at in left])

    def _skip(self, dialect: str, count: int) -> None:
        """Account for lines of a dialect that hold no call."""
        if count:
            self.accounting.skipped += count
            self.accounting.read_as(self._label(dialect), count)

    def _add_typed(self, dialect: str, typed: TypedDecoder, rows: Sequence[Any], lines: IntArray) -> BoolArray | None:
        """Add decoded rows; which of them may hold records in a text, so that they must be looked at, if any."""
        columns = typed.columns(rows)
        opened = None
        for binding in typed.opened_at:
            found = np.array([type(text) is str and "{" in text for text in columns.pop(binding)], np.bool_)
            opened = found if opened is None else opened | found
        if opened is not None and opened.any():
            kept = ~opened
            rows = [row for row, keep in zip(rows, kept, strict=True) if keep]
            lines = lines[kept]
            columns = typed.columns(rows)
            for binding in typed.opened_at:
                columns.pop(binding, None)
            if not rows:
                return opened
        else:
            opened = None
        seen = _presence(typed, columns, len(rows))
        for binding in typed.texts_at:
            columns.pop(binding, None)
        self._rows_of(dialect).add_columns(columns, lines, seen)
        self.accounting.used += len(rows)
        self.accounting.read_as(self._label(dialect), len(rows))
        return opened

    def _read_others(self, elements: Sequence[Element], numbers: Sequence[int]) -> None:
        found: dict[str, tuple[list[dict[Any, Any]], list[int]]] = {}
        for (offset, line), number in zip(elements, numbers, strict=True):
            if line.strip(BLANK):
                self._read_line(line.removesuffix(b"\n"), number, offset, found)
            else:
                self.accounting.blank += 1
        for dialect, (rows, at) in found.items():
            self._rows_of(dialect).add_rows(rows, at, self._objects.binding)

    def _read_line(
        self, line: bytes, number: int, offset: int, others: dict[str, tuple[list[dict[Any, Any]], list[int]]]
    ) -> None:
        try:
            found = self._objects.read(line)
        except UnreadableError as error:
            self.accounting.rejected += 1
            self.accounting.rejects.append(Reject(number - self._first, offset, str(error)))
            return
        used = False
        for name in dict.fromkeys(name for name, _ in found):
            self.accounting.read_as(self._label(name), 1)
        for name, rows in found:
            used |= bool(rows)
            if name in DIALECTS and DIALECTS[name].samples:
                self._samples.extend({**row, "line": number - self._first} for row in rows)
                self.accounting.samples += len(rows)
            elif rows:
                into = others.setdefault(name, ([], []))
                into[0].extend(rows)
                into[1].extend([number] * len(rows))
        self.accounting.used += used
        self.accounting.skipped += not used

    def _label(self, dialect: str) -> str:
        return self.plan.label if dialect == GENERIC else dialect

    def _rows_of(self, dialect: str) -> Rows:
        if dialect not in self._rows:
            self._rows[dialect] = Rows(self._interners, _naive(self.plan, dialect))
        return self._rows[dialect]


def _step_reader(plan: ReadPlan, interners: Interners) -> StepReader:
    from llmmon.formats.steps import StepReader  # few commands read steps

    return StepReader(plan, interners)


def _starts(lines: Sequence[bytes], first: int) -> list[int]:
    return list(accumulate(map(len, lines), initial=first))


def _presence(typed: TypedDecoder, columns: Mapping[Binding, Sequence[Any]], size: int) -> dict[str, BoolArray] | None:
    """Whether each row has an output text and a prompt, looked at only where that decides something."""
    if not typed.texts_at:
        return None
    shown = [_any_there(columns, typed.bound_to(slot), kind, size) for slot, kind in _SHOWN_BY]
    open_rows = np.flatnonzero(~np.logical_and.reduce(shown)).tolist()
    if not open_rows:
        return None
    seen = {slot: np.zeros(size, np.bool_) for slot in ("output", "prompt")}
    for binding in typed.texts_at:
        if (column := columns.get(binding)) is not None and binding.slot in seen:
            seen[binding.slot][open_rows] |= np.array([_is_there(column[row]) for row in open_rows], np.bool_)
    return seen


_SHOWN_BY: Final = (("model", str), ("completion_tokens", float))  # what shows that a row is an answered call


def _any_there(
    columns: Mapping[Binding, Sequence[Any]], bindings: Sequence[Binding], kind: type, size: int
) -> BoolArray:
    """Which rows have a usable value at any of the bindings."""
    found: BoolArray = np.zeros(size, np.bool_)
    for binding in bindings:
        if (column := columns.get(binding)) is not None and not found.all():
            if set(map(type, column)) == {kind} and _UNUSABLE.isdisjoint(column):
                return np.ones(size, np.bool_)
            found |= np.array([type(value) is kind and value not in _UNUSABLE for value in column], np.bool_)
    return found


_UNUSABLE: Final = frozenset({"", float("inf")})


def _is_there(raw: Any) -> bool:
    """Whether undecoded JSON is a text, or an object or list with something in it."""
    if raw is None:
        return False
    text = bytes(raw)
    return text[:1] == b'"' or (text[:1] in (b"{", b"[") and bool(text.strip(b"[]{} \t\r\n,")))
