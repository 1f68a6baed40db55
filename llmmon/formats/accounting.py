"""What became of every line that was read: nothing is dropped in silence."""

from __future__ import annotations

from typing import Final

import msgspec

MOST_REJECTS_SHOWN: Final = 5
LONGEST_LINE: Final = 64 << 20  # bytes; a longer one is rejected, and never held as a whole
LONGEST_UNPACKED: Final = 1 << 30  # bytes of a line of a stream; there its reading ends: a few bytes may unpack to this


class LongLine(msgspec.Struct, frozen=True):
    """Stands among chunks for a line that is too long, whose bytes were passed over."""

    size: int

    def __len__(self) -> int:
        return self.size


class Reject(msgspec.Struct, frozen=True, order=True):
    """A line that could not be read: its number within the span and where it starts, and why."""

    line: int
    byte: int
    reason: str


class Accounting(msgspec.Struct):
    """Lines of one span: `lines == blank + used + skipped + rejected`."""

    lines: int = 0
    blank: int = 0
    used: int = 0
    skipped: int = 0
    rejected: int = 0
    samples: int = 0
    dialects: dict[str, int] = msgspec.field(default_factory=dict)
    rejects: list[Reject] = msgspec.field(default_factory=list)
    notes: set[str] = msgspec.field(default_factory=set)
    doubts: dict[str, int] = msgspec.field(default_factory=dict)  # see `formats.doubts`
    met: list[bytes] = msgspec.field(default_factory=list)  # some lines of kinds that the plan knows nothing of

    def read_as(self, dialect: str, lines: int) -> None:
        """Count lines that a dialect claimed."""
        if lines:
            self.dialects[dialect] = self.dialects.get(dialect, 0) + lines
