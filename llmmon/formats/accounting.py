"""What became of every line that was read: nothing is dropped in silence."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

MOST_REJECTS_SHOWN: Final = 5


@dataclass(frozen=True, slots=True, order=True)
class Reject:
    """A line that could not be read: its number within the span and where it starts, and why."""

    line: int
    byte: int
    reason: str


@dataclass(slots=True)
class Accounting:
    """Lines of one span: `lines == blank + used + skipped + rejected`."""

    lines: int = 0
    blank: int = 0
    used: int = 0
    skipped: int = 0
    rejected: int = 0
    samples: int = 0
    dialects: dict[str, int] = field(default_factory=dict)
    rejects: list[Reject] = field(default_factory=list)
    notes: set[str] = field(default_factory=set)

    def read_as(self, dialect: str, lines: int) -> None:
        """Count lines that a dialect claimed."""
        if lines:
            self.dialects[dialect] = self.dialects.get(dialect, 0) + lines
