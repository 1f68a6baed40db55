"""`[[rules]]` of the configuration -> `AlertRule`s; everything that is wrong is listed, with its key."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeVar

from llmmon.errors import UsageError
from llmmon.text.names import nearest, unknown
from llmmon.text.times import SECOND_US, duration_us

_LONGEST_US: Final = 366 * 86400 * SECOND_US
T = TypeVar("T")


class RuleTable:
    """One table being read; `faults` are texts such as `rules[2].window: ...`."""

    def __init__(self, table: Mapping[str, Any], place: str, faults: list[str]) -> None:
        self._table = table
        self._place = place
        self._faults = faults

    def fault(self, key: str, text: str) -> None:
        """Note what is wrong with a key."""
        self._faults.append(f"{self._place}.{key}: {text}" if key else f"{self._place}: {text}")

    def only(self, known: Sequence[str]) -> None:
        """No other keys than these."""
        for key in self._table:
            if key not in known:
                guess = nearest(key, known)
                self.fault(key, "unknown key" + (f", did you mean {guess!r}?" if guess else ""))

    def _of(self, key: str, kinds: type | tuple[type, ...], what: str, default: T) -> Any | T:
        value = self._table.get(key, default)
        if key in self._table and (not isinstance(value, kinds) or (isinstance(value, bool) and kinds is not bool)):
            self.fault(key, f"must be {what}, not {value!r}")
            return default
        return value

    def has(self, key: str) -> bool:
        """Whether the key is there."""
        return key in self._table

    def value(self, key: str) -> Any:
        """Whatever stands there, None where nothing does."""
        return self._table.get(key)

    def tables(self, key: str) -> list[RuleTable]:
        """The tables of a list of them."""
        value = self._table.get(key, [])
        if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
            self.fault(key, f"must be a list of tables, not {value!r}")
            return []
        return [RuleTable(one, f"{self._place}.{key}[{i}]", self._faults) for i, one in enumerate(value, 1)]

    def text(self, key: str, default: str = "") -> str:
        """A text."""
        return str(self._of(key, str, "text", default))

    def flag(self, key: str) -> bool:
        """True or false."""
        return bool(self._of(key, bool, "true or false", default=False))

    def number(self, key: str, default: float = 0.0) -> float:
        """A number."""
        return float(self._of(key, (int, float), "a number", default))

    def numbers(self, key: str, default: tuple[float, ...]) -> tuple[float, ...]:
        """A list of different numbers."""
        value = self._table.get(key, list(default))
        if not isinstance(value, list) or not all(type(one) in {int, float} for one in value):
            self.fault(key, f"must be a list of numbers, not {value!r}")
            return default
        return tuple(dict.fromkeys(float(one) for one in value))

    def whole(self, key: str) -> int | None:
        """A whole number from 0, None where the key is absent."""
        found = self._of(key, int, "a whole number", None)
        if found is not None and found < 0:
            self.fault(key, "must not be negative")
        return found

    def texts(self, key: str) -> tuple[str, ...]:
        """A text or a list of them."""
        value = self._table.get(key, [])
        if isinstance(value, str):
            return (value,)
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            self.fault(key, f"must be a list of texts, not {value!r}")
            return ()
        return tuple(value)

    def table(self, key: str) -> dict[str, str]:
        """A table of texts (numbers are taken as texts)."""
        value = self._table.get(key, {})
        if not isinstance(value, dict) or not all(isinstance(v, (str, int, float)) for v in value.values()):
            self.fault(key, 'must be a table of texts, as { team = "chat" }')
            return {}
        return {name: str(v) for name, v in value.items()}

    def duration(self, key: str, default: str, *, least_us: int = 0) -> int:
        """A duration in microseconds."""
        value = self._of(key, str, 'a duration such as "5m"', default)
        try:
            found = duration_us(value)
        except UsageError as error:
            self.fault(key, f"{error} ({error.hint})" if error.hint else str(error))
            return duration_us(default)
        if not least_us <= found <= _LONGEST_US:
            self.fault(key, f"{value!r} is too {'short' if found < least_us else 'long'}")
        return found

    def one_of(self, key: str, known: Mapping[str, T], default: str) -> T:
        """One of a few words."""
        word = self.text(key, default)
        if word not in known:
            self.fault(key, unknown(key, word, known))
            return known[default]
        return known[word]

    def checked(self, key: str, check: Callable[[], object]) -> bool:
        """Whether a check of the value raises no `UsageError`; what it raises is noted."""
        try:
            check()
        except UsageError as error:
            self.fault(key, str(error).removeprefix("--where: ").removeprefix("--by: "))
            return False
        return True


def tables_of(tables: Any, place: str, faults: list[str]) -> Iterator[RuleTable]:
    """Each of the tables of `[[place]]`."""
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        faults.append(f"{place}: must be tables, each as [[{place}]]")
        return
    for number, table in enumerate(tables, 1):
        yield RuleTable(table, f"{place}[{number}]", faults)


def parse_toml(data: bytes) -> dict[str, Any]:
    """Parse the content of a TOML file; raises `ValueError` with what is wrong with it."""
    import tomllib  # only needed where there is a file

    try:
        return tomllib.loads(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 (byte {error.start})") from None
    except RecursionError:
        raise ValueError("nested too deep") from None
