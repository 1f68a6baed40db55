"""Tables in CSV (RFC 4180 and what spreadsheets make of it): their columns, and rows as objects."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import islice
from typing import Any, Final

import msgspec
import orjson

from llmmon.formats import DIALECTS
from llmmon.formats.accounting import LONGEST_LINE
from llmmon.formats.aliases import bindings_at, fold
from llmmon.formats.json_text import UnreadableError, decoded
from llmmon.formats.mapping import EVIDENCE, Slot
from llmmon.formats.own_csv import is_own, own_row
from llmmon.formats.written_times import moment_of_text

Element = tuple[int, bytes]  # where a record starts in the stream, its bytes
_DELIMITERS: Final = (",", ";", "\t", "|")
_LONGEST_RECORD: Final = 8 << 20  # bytes; a quote that is not closed in as many is none
_ROWS: Final = 50  # at the beginning that are looked at
_LONGEST_NAME: Final = 80
_NAME: Final = re.compile(r"[^\W\d][\w .()/%$#@:+?'&-]*\Z")
_MISSING: Final = frozenset({"NULL", "null", "\\N", "NaN", "nan", "None", "N/A", "n/a", "NA", "<NA>", "-"})
_TOTALS: Final = frozenset({"total", "totals", "sum", "grand total"})
_MONEY: Final = re.compile(r"(?P<minus>-?)\s*(?:US)?\$\s*(?P<amount>[\d.,]+)\Z|(?P<plain>-?[\d.,]+)\s*USD\Z")
_GROUPED: Final = re.compile(r"-?\d{1,3}(?:,\d{3})+(?:\.\d+)?\Z")
_COMMA: Final = re.compile(r"-?(?:\d{1,3}(?:\.\d{3})+|\d+),\d+\Z|-?\d{1,3}(?:\.\d{3}){2,}\Z")
_DOTTED: Final = re.compile(r"-?\d{1,3}(?:\.\d{3})+\Z")
_NUMBER: Final = re.compile(r"-?\d+(?P<rest>\.\d*)?(?P<power>[eE][+-]?\d+)?\Z", re.ASCII)
# counts of requests: a table with one is of sums
_SUMS: Final = frozenset(
    (
        "nummodelrequests numrequests requests apirequests totalrequests requestcount requestscount numberofrequests "
        "successfulrequests failedrequests nrequests callcount numcalls usagedateutc"
    ).split()
)
_NO_HEADER: Final = "CSV without a line of column names: put one first, such as timestamp,model,prompt_tokens"


class Table(msgspec.Struct, frozen=True):
    """How one CSV file is written.

    `numbers` are the columns whose cells must be numbers, `texts` those that are taken as they are. `decimal_comma`:
    numbers are written as 1.234,5; `quoted`: cells may go over lines; `spaced`: a blank follows each delimiter.
    `refused` says why no row is a call.
    """

    header: tuple[str, ...]
    delimiter: str = ","
    numbers: frozenset[int] = frozenset()
    texts: frozenset[int] = frozenset()
    decimal_comma: bool = False
    quoted: bool = False
    spaced: bool = False
    own: bool = False
    refused: str = ""

    def row(self, record: bytes) -> dict[str, Any] | None:
        """The cells of a record by the names of their columns, None for those names; raises `UnreadableError`."""
        if len(record) < _LONGEST_NAME and _separator(decoded(record)):
            return None
        cells = _fitting(split(record, self.delimiter, spaced=self.spaced), len(self.header))
        if self.header and cells and cells[0].strip("\ufeff \t") == self.header[0] and _names(cells) == self.header:
            return None
        if self.refused:
            raise UnreadableError(self.refused)
        if len(cells) != len(self.header):
            raise UnreadableError(f"{len(cells)} values where {len(self.header)} were expected")
        if self.own:
            return own_row({name: cell for name, cell in zip(self.header, cells, strict=True) if cell})
        if cells[0].strip().lower() in _TOTALS:
            raise UnreadableError("a row of totals")
        return {name: self._value(at, cells[at]) for at, name in enumerate(self.header) if name}

    def _value(self, at: int, cell: str) -> Any:
        if at in self.texts or not cell:
            return cell or None
        cell = cell.strip()
        if not cell or cell in _MISSING:
            return None
        if at in self.numbers:
            return _as_number(plain_number(cell, decimal_comma=self.decimal_comma))
        if cell[0] == "{":
            return _object(cell)
        return plain_number(cell, decimal_comma=True) if self.decimal_comma else plain_number(cell)


def _object(cell: str) -> Any:
    try:
        return orjson.loads(cell)
    except orjson.JSONDecodeError:
        return cell


def plain_number(cell: str, *, decimal_comma: bool = False) -> str:
    """A number without separators of thousands and signs of dollars; any other cell as it is."""
    if not decimal_comma and "," not in cell and "$" not in cell and cell[-1:] != "D":
        return cell
    if money := _MONEY.match(cell):
        inner = money["plain"] or money["minus"] + money["amount"]
        cell = plain_number(inner, decimal_comma=decimal_comma)
    if decimal_comma and (_COMMA.match(cell) or _DOTTED.match(cell)):
        return cell.replace(".", "").replace(",", ".")
    return cell.replace(",", "") if _GROUPED.match(cell) else cell


def _as_number(cell: str) -> Any:
    found = _NUMBER.match(cell)
    if found is None:
        return cell
    return float(cell) if found["rest"] or found["power"] else int(cell)


def _fitting(cells: Sequence[str], size: int) -> tuple[str, ...]:
    """The cells without empty ones at their end that no column has."""
    if len(cells) == size:
        return tuple(cells)
    end = len(cells)
    while end > size and not cells[end - 1].strip():
        end -= 1
    return tuple(cells[:end])


def _names(cells: Sequence[str]) -> tuple[str, ...]:
    return tuple(cell.strip("\ufeff \t") for cell in cells)


def split(record: bytes, delimiter: str, *, spaced: bool = False, strict: bool = False) -> tuple[str, ...]:
    """The cells of a record; raises `UnreadableError`, with `strict` also where something follows a closing quote."""
    text = decoded(record.replace(b"\0", b"")).strip("\r\n").removeprefix("\ufeff")
    if '"' not in text:
        return tuple(text.split(delimiter))
    import csv

    csv.field_size_limit(LONGEST_LINE)  # its own limit is 128 KB
    if not _record(delimiter, spaced=spaced).fullmatch(record.rstrip(b"\r\n") + b"\n"):
        raise UnreadableError("a quoted cell that is not closed")
    lines = [line + "\n" for line in text.split("\n")]
    try:
        return tuple(next(csv.reader(lines, delimiter=delimiter, skipinitialspace=spaced, strict=strict), ()))
    except csv.Error as error:  # such as a carriage return outside quotes
        raise UnreadableError(f"not valid CSV: {error}") from None


@lru_cache(maxsize=8)
def _record(delimiter: str, *, spaced: bool) -> re.Pattern[bytes]:
    """A record and its newline: a quote at the beginning of a cell opens a text, which ends at a single quote."""
    sign, before = re.escape(delimiter.encode()), rb" *+" if spaced else rb""
    quoted = rb'"[^"]*+(?:""[^"]*+)*+"[^' + sign + rb"\n]*+"
    plain = rb'[^"' + sign + rb"\n][^" + sign + rb"\n]*+"
    cell = before + rb"(?:" + quoted + rb"|" + plain + rb")?+"
    return re.compile(cell + rb"(?:" + sign + cell + rb")*+\n")


class RecordSplitter:
    """Cuts a stream of CSV into records, whose cells may hold newlines.

    A quote that is not closed, or a record over several lines that does not have the cells of the table, costs one
    line: the next record begins behind its first newline.
    """

    def __init__(self, table: Table) -> None:
        self._table = table
        self._pattern = _record(table.delimiter, spaced=table.spaced)
        self._kept = b""
        self._offset = 0  # of its first byte in the stream

    @property
    def offset(self) -> int:
        """Where the record starts that is not complete yet."""
        return self._offset

    def feed(self, chunk: Any) -> list[Element]:
        """The records that became complete."""
        self._kept += bytes(chunk)
        return self._cut(ended=False)

    def finish(self) -> list[Element]:
        """What is left at the end of the stream."""
        if self._kept and not self._kept.endswith(b"\n"):
            self._kept += b"\n"
        return self._cut(ended=True)

    def _cut(self, *, ended: bool) -> list[Element]:
        found: list[Element] = []
        at, kept = 0, self._kept
        while at < len(kept):
            match = self._pattern.match(kept, at)
            end = match.end() if match is not None else 0
            if not end and not ended and len(kept) - at < _LONGEST_RECORD:
                break  # it may be closed in what comes
            if not end or (b"\n" in kept[at : end - 1] and not self._is_row(kept[at:end])):
                end = kept.find(b"\n", at) + 1
            if not end:
                break
            found.append((self._offset + at, kept[at:end].rstrip(b"\r\n")))
            at = end
        self._kept = kept[at:]
        self._offset += at
        if len(self._kept) > LONGEST_LINE:  # what is left of it will be rejected
            self._offset += len(self._kept)
            self._kept = b""
        return found

    def _is_row(self, record: bytes) -> bool:
        """Whether a record over several lines is one of the table."""
        if len(record) > _LONGEST_RECORD:
            return False
        try:
            cells = split(record, self._table.delimiter, spaced=self._table.spaced, strict=True)
        except UnreadableError:
            return False
        return len(_fitting(cells, len(self._table.header))) == len(self._table.header)


def table_of(head: bytes) -> Table | None:
    """The table in a file that begins with these bytes; None if it is none, or none of calls."""
    first = head.partition(b"\n")[0]
    if b"{" in first or len(first) > _LONGEST_RECORD:
        return None
    said = _separator(decoded(first))
    tables = [table for each in ((said,) if said else _DELIMITERS) if (table := _written_with(each, head))]
    if not tables:
        return None
    return max(tables, key=lambda table: (_known(table.header), len(table.header)))


def _separator(line: str) -> str:
    """The delimiter that a spreadsheet names on a line of its own (`sep=;`), "" for any other line."""
    found = re.fullmatch(r"\ufeff?\"?sep=([,;|\t])\"?\s*", line)
    return found[1] if found else ""


def _known(names: Sequence[str]) -> int:
    return sum(bool(bindings_at((name,))) for name in names)


def _written_with(delimiter: str, head: bytes) -> Table | None:
    spaced = re.match(rb"[^\n]*" + re.escape(delimiter.encode()) + rb" ", head) is not None
    records = list(islice(_first_records(delimiter, head, spaced=spaced), _ROWS))
    if not records or len(records[0]) < 2:
        return None
    names, rows = _names(records[0]), [row for row in records[1:] if any(row)]
    fitting = [row for row in rows if len(_fitting(row, len(names))) == len(names)]
    if not _are_names(names):
        regular = 2 * len(fitting) > len(rows) or head.count(b"\n") <= 1
        no_names = regular and b"{" not in head and _is_data(records[0])
        return Table((), delimiter, refused=_NO_HEADER) if no_names else None
    if not (_of_calls(names, prose=spaced and not fitting) or _is_regular(names, rows, fitting)):
        return None
    return _table(names, delimiter, fitting, quoted=b'"' in head, spaced=spaced)


def _first_records(delimiter: str, head: bytes, *, spaced: bool) -> Iterator[tuple[str, ...]]:
    """The cells of the first records, up to one that is cut."""
    pattern, at = _record(delimiter, spaced=spaced), 0
    head = head if head.endswith(b"\n") else head + b"\n"
    while at < len(head) and (found := pattern.match(head, at)) is not None:
        record = found[0].strip(b"\r\n")
        at = found.end()
        if record and not _separator(decoded(record)):
            try:
                yield split(record, delimiter, spaced=spaced)
            except UnreadableError:
                continue


def _are_names(names: Sequence[str]) -> bool:
    """Whether cells can be the names of columns; the first may be empty, over a column of numbers."""
    named = names if names[0] else names[1:]
    return (
        len({*named}) == len(named)
        and all(len(name) <= _LONGEST_NAME and _NAME.match(name) for name in named)
        and len(named) > 1
    )


def _is_data(cells: Sequence[str]) -> bool:
    """Whether cells look like a call: a moment or a number among at least three short ones."""
    values = [cell.strip() for cell in cells]
    moments = sum(len(value) > 7 and moment_of_text(value) is not None for value in values)
    numbers = sum(bool(_NUMBER.match(plain_number(value))) for value in values)
    return len(cells) > 2 and moments > 0 and numbers > 0


def _of_calls(names: Sequence[str], *, prose: bool) -> bool:
    """Whether columns of these names hold calls, or prompts with their answers; `prose` says that it may be text."""
    if prose:
        return False
    slots = {binding.slot for name in names for binding in bindings_at((name,))}
    evidence = slots & {*EVIDENCE, "prompt"}
    counted = slots & {"prompt_tokens", "completion_tokens", "total_tokens", "cost", "latency"}
    return bool(
        (slots & {"start", "end"} and evidence)
        or slots >= {"prompt", "output"}
        or ("model" in slots and counted)
        or slots >= {"prompt_tokens", "completion_tokens"}
        or bool(DIALECTS.possible(tuple(names)))
    )


def _is_regular(names: Sequence[str], rows: Sequence[Sequence[str]], fitting: Sequence[Sequence[str]]) -> bool:
    """Whether unknown columns make a table all the same: all rows fit, and some cell is a number or a moment."""
    if len(names) < 3 or not fitting or len(fitting) < len(rows):
        return False
    cells = [cell.strip() for row in fitting for cell in row]
    return any(_NUMBER.match(plain_number(cell)) or (len(cell) > 7 and moment_of_text(cell)) for cell in cells)


def _table(
    names: tuple[str, ...], delimiter: str, rows: Sequence[Sequence[str]], *, quoted: bool, spaced: bool
) -> Table:
    own = is_own(names) and delimiter == ","
    columns = [[row[at].strip() for row in rows] for at in range(len(names))]
    comma = delimiter == ";" and any(_COMMA.match(cell) for column in columns for cell in column)
    kinds = [{binding.kind for binding in bindings_at((name,))} for name in names]
    numeric = {at for at, column in enumerate(columns) if _all_numbers(column, comma)}
    ambiguous = {at for at, kind in enumerate(kinds) if Slot.TEXT in kind}
    counts = ambiguous if ambiguous <= numeric else set()  # such as `prompt,completion`, when both are numbers
    # other counts are read from their texts, all at once
    numbers = {at for at in numeric if at in counts or (Slot.DURATION in kinds[at] and at not in ambiguous)}
    summed = next((name for name in names if fold(name) in _SUMS), None)
    return Table(
        header=names,
        delimiter=delimiter,
        numbers=frozenset(numbers),
        texts=frozenset(ambiguous - counts),
        decimal_comma=comma,
        quoted=quoted and not own,
        spaced=spaced,
        own=own,
        refused=f"a row of sums ({summed}), not a call: export the single requests" if summed else "",
    )


def _all_numbers(column: Sequence[str], comma: bool) -> bool:
    cells = [cell for cell in column if cell and cell not in _MISSING]
    return bool(cells) and all(_NUMBER.match(plain_number(cell, decimal_comma=comma)) for cell in cells)
