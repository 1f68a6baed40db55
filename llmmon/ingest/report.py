"""What was read: the accounting of lines and calls, rejected lines, and the time that a report is about.

Missing is None (or NaN in arrays); times are microseconds UTC until a renderer writes them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from llmmon.errors import InputError
from llmmon.text.figures import counted
from llmmon.text.times import DAY_US, local


class RejectedLine(msgspec.Struct, frozen=True):
    """A line that could not be read: where (line from 1, None after a jump into the file), and why."""

    file: str
    line: int | None
    byte: int
    reason: str

    @property
    def place(self) -> str:
        """`file:line`, or the byte offset where the line's number is not known."""
        return f"{self.file}:{self.line}" if self.line is not None else f"{self.file} at byte {self.byte}"


# the fields of a `SourceReport` that add up over its parts
COUNTS: Final = (
    *("bytes_read", "lines", "blank", "used", "skipped", "rejected"),
    *("requests", "samples", "duplicates", "outside", "filtered", "undated"),
)


class SourceReport(msgspec.Struct, frozen=True, kw_only=True):
    """What was read and what became of it: `lines == blank + used + skipped + rejected`."""

    files: tuple[str, ...] = ()
    bytes_read: int = 0
    lines: int = 0
    blank: int = 0
    used: int = 0
    skipped: int = 0
    rejected: int = 0
    requests: int = 0
    samples: int = 0
    duplicates: int = 0
    outside: int = 0
    filtered: int = 0
    undated: int = 0
    dialects: Mapping[str, int] = msgspec.field(default_factory=dict)
    rejects: tuple[RejectedLine, ...] = ()
    start_us: int | None = None
    end_us: int | None = None
    timezone: str = "UTC"
    now_us: int | None = None
    failed: tuple[tuple[str, str], ...] = ()  # path, why
    warnings: tuple[str, ...] = ()  # what looks wrong, a line each

    @property
    def counts(self) -> dict[str, int]:
        """The counts that add up over the parts of a reading, by name."""
        return {name: getattr(self, name) for name in COUNTS}

    @property
    def why_empty(self) -> tuple[str, str] | None:
        """Why no calls are left, with where the log begins and ends, and what to try; None where some are."""
        if self.requests or self.samples or not (self.outside or self.filtered or self.undated):
            return None
        span, near = "", "DATE"
        if self.start_us is not None and self.end_us is not None:
            first, last, near = (
                local(us, self.timezone, seconds=False) for us in (self.start_us, self.end_us, self.end_us - DAY_US)
            )
            span, near = f" from {first} to {last} {self.timezone}", max(first, near)[:10]
        lost = [
            (self.outside, "in the time range", "outside the time range", f"--since {near}"),
            (
                self.filtered,
                "that --where keeps",
                "filtered out",
                "`llmmon summarize --by FIELD` lists what FIELD can be",
            ),
            (self.undated, "with a time", "without a time", "--map timestamp=KEY names the key that holds it"),
        ]
        parts = [part for part in lost if part[0]]
        which = f" {parts[0][1]}" if len(parts) == 1 else ""
        each = "" if which else ": " + ", ".join(f"{number:,} {what}" for number, _, what, _ in parts)
        whole = counted(sum(number for number, *_ in parts), "call")
        return f"no calls{which}; the log has {whole}{span}{each}", parts[0][3]

    def need_calls(self) -> None:
        """Raise `InputError` where the reading left no calls."""
        if self.why_empty is not None:
            reason, hint = self.why_empty
            raise InputError(reason, hint=hint)

    @staticmethod
    def joined(reports: Sequence[SourceReport]) -> SourceReport:
        """The accounting of several readings as one."""
        dialects: dict[str, int] = {}
        for report in reports:
            for name, lines in report.dialects.items():
                dialects[name] = dialects.get(name, 0) + lines
        return SourceReport(
            files=tuple(file for report in reports for file in report.files),
            dialects=dialects,
            rejects=tuple(reject for report in reports for reject in report.rejects),
            start_us=min((r.start_us for r in reports if r.start_us is not None), default=None),
            end_us=max((r.end_us for r in reports if r.end_us is not None), default=None),
            failed=tuple(failure for report in reports for failure in report.failed),
            warnings=tuple(dict.fromkeys(text for report in reports for text in report.warnings)),
            **{name: sum(getattr(report, name) for report in reports) for name in COUNTS},
        )


class Window(msgspec.Struct, frozen=True):
    """The time that a report is about; None where it is open or nothing is dated."""

    start_us: int | None
    end_us: int | None
    minutes: float | None
