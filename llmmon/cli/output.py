"""Write a command's result: format, file, width, colour; and the notes on stderr."""

import atexit
import contextlib
import os
import shutil
import stat
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, Final

import msgspec
import typer

from llmmon.errors import EXIT_FOUND, InputError, UsageError, first_exit_code, reason_of
from llmmon.files import appearing, cannot_write
from llmmon.ingest.remote import is_url
from llmmon.ingest.report import SourceReport
from llmmon.metrics.filters import Check
from llmmon.output.renderers import ENDINGS, RENDERERS, Page, renderer
from llmmon.output.renderers.json import dumps
from llmmon.output.views import View
from llmmon.text.figures import counted, plain_lines
from llmmon.text.names import lookup

_SMALL = 64 << 20  # bytes that are read too soon for a progress bar

_USUAL_WIDTH, _LEAST_WIDTH = 160, 20
_OF_ROWS = ("jsonl", "csv")
_ROWS_AT_ONCE = 512


Found = bool | Sequence[Check]  # what makes the exit code 1


def _is_found(found: Found) -> bool:
    return found if isinstance(found, bool) else any(check.failed for check in found)


class Output(msgspec.Struct, frozen=True):
    """The resolved output options."""

    format: str
    file: Path | None
    quiet: bool
    private: bool = False  # it holds texts of calls, so that a new file is for its owner only
    tags: tuple[str, ...] = ()  # that `--by` names

    @classmethod
    def of(cls, name: str | None, file: str | None, *, quiet: bool, private: bool = False) -> "Output":
        """From `--format`, `-o` and `--quiet`; raises `UsageError`."""
        if name is not None:
            lookup(RENDERERS, name, "format")
        if file is not None and is_url(file):
            raise UsageError(f"-o {file}: output files must be local", hint="-o - writes to a pipe")
        path = Path(file) if file not in (None, "-") else None
        return cls(name or ENDINGS.get(path.suffix.lower() if path else "", "table"), path, quiet, private)

    def say(self, text: str) -> None:
        """Write a note to stderr, unless quiet."""
        if not self.quiet:
            self.warn(text)

    def warn(self, text: str) -> None:
        """Write a warning to stderr, quiet or not."""
        typer.echo(plain_lines(text), err=True)

    def progress(self) -> Callable[[int, int], None] | None:
        """A progress bar in bytes, on a terminal."""
        if self.quiet or not sys.stderr.isatty():
            return None
        from llmmon.output.renderers.terminal import Progress

        progress = Progress(_SMALL)
        atexit.register(progress.close)  # an interrupted bar would leave the terminal without its cursor
        return progress.add

    def limit(self, asked: int | None, tables_show: int, *, rows_apart: bool = False) -> int:
        """How many rows to give (0: all): as many as were asked for, else all unless it is a table on the screen.

        With `rows_apart` the screen gets a table while a file gets the rows, see `finish_rows`.
        """
        if asked is not None:
            return asked
        as_table = self.format == "table" if self.file is None else rows_apart and self.format in _OF_ROWS
        return tables_show if as_table else 0

    def account(self, source: SourceReport, codes: set[int]) -> int:
        """Say what was read; the exit code of the run."""
        self._say_empty(source)
        self.say(accounting(source))
        return first_exit_code(codes)

    def finish(self, command: str, view: View, source: SourceReport, codes: set[int], found: Found = False) -> int:
        """Render and write the result; the exit code of the run."""
        checks = () if isinstance(found, bool) else tuple(found)
        if source.why_empty is not None and self.format in {"table", "markdown"}:
            view = View(data=view.data, rows=view.rows, lines=(source.why_empty[0], f"try: {source.why_empty[1]}"))
        if self.format == "table" and self.file is None:
            view = msgspec.structs.replace(view, tables=tuple(table.on_screen() for table in view.tables))
        page = Page(command, view, source, self._width(), self.colour(), checks=checks)
        rendered = renderer(self.format)(page)
        self.write(rendered.text)
        self._say_more(view)
        for tag in _tags_of_none(self.tags, view):
            self.say(f"no call has a tag {tag.removeprefix('tag.')!r}, nor is there a field of that name")
        if rendered.hidden:
            self.say(rendered.hidden)
        if self.format not in {"table", "markdown"} or self.file is not None:
            self._say_empty(source)
        if source.files:
            self.say(accounting(source))
        self._say_found(command, found)
        return first_exit_code(codes | ({EXIT_FOUND} if _is_found(found) else set()))

    def finish_rows(self, command: str, view: View, source: SourceReport, codes: set[int], found: Found = False) -> int:
        """As `finish`, but what `-o` names gets the rows where its format is one of rows, and stdout the rest.

        As JSON lines, rows are made and written piece by piece, so that there can be many.
        """
        ending = ENDINGS.get(self.file.suffix.lower(), "") if self.file is not None else self.format
        rows_as = self.format if self.format in _OF_ROWS else ending
        if self.file is None and self.format != "jsonl":
            return self.finish(command, view, source, codes, found)
        if rows_as == "jsonl":
            self._write_pieces(_json_lines(view.rows))
        elif self.file is not None:
            page = Page(command, view, source, self._width(), colour=False)
            self.write(renderer(rows_as if rows_as in _OF_ROWS else self.format)(page).text)
        if self.file is None:
            self._say_empty(source)
            self.say(accounting(source))
            self._say_found(command, found)
            return first_exit_code(codes | ({EXIT_FOUND} if _is_found(found) else set()))
        shown = self.format if rows_as in _OF_ROWS and self.format not in _OF_ROWS else "table"
        return Output(shown, None, self.quiet).finish(command, view, source, codes, found)

    def finish_lines(self, lines: Iterable[bytes], source: SourceReport, codes: set[int]) -> int:
        """Write lines that are complete as they are, and the accounting beside them; the exit code."""
        self._write_pieces(line + b"\n" for line in lines)
        self._say_empty(source)
        self.say(accounting(source))
        return first_exit_code(codes)

    def _say_found(self, command: str, found: Found) -> None:
        """Say which conditions of `--fail-on` hold; findings on rules are the result of their commands."""
        for check in () if isinstance(found, bool) or command.startswith("rules") else found:
            if check.failed:
                self.warn(f"--fail-on {check.name}: {check.message or 'holds'}")

    def _say_empty(self, source: SourceReport) -> None:
        """Say why no calls are left, and what to try."""
        if source.why_empty is not None:
            self.say("{}\n  try: {}".format(*source.why_empty))

    def _say_more(self, view: View) -> None:
        """Say what a limit left out, where no table does."""
        for what, number in view.more.items() if self.format != "table" or self.file is not None else ():
            if number:
                self.say(f"{number:,} more {what} (--limit 0 gives all)")

    def _write_pieces(self, pieces: Iterable[bytes]) -> None:
        if self.file is not None:
            write_whole(self.file, pieces, mode=self._mode)
            return
        for piece in pieces:
            self.write(piece.decode())

    def write(self, text: str, *, durable: bool = False) -> None:
        """Write text to the file (whole or not at all), or to stdout (a closed pipe ends it quietly).

        `durable` is for files that another program picks up: all can read it, and it survives a power cut.
        """
        data = text.encode("utf-8", "replace")
        if self.file is not None:
            write_whole(self.file, data, mode=0o644 if durable else self._mode, durable=durable)
            return
        try:
            sys.stdout.flush()
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
        except OSError as error:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what is left over goes nowhere
            if not isinstance(error, BrokenPipeError):
                raise InputError(f"cannot write to standard output: {reason_of(error)}") from None

    @contextlib.contextmanager
    def sink(self) -> Iterator[Callable[[bytes], object]]:
        """A function that writes pieces to the file (whole or not at all), or to stdout, for as long as this lasts."""
        if self.file is None:
            yield _to_stdout
            return
        with whole_file(self.file, mode=self._mode) as file:
            yield file.write

    @property
    def _mode(self) -> int | None:
        return 0o600 if self.private else None

    def _width(self) -> int:
        """How many columns there are: of the terminal, else as $COLUMNS says where that is a width that can be."""
        if self.file is None and sys.stdout.isatty():
            found = shutil.get_terminal_size().columns
        else:
            found = int(os.environ.get("COLUMNS", "0"))
        return max(found, _LEAST_WIDTH) if found else _USUAL_WIDTH

    def colour(self) -> bool:
        """Whether what is shown may be coloured."""
        return self.file is None and sys.stdout.isatty() and "NO_COLOR" not in os.environ


def _tags_of_none(tags: Sequence[str], view: View) -> list[str]:
    """Those tags of `--by` that no group has a value of."""
    return [tag for tag in tags if not any(_values_of(tag, view.data))]


def _values_of(tag: str, found: Any) -> Iterator[Any]:
    """What a report has for a tag, wherever it names groups."""
    if isinstance(found, Mapping):
        yield found.get(tag)
        if found.get("field") == tag:
            yield found.get("value")
        found = found.values()
    elif not isinstance(found, list | tuple):
        return
    for inner in found:
        yield from _values_of(tag, inner)


def _json_lines(rows: Iterable[Mapping[str, Any]]) -> Iterator[bytes]:
    """Rows as JSON lines, some hundred at a time."""
    left = iter(rows)
    while piece := "".join(dumps(row) + "\n" for row in islice(left, _ROWS_AT_ONCE)):
        yield piece.encode()


def _to_stdout(piece: bytes) -> None:
    """Ends the run quietly as soon as no one reads any more; raises `InputError` for any other trouble."""
    try:
        sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what is left over goes nowhere
        if isinstance(error, BrokenPipeError):
            raise typer.Exit(0) from None
        raise InputError(f"cannot write to standard output: {reason_of(error)}") from None


def write_whole(path: Path, data: bytes | Iterable[bytes], *, mode: int | None = None, durable: bool = False) -> None:
    """Replace a file by new content (or pieces of it) in one step; raises `InputError`."""
    with whole_file(path, mode=mode, durable=durable) as file:
        file.writelines([data] if isinstance(data, bytes) else data)


@contextlib.contextmanager
def whole_file(path: Path, *, mode: int | None = None, durable: bool = False) -> Iterator[BinaryIO]:
    """A file that takes the place of `path` at the end, if nothing went wrong; raises `InputError`.

    A new file gets `mode`; with `durable` it is on the disk before it takes the place.
    """
    try:
        with appearing(path, mode=mode, durable=durable) as file:
            yield file
    except OSError as error:
        raise cannot_write(path, error) from None


_FORCE: Final = "write elsewhere, or replace it with --force"
_KINDS: Final = {
    **dict.fromkeys((".html", ".htm"), "an HTML page"),
    **dict.fromkeys((".json", ".jsonl", ".ndjson"), "JSON"),
    **dict.fromkeys((".csv", ".md", ".prom", ".txt"), "text"),
    ".parquet": "Parquet",
}


def check_replaceable(option: str, path: Path, inputs: Iterable[str]) -> None:
    """Raise `UsageError` where writing the file would destroy one of the inputs."""
    mine = _identity(path)
    for name in inputs if mine is not None else ():
        if _identity(Path(name)) == mine:
            raise UsageError(f"{option} {path}: this file is read by the same command", hint=_FORCE)


def check_kind(path: Path, form: str) -> None:
    """Raise `UsageError` where `-o` names a file that holds something else than its name or the format promise."""
    try:
        with path.open("rb") as file:
            kind = _kind_of(file.read(1024)) if path.is_file() else ""
    except OSError:
        return
    wanted = {_KINDS[ending] for ending in (path.suffix.lower(), f".{form}") if ending in _KINDS}
    if kind == "binary data" or (kind and wanted and kind not in wanted):
        raise UsageError(f"-o {path}: the file holds {kind}, which is no earlier output", hint=_FORCE)


def _kind_of(head: bytes) -> str:
    """What a file holds, by its first bytes; "" for nothing."""
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")[:15].lower()
    if not start:
        return ""
    if head.startswith(b"PAR1"):
        return "Parquet"
    if b"\0" in head or head.startswith((b"\x1f\x8b", b"\x28\xb5\x2f\xfd")):
        return "binary data"
    if start.startswith((b"<!doctype html", b"<html")):
        return "an HTML page"
    return "JSON" if start.startswith((b"{", b"[{", b"[\n")) else "text"


def _identity(path: Path) -> tuple[int, int] | None:
    """What sets a regular file apart from all others; None where there is none."""
    try:
        status = path.stat()
    except (OSError, ValueError):
        return None
    return (status.st_dev, status.st_ino) if stat.S_ISREG(status.st_mode) else None


def accounting(source: SourceReport) -> str:
    """The line that accounts for everything that was read, and one for each thing that looks wrong in it."""
    parts = [counted(source.requests, "call")]
    for number, what in (
        (source.outside, "outside the time range"),
        (source.filtered, "filtered out"),
        (source.undated, "without a time"),
    ):
        if number:
            parts.append(f"{number:,} {what}")
    for number, what, more in (
        (source.duplicates, "duplicate", ""),
        (source.samples, "metric sample", ""),
        (source.skipped, "line", " without a call"),
        (source.blank, "blank line", ""),
    ):
        if number:
            parts.append(counted(number, what) + more)
    text = f"{counted(source.lines, 'line')} of {counted(len(source.files), 'file')}: {', '.join(parts)}"
    if source.rejected and source.rejects:
        first = source.rejects[0]
        text += f", {source.rejected:,} unreadable (first {first.place}: {first.reason})"
    return "\n".join((text, *(f"warning: {warning}" for warning in source.warnings)))
