"""The generated parts of README and docs/: tables from the product's own tables, console examples from real runs."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import typer

from tests.support import agent_logs

ROOT = next(folder for folder in Path(__file__).parents if (folder / "pyproject.toml").is_file())
README = ROOT / "README.md"
DOCS = ROOT / "docs"
PAGES = (README, ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", *sorted(DOCS.rglob("*.md")))
_BLOCK = re.compile(r"(<!-- begin ([\w: ]+) -->\n).*?(<!-- end \2 -->)", re.DOTALL)
_CONSOLE = re.compile(r"(```console\n\$ )(llmmon [^\n]*)\n.*?(```)", re.DOTALL)


def name_of(page: Path) -> str:
    """`docs/alerting.md`."""
    return page.relative_to(ROOT).as_posix()


def rewritten(text: str) -> str:
    """A page with its generated blocks and console examples as they are now."""
    text = _BLOCK.sub(lambda match: match[1] + _generated(match[2]) + match[3], text)
    if not _CONSOLE.search(text):
        return text
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(ROOT / "sample_logs", Path(folder) / "sample_logs")
        agent_logs.write(Path(folder) / "agent_logs", "claude_code", agent_logs.sessions(12, turns=(5, 70), words=3000))
        return _CONSOLE.sub(lambda match: f"{match[1]}{match[2]}\n{run(match[2], folder)}{match[3]}", text)


def run(command: str, folder: str) -> str:
    """What an example prints on stdout, at 100 columns."""
    environment = {**os.environ, "COLUMNS": "100", "HOME": folder, "XDG_CONFIG_HOME": folder, "NO_COLOR": "1"}
    argv = [sys.executable, "-m", "llmmon", *shlex.split(command)[1:]]
    done = subprocess.run(argv, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode not in {0, 1}:
        raise AssertionError(f"{command}: exit {done.returncode}: {done.stderr}")
    return "".join(line.rstrip() + "\n" for line in done.stdout.splitlines())


def _generated(block: str) -> str:
    """The text of `<!-- begin NAME -->`, or of `<!-- begin NAME: ARGUMENT -->`."""
    name, _, argument = block.partition(": ")
    return BLOCKS[name](argument) if argument else BLOCKS[name]()


@cache
def click_commands() -> dict[str, Any]:
    """Each command by its name, in the order of `llmmon --help`."""
    from llmmon.cli import application

    group: Any = typer.main.get_command(application())
    return dict(group.commands)


def _commands(folder: str = "docs/commands/") -> str:
    from llmmon.cli import GROUPS

    commands, place = click_commands(), folder.removeprefix("./")
    rows = [
        f"| {title * (name == names[0])} | [`{name}`]({place}{name}.md) | {commands[name].help.split(chr(10))[0]} |"
        for title, names in GROUPS.items()
        for name in names
    ]
    return _table("group | command | purpose", rows)


def _shared_options() -> str:
    """The options of every command that reads logs."""
    return _option_table([option for option in _taken(click_commands()["summarize"]) if _flags_of(option) in _shared()])


def _options(name: str) -> str:
    """The options that a command has of its own, and which of the shared ones; of a group, those of each command."""
    command = click_commands()[name]
    members = getattr(command, "commands", {})
    if not members:
        return _own_options(command)
    tables = {inner: _own_options(member) for inner, member in members.items()}
    return "\n".join(f"`llmmon {name} {inner}`:\n\n{table}" for inner, table in tables.items() if table)


def _own_options(command: Any) -> str:
    shared, taken = _shared(), _taken(command)
    common = [option for option in taken if _flags_of(option) in shared]
    if len(common) < len(shared) / 2:
        return _option_table(taken)
    table = _option_table([option for option in taken if option not in common])
    missing = [flags for flags in shared if flags not in {_flags_of(option) for option in common}]
    tail = ", except " + ", ".join(f"`{flags[-1]}`" for flags in missing) if missing else ""
    return f"{table}\n{'And the' if table else 'The'} [shared options](README.md#shared-options){tail}.\n".lstrip("\n")


def _shared() -> list[tuple[str, ...]]:
    from llmmon.cli.options import READING, WRITING

    names = {option.name for option in (*READING, *WRITING)}
    return [_flags_of(option) for option in _taken(click_commands()["summarize"]) if option.name in names]


def _taken(command: Any) -> list[Any]:
    hidden = {"help", "install_completion", "show_completion"}
    return [p for p in command.params if p.param_type_name == "option" and p.name not in hidden]


def _flags_of(option: Any) -> tuple[str, ...]:
    return tuple(option.opts)


def _option_table(options: list[Any]) -> str:
    return _table("option | meaning", [_option_row(option) for option in options])


def _option_row(option: Any) -> str:
    metavar = f" {option.metavar}" if option.metavar else ""
    names = ", ".join(f"`{name}`" for name in (*option.opts, *option.secondary_opts))
    text = (option.help or "").replace("|", "\\|")
    shown = option.show_default and type(option.default) in {int, float, str} and "Default" not in text
    default = f" Default: {option.default}." if shown and option.default != "" else ""
    return f"| {names}{metavar} | {text}{default} |"


def _table(heads: str, rows: list[str]) -> str:
    rule = "|---" * (heads.count("|") + 1) + "|"
    return f"| {heads} |\n{rule}\n" + "".join(row + "\n" for row in rows) if rows else ""


def _dialects() -> str:
    from llmmon.formats import DIALECTS

    rows = [f"| `{name}` | {d.title}{f'; {d.lacks}' if d.lacks else ''} |" for name, d in DIALECTS.items()]
    return _table("dialect | what it is", rows)


def _fields() -> str:
    from llmmon.metrics.record import FIELDS

    return _table("field | meaning", [f"| `{name}` | {field.help} |" for name, field in FIELDS.items()])


def _table_columns(name: str) -> str:
    """The columns of a table of `llmmon sql` that are no fields of calls."""
    from llmmon.metrics.record import FIELDS
    from llmmon.reports.tables import columns_of

    own = {column: row for column, row in columns_of(name).items() if name != "calls" or column not in FIELDS}
    return _table(
        "column | type | meaning", [f"| `{column}` | {kind} | {text} |" for column, (kind, text) in own.items()]
    )


def _metrics() -> str:
    from llmmon.metrics.definitions import METRICS

    rows = [f"| `{name}` | {m.help}{f' ({m.unit})' if m.unit else ''} |" for name, m in METRICS.items()]
    return _table("metric | meaning", rows)


def _statistics() -> str:
    """The statistics that have a name of their own."""
    from llmmon.metrics.definitions import STATISTICS, statistic_name

    own = {name: s for name, s in STATISTICS.items() if name != statistic_name(s.metric, s.aggregation)}
    return _table(
        "statistic | metric | aggregation",
        [f"| `{name}` | `{s.metric.name}` | {s.aggregation} |" for name, s in own.items()],
    )


def _flags() -> str:
    from llmmon.quality.scorers.flags import FLAGS

    rows = [
        f"| `{name}` | {flag.help} | {flag.dimension or '-'} | {flag.threshold:g} |" for name, flag in FLAGS.items()
    ]
    return _table("flag | the answer ... | dimension | threshold", rows)


BLOCKS: dict[str, Callable[..., str]] = {
    "commands": _commands,
    "shared options": _shared_options,
    "options": _options,
    "dialects": _dialects,
    "fields": _fields,
    "columns": _table_columns,
    "metrics": _metrics,
    "statistics": _statistics,
    "flags": _flags,
}
