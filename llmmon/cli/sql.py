"""`llmmon sql`: a statement, or a prompt for them."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from llmmon.cli.options import accepted_of, limit_of, logs_of, with_logs
from llmmon.errors import LlmmonError, UsageError

if TYPE_CHECKING:
    from llmmon.cli.output import Output
    from llmmon.config import Config
    from llmmon.ingest.query import Query
    from llmmon.reports.sql import Database

ShowText = Annotated[bool, typer.Option("--show-text", help="Add the columns of texts: prompt, output, ...")]
Limit = Annotated[int, limit_of("rows")]
AllowFiles = Annotated[
    bool, typer.Option("--allow-files", help="Let SQL read and write files, and load extensions of DuckDB.")
]
_PROMPT: Final = ("llmmon> ", "   ...> ")
_HELP: Final = """\
A statement ends with `;`. Tables: calls, sessions, incidents, tools.
  describe calls;     the columns of a table
  help                this
  quit, or Ctrl-D     leave; Ctrl-C drops what was typed, or ends a statement that runs"""


@with_logs
def sql(
    query: "Query",
    output: "Output",
    config: "Config",
    show_text: ShowText = False,
    limit: Limit = 100,
    allow_files: AllowFiles = False,
) -> int:
    """Query calls, sessions, incidents and tool calls with SQL.

    The first argument is the query; without one, a prompt opens, or statements are read from stdin.

    Examples:
      llmmon sql "select model, sum(cost_usd) from calls group by all" sample_logs/
      llmmon sql "from incidents" sample_logs/ -f csv
    """
    import msgspec

    from llmmon.ingest.reread import rereadable
    from llmmon.reports.sql import Database
    from llmmon.reports.tables import Asked

    statement, logs = _statement(query.logs, config)
    if statement is None and "-" in logs:
        raise UsageError("logs are read from stdin, and so is the query", hint='llmmon sql "select ..." -')
    query = msgspec.structs.replace(query, logs=logs)
    with rereadable(query) as again:
        asked = msgspec.structs.replace(again.query, progress=query.progress)
        database = Database(Asked(query=asked, texts=show_text, accepted=accepted_of(config)), files=allow_files)
        if statement is None and sys.stdin.isatty():
            return _prompt(database, output, limit)
        return _run(database, statement if statement is not None else sys.stdin.read(), output, limit, again.named)


def _statement(named: tuple[str, ...], config: "Config") -> tuple[str | None, tuple[str, ...]]:
    """The query among the arguments, which is no log, and the logs."""
    from llmmon.ingest.sources import names_a_log

    if named == config.logs:
        return None, named
    queries = [name for name in named if _is_sql(name) or not names_a_log(name)]
    if len(queries) > 1:
        raise UsageError(f"two queries: {queries[0]} and {queries[1]}", hint="separate statements with `;` in one")
    logs = logs_of([name for name in named if name not in queries], config)
    return (queries[0] if queries else None), logs


def _is_sql(text: str) -> bool:
    """Whether an argument is SQL rather than the name of a log: it begins with a word of it, and goes on."""
    words = text.lower().split(None, 1)
    return len(words) == 2 and words[0] in _VERBS and not Path(text).exists()


_VERBS: Final = frozenset(
    {"select", "with", "from", "describe", "summarize", "show", "explain", "pivot", "unpivot", "copy", "create", "set"}
)


def _run(database: "Database", text: str, output: "Output", limit: int, named: Any) -> int:
    """Run statements and write what the last one gave; the exit code."""
    from llmmon.ingest.report import SourceReport
    from llmmon.output.views.sql import view_answer

    answers = list(database.answers(text, output.say))
    if not answers:
        raise UsageError("no statement", hint='llmmon sql "select count(*) from calls" LOGS')
    found = None if database.read is None else named(database.read)
    source = SourceReport() if found is None else found.source
    return output.finish("sql", view_answer(answers[-1], limit), source, {0 if found is None else found.exit_code})


def _prompt(database: "Database", output: "Output", limit: int) -> int:
    """Read statements from the terminal until Ctrl-D; the exit code."""
    from llmmon.ingest.report import SourceReport
    from llmmon.output.views.sql import view_answer

    output.say(_HELP)
    with _LineEditing():
        for text in _inputs():
            try:
                for answer in database.answers(text, output.say):
                    output.finish("sql", view_answer(answer, limit), SourceReport(), {0})
            except KeyboardInterrupt:
                output.warn("interrupted")
            except LlmmonError as error:
                output.warn(str(error) + (f"\n  try: {error.hint}" if error.hint else ""))
    return 0


def _inputs() -> Iterator[str]:
    """Statements as they are typed, each up to its `;`."""
    kept: list[str] = []
    while True:
        try:
            line = input(_PROMPT[bool(kept)])
        except KeyboardInterrupt:
            kept.clear()
            typer.echo()
            continue
        except EOFError:
            typer.echo()
            if kept:
                yield "\n".join(kept)
            return
        word = line.strip().rstrip(";").lower()
        if not kept and word in {"quit", "exit", ".quit", ".exit", "\\q"}:
            return
        if not kept and word in {"help", ".help", "?", "\\?"}:
            typer.echo(_HELP)
            continue
        kept += [line] if line.strip() or kept else []
        if line.rstrip().endswith(";"):
            yield "\n".join(kept)
            kept.clear()


class _LineEditing:
    """Line editing with a history that stays, and completion of tables and columns, while this lasts."""

    def __enter__(self) -> None:
        from llmmon.config import state_home

        try:
            import readline
        except ImportError:  # a Python without it: lines without editing
            self._readline: Any = None
            return
        self._readline = readline
        self._history = state_home(os.environ) / "sql_history"
        try:
            readline.read_history_file(self._history)
        except OSError:
            readline.clear_history()
        readline.set_history_length(1000)
        readline.set_completer(_completion)
        readline.parse_and_bind("tab: complete")

    def __exit__(self, *_: object) -> None:
        if self._readline is None:
            return
        try:
            self._history.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._history.touch(mode=0o600)
            self._readline.write_history_file(self._history)
        except OSError:
            return  # a history is a convenience


def _completion(text: str, state: int) -> str | None:
    from llmmon.reports.tables import TABLES, columns_of

    words = dict.fromkeys([*TABLES, *(column for table in TABLES for column in columns_of(table)), *_VERBS])
    found = [word for word in words if word.startswith(text.lower())] if text else []
    return found[state] if state < len(found) else None
