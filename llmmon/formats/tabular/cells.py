"""The texts of one cell in many lines -> columns: numbers, known texts, moments, and whatever else JSON has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from llmmon.formats.blocks import Joined, reader_of
from llmmon.formats.canonical import Interners
from llmmon.formats.leaves import NARROW, UNREADABLE, Extract, leaf
from llmmon.formats.mapping import Binding, FieldMapping, Path, Slot, is_selector
from llmmon.formats.tabular.scan import FLAG_WORDS, NAME_WORDS, NUMBER_WORDS, Cell, KnownTexts, Words, decimals
from llmmon.formats.timestamps import joined_moments
from llmmon.formats.typed import reachable
from llmmon.formats.values import in_microseconds
from llmmon.metrics.columns import MISSING_TIME, BoolArray, FloatArray, IntArray

_NULL: Final = np.uint64(int.from_bytes(b"null", "little"))
_FOUR: Final = np.uint64(0xFFFF_FFFF)


class Texts(msgspec.Struct, frozen=True, eq=False):
    """The texts of one cell in many lines: where they stand, which are in quotes, and their first characters.

    `starts`, `lengths` and `quoted` have shape (lines,), `words` (lines, as many as the cell's reader asks for).
    What stands in rows that are not `fine` is no matter.
    """

    buffer: NDArray[np.uint8]
    starts: IntArray
    lengths: IntArray
    quoted: BoolArray
    words: Words
    fine: BoolArray

    def take(self, rows: BoolArray | IntArray) -> Texts:
        """Those of some lines."""
        starts, lengths, quoted = self.starts[rows], self.lengths[rows], self.quoted[rows]
        return Texts(self.buffer, starts, lengths, quoted, self.words[rows], self.fine[rows])

    def decoded(self, kind: Any) -> tuple[list[Any], BoolArray]:
        """The texts as JSON of a type, and which of them are that (None stands for the others)."""
        whole, ends = memoryview(self.buffer.data), self.starts + self.lengths
        texts = [whole[start:end] for start, end in zip(self.starts.tolist(), ends.tolist(), strict=True)]
        fine = np.ones(len(texts), np.bool_)
        return _values(texts, kind, fine), fine

    @property
    def null(self) -> BoolArray:
        """Which of them are null."""
        found: BoolArray = ((self.words[:, 0] & _FOUR) == _NULL) & (self.lengths == 4)
        return found


def _values(texts: Sequence[memoryview], kind: Any, fine: BoolArray) -> list[Any]:
    """The texts as JSON of a type, all at once; where some are not, half by half. Says which are `fine`."""
    try:
        found: list[Any] = msgspec.json.decode(b"[" + b",".join(texts) + b"]", type=list[kind])
    except UNREADABLE:
        found = []
    if len(found) == len(texts):  # no text holds a comma: none is two values, and some half of one
        return found
    if len(texts) == 1:
        fine[0] = False
        return [None]
    half = len(texts) // 2
    return _values(texts[:half], kind, fine[:half]) + _values(texts[half:], kind, fine[half:])


def windows(buffer: NDArray[np.uint8], width: int) -> NDArray[np.void]:
    """The `width` bytes from each place of a buffer on; shape (places,)."""
    return np.ndarray((len(buffer) - width + 1,), f"V{width}", buffer, 0, (1,))


Found = dict[Binding, Any]  # by binding what `Gathered.add_read` takes, raw values as a list, or None


class CellReader(Protocol):
    """Columns of some cells of a line, whose numbers are `cells`.

    `read` takes the texts of each and gives the columns, and the rows that they could not be made of (None: they
    all could); `words` is how many words it wants of each text.
    """

    words: int
    cells: tuple[int, ...]

    def read(self, texts: Sequence[Texts]) -> tuple[Found, BoolArray | None]: ...


def cell_readers(
    cells: Sequence[Cell], mapping: FieldMapping, slots: frozenset[str], interners: Interners, naive: str
) -> list[CellReader] | None:
    """The readers of all cells; None where something that is needed is no single value."""
    needed = [binding for binding in reachable(mapping.bindings, mapping.shape) if binding.slot in slots]
    tested = any(test.allowed or test.below for test in mapping.required)
    if tested or any(_is_mixed(binding, cells) for binding in needed):
        return None
    shape = dict(mapping.shape)
    found: list[CellReader] = []
    numbers: dict[int, list[Binding]] = {}
    for number, cell in enumerate(cells):
        bindings = [binding for binding in needed if binding.path == cell.path]
        kind, extract = leaf(bindings, shape.get(cell.path, frozenset())) if bindings else (None, None)
        slot = bindings[0].kind if bindings else None
        if (slot in _NUMERIC and kind == NARROW[slot]) or (slot is None and cell.kind.isdigit()):
            numbers[number] = bindings
        elif slot is None or extract is None:
            found.append(Unneeded(number, cell))
        elif slot in _DTYPES and kind == NARROW[slot]:
            readers = {each: reader_of(each, interners[each.slot], naive) for each in bindings}
            found.append(Known(number, kind, readers, slot))
        elif slot is Slot.TIME and kind == NARROW[slot]:
            found.append(Moments(bindings, Decoded(number, kind, extract), naive))
        else:
            found.append(Decoded(number, kind, extract))
    return [*found, Numbers(numbers)] if numbers else found


_NUMERIC: Final = frozenset({Slot.NUMBER, Slot.DURATION})


def _is_mixed(binding: Binding, cells: Sequence[Cell]) -> bool:
    """Whether a binding is of more than a value, or of what may stand inside one."""
    path = _single(binding.path)
    for cell in cells:
        depth = min(len(cell.path), len(path))
        if cell.path[:depth] == path[:depth] and (cell.path != binding.path or not cell.kind):
            return True
    return False


def _single(path: Path) -> Path:
    """The path up to where elements of a list are selected."""
    return path[: next((at for at, step in enumerate(path) if is_selector(step)), len(path))]


_DTYPES: Final[dict[Slot, Any]] = {Slot.NAME: np.int32, Slot.FLAG: np.float64, Slot.OUTCOME: object}


def _learnt(known: KnownTexts, texts: Texts, kind: Any, rest: BoolArray) -> tuple[Any, BoolArray | None]:
    """What the rest of the texts mean, which are known from now on; and the rows in which they mean nothing."""
    others = texts.take(rest)
    values, fine = others.decoded(kind)
    meanings = known.learn(others.words, others.lengths, values, fine)
    if fine.all():
        return meanings, None
    bad = rest.copy()
    bad[rest] = ~fine
    return meanings, bad


class Unneeded:
    """No column: only whether the texts are values."""

    words = FLAG_WORDS

    def __init__(self, number: int, cell: Cell) -> None:
        self.cells: tuple[int, ...] = (number,)
        self._is_nothing = not cell.kind
        self._known = KnownTexts(list, object, FLAG_WORDS)

    def read(self, texts: Sequence[Texts]) -> tuple[Found, BoolArray | None]:
        (mine,) = texts
        if self._is_nothing or mine.quoted.all():
            return {}, None
        rest = mine.fine & ~(mine.quoted | self._known.look_up(mine.words, mine.lengths)[1])
        return {}, _learnt(self._known, mine, Any, rest)[1] if rest.any() else None


class Decoded:
    """Any values, as the typed decoder has them."""

    words = FLAG_WORDS

    def __init__(self, number: int, kind: Any, extract: Extract) -> None:
        self.cells: tuple[int, ...] = (number,)
        self._kind = kind
        self._extract = extract

    def read(self, texts: Sequence[Texts]) -> tuple[Found, BoolArray | None]:
        (mine,) = texts
        found: Found = {}
        values, fine = mine.take(mine.fine).decoded(self._kind)
        raw = values if mine.fine.all() else _spread(values, mine.fine)
        self._extract(raw, found)
        bad = mine.fine.copy()
        bad[bad] = ~fine
        return found, bad


def _spread(values: Sequence[Any], rows: BoolArray) -> list[Any]:
    """The values in their rows, None in all others."""
    left = iter(values)
    return [next(left) if here else None for here in rows.tolist()]


class Numbers:
    """All numbers and lengths of time of a line, those without and those with a point together."""

    words = NUMBER_WORDS

    def __init__(self, bindings: dict[int, list[Binding]]) -> None:
        self.cells = tuple(bindings)
        self._bindings = list(bindings.values())
        self._with_point = np.zeros(len(bindings), np.bool_)  # which cells showed one

    def read(self, texts: Sequence[Texts]) -> tuple[Found, BoolArray | None]:
        found: Found = {}
        bad: BoolArray | None = None
        for with_point in (False, True):
            places = np.flatnonzero(self._with_point == with_point).tolist()
            if not places:
                continue
            values, plain = self._decimals([texts[place] for place in places], with_point)
            for place, column, known in zip(places, values, plain, strict=True):
                if not known.all():
                    if not with_point and 2 * np.count_nonzero(known) < len(known):
                        self._with_point[place] = True
                        continue
                    unread = _fill(texts[place], column, ~known)
                    bad = unread if bad is None else bad if unread is None else bad | unread
                found.update(self._columns(place, column))
        return found, bad

    def _decimals(self, texts: list[Texts], with_point: bool) -> tuple[Any, Any]:
        """The numbers of some cells and which are plain; shapes (cells, lines)."""
        shape = len(texts), len(texts[0].lengths)
        words, lengths = np.empty((NUMBER_WORDS if with_point else 1, *shape), np.uint64), np.empty(shape, np.uint64)
        for place, mine in enumerate(texts):
            lengths[place] = mine.lengths
            for word, column in enumerate(words):
                column[place] = mine.words[:, word]
        return decimals(words, lengths, whole_only=not with_point)

    def _columns(self, place: int, column: FloatArray) -> Found:
        missing = bool(np.isnan(column[0])) and bool(np.isnan(column).all())
        return {each: None if missing else _in_unit(column, each) for each in self._bindings[place]}


def _fill(texts: Texts, found: FloatArray, rest: BoolArray) -> BoolArray | None:
    """Fill in what is no plain number; the rows that cannot be."""
    found[rest] = np.nan
    said = rest & texts.fine & ~texts.null
    if not said.any():
        return None
    values, fine = texts.take(said).decoded(float | None)
    found[said] = np.array(values, np.float64)
    said[said] = ~fine
    return said


def _in_unit(found: FloatArray, binding: Binding) -> FloatArray:
    return in_microseconds(found, binding.unit) if binding.kind is Slot.DURATION else found


class Known:
    """Names, flags and outcomes, of which most come again and again."""

    def __init__(self, number: int, kind: Any, readers: dict[Binding, Any], slot: Slot) -> None:
        self.words = FLAG_WORDS if slot is Slot.FLAG else NAME_WORDS
        self.cells: tuple[int, ...] = (number,)
        self._kind = kind
        self._known = {each: KnownTexts(read, _DTYPES[slot], self.words) for each, read in readers.items()}

    def read(self, texts: Sequence[Texts]) -> tuple[Found, BoolArray | None]:
        (mine,) = texts
        found: Found = {}
        bad = None
        nothing = not mine.quoted.any() and bool(mine.null.all())
        for binding, known_texts in self._known.items():
            column, known = known_texts.look_up(mine.words, mine.lengths)
            rest = mine.fine & ~known
            if rest.any():
                column[rest], bad = _learnt(known_texts, mine, self._kind, rest)
            found[binding] = None if nothing else column.tolist() if column.dtype == object else column
        return found, bad


_LONGEST_STAMP: Final = 66  # with its quotes
_MOST_WIDTHS: Final = 4  # of stamps that are mixed, with and without fractions


class Moments:
    """Stamps; those of one width are laid end to end, to be read together."""

    words = FLAG_WORDS

    def __init__(self, bindings: Sequence[Binding], otherwise: Decoded, naive: str) -> None:
        self.cells = otherwise.cells
        self._bindings = bindings
        self._otherwise = otherwise
        self._naive = naive

    def read(self, texts: Sequence[Texts]) -> tuple[Found, BoolArray | None]:
        (mine,) = texts
        size = int(mine.lengths[mine.fine.argmax()])
        alike = mine.quoted & (mine.lengths == size)
        if not 2 < size < _LONGEST_STAMP:
            return self._otherwise.read(texts)
        if 10 * np.count_nonzero(alike & mine.fine) < 9 * np.count_nonzero(mine.fine):
            return self._mixed(mine) or self._otherwise.read(texts)
        return dict.fromkeys(self._bindings, Joined(_laid_out(mine, mine.starts, size), size - 2)), ~alike

    def _mixed(self, mine: Texts) -> tuple[Found, BoolArray | None] | None:
        """Stamps of a few widths; None where there are too many, or most are none."""
        usable = mine.fine & mine.quoted & (mine.lengths > 2) & (mine.lengths < _LONGEST_STAMP)
        sizes = np.unique(mine.lengths[usable])
        if not 0 < len(sizes) <= _MOST_WIDTHS or 10 * np.count_nonzero(usable) < 9 * np.count_nonzero(mine.fine):
            return None
        found: Found = {binding: np.full(len(mine.lengths), MISSING_TIME) for binding in self._bindings}
        for size in sizes.tolist():
            rows = np.flatnonzero(usable & (mine.lengths == size))
            joined = _laid_out(mine, mine.starts[rows], size)
            for binding, column in found.items():
                column[rows] = joined_moments(joined, size - 2, binding.unit, self._naive)
        return found, ~usable


def _laid_out(mine: Texts, starts: IntArray, size: int) -> bytes:
    """The texts of one size, without their quotes, end to end."""
    return windows(mine.buffer, size - 2)[starts + 1].tobytes()
