"""Raw JSON values of one slot -> a numpy column: numbers, lengths of time, flags, names, outcomes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
import orjson

from llmmon.formats.durations import DURATION_UNITS_US, durations_us
from llmmon.formats.mapping import embedded
from llmmon.metrics.columns import CodeArray, FloatArray, Interner
from llmmon.text.patterns import lazy

_TRUE: Final = frozenset({"true", "yes", "1", "y", "hit", "success", "ok"})
_FALSE: Final = frozenset({"false", "no", "0", "n", "miss", "failure", "failed", "error"})
_TOO_LARGE: Final = 2.0**53  # beyond it float64 no longer holds every integer


def all_missing(values: Sequence[Any]) -> bool:
    """Whether no row has a value (counting is faster than looking at each)."""
    return not len(values) or (values[0] is None and values.count(None) == len(values))


def numbers(values: Sequence[Any]) -> FloatArray:
    """Finite numbers (numeric text too) as float64, NaN for anything else; no booleans; shape (n,)."""
    found = as_floats(values)
    if found is None:
        found = np.full(len(values), np.nan)
        for row, value in enumerate(values):
            if value is not None:
                found[row] = _number(value)
    return found


def amounts(values: Sequence[Any]) -> FloatArray:
    """Numbers, NaN where they are 0, which means that none was noted; shape (n,)."""
    found = numbers(values)
    return np.where(found == 0, np.nan, found)


def as_floats(values: Sequence[Any]) -> FloatArray | None:
    """The values as they are, None if some are no numbers (missing is NaN); shape (n,)."""
    try:
        return np.fromiter(values, np.float64, len(values))
    except (TypeError, ValueError, OverflowError):
        pass
    try:
        found = np.array(values, np.float64)  # takes None as NaN, which the faster way does not
    except (TypeError, ValueError, OverflowError):
        return None
    return found if found.ndim == 1 else None  # lists of numbers are no numbers


def usable(found: FloatArray) -> FloatArray:
    """The numbers in place, NaN where they are infinite or too large to be exact."""
    with np.errstate(invalid="ignore"):
        bad = ~(np.abs(found) < _TOO_LARGE)
    if bad.any():
        found[bad] = np.nan
    return found


def _number(value: Any) -> float:
    if isinstance(value, bool) or value is None or not isinstance(value, (int, float, str)):
        return np.nan
    try:
        return float(value)
    except (ValueError, OverflowError):
        pass
    if isinstance(value, str) and (found := _AMOUNT.fullmatch(value.strip())):
        return float(found["number"].replace(",", "").replace(" ", ""))
    return np.nan


# with thousands set off, or with US dollars before or behind it
_AMOUNT: Final = lazy(
    r"(?:USD ?|(?:US)?[$] ?)?"
    r"(?P<number>-?(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]{1,15})(?:[.][0-9]{0,20})?)"
    r"(?: ?(?:USD|[$]))?"
)


def durations(values: Sequence[Any], unit: str) -> FloatArray:
    """Lengths of time in `unit`, numbers or text, as microseconds, NaN where missing; shape (n,)."""
    found = as_floats(values)
    if found is None:
        return durations_us(values, unit)
    return in_microseconds(found, unit)


def in_microseconds(found: FloatArray, unit: str) -> FloatArray:
    """Lengths of time in `unit` (ms where none is given) as microseconds; shape as given."""
    with np.errstate(over="ignore"):
        scaled: FloatArray = found * DURATION_UNITS_US[unit or "ms"]
    return scaled


def whole_microseconds(micros: FloatArray) -> FloatArray:
    """Microseconds rounded to whole ones, NaN where negative or too large; shape (n,)."""
    with np.errstate(invalid="ignore"):
        bad = ~((micros >= 0) & (micros < _TOO_LARGE))
    if bad.any():
        micros[bad] = np.nan
    return np.rint(micros)


def flags(values: Sequence[Any]) -> FloatArray:
    """1, 0 or NaN; words and numbers are read as truth values too; shape (n,)."""
    try:
        whole = np.frombuffer(bytes(values), np.uint8)  # takes booleans and small whole numbers, but nothing else
        return np.minimum(whole, 1).astype(np.float64)
    except (TypeError, ValueError):
        pass
    return np.array([flag(value) for value in values], np.float64)


def presence(values: Sequence[Any]) -> FloatArray:
    """1 where something is named, NaN where nothing is (an identifier of zeros only is nothing); shape (n,)."""
    return np.array([1.0 if isinstance(v, str) and v.strip("0-") else np.nan for v in values], np.float64)


def flag(value: Any) -> float:
    """One truth value as 1, 0 or NaN."""
    if isinstance(value, (bool, int, float)):
        return float(bool(value)) if value == value else np.nan
    if isinstance(value, str):
        word = value.strip().lower()
        return 1.0 if word in _TRUE else 0.0 if word in _FALSE else np.nan
    return np.nan


def codes(values: Sequence[Any], interner: Interner) -> CodeArray:
    """Names as codes of `interner`, -1 where missing; numbers become their text; shape (n,)."""
    try:
        return np.fromiter(map(interner.__getitem__, values), np.int32, len(values))
    except TypeError:
        pass
    return np.fromiter((interner[name(value)] for value in values), np.int32, len(values))


def name(value: Any) -> str | None:
    """One name as text: whole numbers lose their `.0`; objects and lists are no names."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)) and not -_WIDEST < value < _WIDEST:
        return None  # no identifier is that wide
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < _TOO_LARGE else str(value)
    return str(value) if isinstance(value, int) else None


class Words(dict[Any, Any]):
    """What names are called here: made of `true=sidechain,*=main`, where `*` is every other value; `-=` is no name."""

    def __init__(self, unit: str) -> None:
        super().__init__({None: None})
        named = (part.split("=", 1) for part in unit.split(","))
        self._called = {word: called or None for word, called in named}

    def __missing__(self, value: Any) -> Any:
        called = self._called.get(str(name(value)), self._called.get("*", value))
        self[value] = called
        return called

    def of(self, values: Sequence[Any]) -> list[Any]:
        """The names of values; shape (n,)."""
        if not set(map(type, values)) <= _PLAIN_NAMES:  # 1, 1.0 and True are one key of a dict, but not one name
            values = [value if type(value) in _PLAIN_NAMES else name(value) for value in values]
        return list(map(self.__getitem__, values))


_PLAIN_NAMES: Final = frozenset({str, bool, type(None)})


_WIDEST: Final = 2**64


_WIDEST_KEY: Final = 256  # bytes of an identifier that numpy hashes
_BITS: Final = 53  # what a float holds exactly: 10 million identifiers collide once in 180 such logs


def keys(values: Sequence[Any]) -> FloatArray:
    """53-bit hashes of identifiers (texts or numbers), NaN where there is none; shape (n,).

    A key takes eight bytes a call, however long the identifier is.
    """
    texts = [value if type(value) is str else name(value) or "" for value in values]
    joined = "".join(texts)
    if not joined.isascii() or "\0" in joined or max(map(len, texts), default=0) > _WIDEST_KEY:
        found = np.array([_hash_of(text) for text in texts], np.float64)
    else:
        found = _hashes(np.array(texts, np.bytes_))
    found[[not text for text in texts]] = np.nan
    return found


def _hashes(texts: np.ndarray[Any, Any]) -> FloatArray:
    """Sums of the bytes, each times the odd number of its place, modulo 2^64; the highest bits of them."""
    width = texts.dtype.itemsize
    signs = texts.view(np.uint8).reshape(len(texts), width).astype(np.uint64)
    with np.errstate(over="ignore"):
        sums = signs @ _FACTORS[:width]
    found: FloatArray = (sums >> np.uint64(64 - _BITS)).astype(np.float64)
    return found


def _factors(count: int) -> np.ndarray[Any, Any]:
    """Odd pseudo-random numbers, always the same (splitmix64)."""
    with np.errstate(over="ignore"):
        x = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return (x ^ (x >> np.uint64(31))) | np.uint64(1)


_FACTORS: Final = _factors(_WIDEST_KEY)


def _hash_of(text: str) -> float:
    import hashlib  # hardly ever needed

    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return float(int.from_bytes(digest, "little") >> (64 - _BITS))


def by_distinct(values: Sequence[Any], read: Callable[[Any], float]) -> FloatArray:
    """`read` applied once per distinct word; for columns of few distinct words; shape (n,)."""
    if not set(map(type, values)) <= _WORDS:  # 1, 1.0 and True are one key of a dict, but not one status
        return np.array([read(value) for value in values], np.float64)
    table = {value: float(read(value)) for value in set(values)}
    return np.fromiter(map(table.__getitem__, values), np.float64, len(values))


_WORDS: Final = frozenset({str, type(None)})


def has_text(value: Any) -> bool:
    """Whether a value is a text (the empty one too) or an object or list with something in it."""
    if isinstance(value, list):
        return any(not isinstance(part, (list, dict)) or has_text(part) for part in value[:_PARTS])
    return isinstance(value, str) or (isinstance(value, dict) and bool(value))


_PARTS: Final = 100


def inner_text(value: Any) -> Any:
    """What a text holds as JSON, if that is a message or the like; otherwise the text itself."""
    inner = embedded(value) if isinstance(value, str) else None
    return value if as_text(inner) is None else inner


def as_text(value: Any, depth: int = 16) -> str | None:
    """A prompt or output as one text: message lists and content parts are joined by newlines."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, list) and depth:
        parts = [text for part in value if (text := as_text(part, depth - 1)) is not None]
        return "\n".join(parts) if parts else None
    if isinstance(value, dict) and depth:
        inner = next((value[key] for key in _TEXT_KEYS if value.get(key) is not None), None)
        return as_text(inner, depth - 1)
    return None


def as_answer(value: Any) -> str | None:
    """An output as one text; an object that is no message is one of structured outputs, and given as JSON."""
    text = as_text(value)
    if text is None and isinstance(value, dict) and value and value.keys().isdisjoint(_MESSAGE_KEYS):
        return as_json(value)
    return text


def as_json(value: Any) -> str | None:
    """A structure as JSON text; a text as it is."""
    if value is None or isinstance(value, str):
        return value
    try:
        return orjson.dumps(value).decode()
    except TypeError:
        return None


_TEXT_KEYS: Final = ("content", "text", "message", "parts", "choices", "output", "messages", "prompt", "input")
_MESSAGE_KEYS: Final = frozenset({*_TEXT_KEYS, "type", "role", "tool_calls", "function", "error", "usage", "id"})
