"""TOML tables: one reader that returns checked values and collects everything that is wrong with them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, Final, TypeVar

from llmmon.errors import UsageError
from llmmon.text.names import nearest, unknown
from llmmon.text.patterns import lazy
from llmmon.text.times import DAY_US, duration_us

LONGEST_US: Final = 366 * DAY_US  # of a duration in a configuration
_NUMBER: Final = lazy(r"\[\d+\]")
T = TypeVar("T")


def parse_toml(data: bytes) -> dict[str, Any]:
    """Parse the content of a TOML file; raises `ValueError` with what is wrong with it."""
    import tomllib  # only needed where there is a file

    try:
        return tomllib.loads(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 (byte {error.start})") from None
    except RecursionError:
        raise ValueError("nested too deep") from None


class TomlTable:
    """One table being read; `faults` collects texts such as `rules[2].window: ...`, also of the tables inside it.

    A key that is absent or faulty is read as its default, so that one pass finds every fault.
    """

    def __init__(self, table: Mapping[str, Any], place: str = "", faults: list[str] | None = None) -> None:
        self._table = table
        self._place = place
        self.faults: list[str] = [] if faults is None else faults

    def fault(self, key: str, text: str) -> None:
        """Note what is wrong with a key, or with the table as a whole where `key` is empty."""
        self.faults.append(f"{self._path(key) if key else self._place}: {text}")

    def faults_text(self, where: object) -> str:
        """All faults as one message about the file `where`."""
        count = len(self.faults)
        return "\n  ".join([f"{where}: {count} error{'s' * (count > 1)}", *self.faults])

    def _path(self, key: str) -> str:
        return f"{self._place}.{key}" if self._place else key

    def only(self, known: Collection[str]) -> None:
        """Note every key that is not one of these."""
        for key in self._table:
            if key not in known:
                guess = nearest(key, known)
                self.fault(key, f"unknown key, did you mean {guess!r}?" if guess else "unknown key")

    @property
    def items(self) -> Mapping[str, Any]:
        """All keys with their unchecked values."""
        return self._table

    def has(self, key: str) -> bool:
        """Whether the key is there."""
        return key in self._table

    def value(self, key: str) -> Any:
        """The unchecked value of a key, None where it is absent."""
        return self._table.get(key)

    def _of(self, key: str, types: type | tuple[type, ...], what: str, default: T, *, secret: bool = False) -> Any | T:
        value = self._table.get(key, default)
        if key in self._table and (not isinstance(value, types) or (isinstance(value, bool) and types is not bool)):
            self.fault(key, f"must be {what}" + ("" if secret else f", not {value!r}"))
            return default
        return value

    def text(self, key: str, default: str = "", *, secret: bool = False) -> str:
        """A text; the fault of a `secret` one does not repeat its value."""
        return str(self._of(key, str, "text", default, secret=secret))

    def texts(self, key: str, what: str = "texts") -> tuple[str, ...]:
        """A text or a list of them."""
        value = self._table.get(key, [])
        if isinstance(value, str):
            return (value,)
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            self.fault(key, f"must be a list of {what}, not {value!r}")
            return ()
        return tuple(value)

    def flag(self, key: str, *, default: bool = False) -> bool:
        """True or false."""
        return bool(self._of(key, bool, "true or false", default))

    def number(self, key: str, default: float = 0.0) -> float:
        """A number."""
        return float(self._of(key, (int, float), "a number", default))

    def numbers(self, key: str, default: tuple[float, ...]) -> tuple[float, ...]:
        """A list of numbers, each once."""
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

    def duration(self, key: str, default: str, *, least_us: int = 0) -> int:
        """A duration in microseconds, of at most a year."""
        value = self._of(key, str, 'a duration such as "5m"', default)
        try:
            found = duration_us(value)
        except UsageError as error:
            self.fault(key, f"{error} ({error.hint})" if error.hint else str(error))
            return duration_us(default)
        if not least_us <= found <= LONGEST_US:
            self.fault(key, f"{value!r} is too {'short' if found < least_us else 'long'}")
        return found

    def one_of(self, key: str, known: Mapping[str, T], default: str) -> T:
        """The value of one of a few words."""
        word = self.text(key, default)
        if word not in known:
            self.fault(key, unknown(key, word, known))
            return known[default]
        return known[word]

    def table(self, key: str) -> TomlTable:
        """A table inside this one, empty where the key is absent."""
        value = self._table.get(key, {})
        if not isinstance(value, dict):
            self.fault(key, f"must be a table, as [{self._path(key)}]")
            value = {}
        return TomlTable(value, self._path(key), self.faults)

    def tables(self, key: str) -> list[TomlTable]:
        """The tables of a list of them."""
        value = self._table.get(key, [])
        path = self._path(key)
        if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
            self.fault(key, f"must be tables, each as [[{_NUMBER.sub('', path)}]]")
            return []
        return [TomlTable(one, f"{path}[{number}]", self.faults) for number, one in enumerate(value, 1)]

    def named_texts(self, key: str) -> dict[str, str]:
        """A table of texts by name; numbers are taken as texts."""
        value = self._table.get(key, {})
        if not isinstance(value, dict) or not all(isinstance(v, (str, int, float)) for v in value.values()):
            self.fault(key, 'must be a table of texts, as { team = "chat" }')
            return {}
        return {name: str(v) for name, v in value.items()}

    def check(self, key: str, check: Callable[[], object]) -> bool:
        """Whether a check of the value raises no `UsageError`; one that it raises is noted."""
        try:
            check()
        except UsageError as error:
            self.fault(key, str(error).removeprefix("--where: ").removeprefix("--by: "))
            return False
        return True
