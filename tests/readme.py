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
    rows = [
        f"| [`{name}`]({folder.removeprefix('./')}{name}.md) | {command.help.split(chr(10))[0]} |"
        for name, command in click_commands().items()
    ]
    return _table("command | purpose", rows)


def _shared_options() -> str:
    """The options of every command that reads logs."""
    shared = _shared()
    return _option_table(click_commands()["summarize"], lambda name: name in shared)


def _options(name: str) -> str:
    """The options that a command has of its own; of a group of commands, those of each."""
    shared = _shared()
    command = click_commands()[name]
    members = getattr(command, "commands", {})
    if not members:
        return _option_table(command, lambda option: option not in shared)
    tables = {inner: _option_table(member, lambda option: option not in shared) for inner, member in members.items()}
    return "\n".join(f"`llmmon {name} {inner}`:\n\n{table}" for inner, table in tables.items() if table)


def _shared() -> set[str]:
    from llmmon.cli.options import READING, WRITING

    return {option.name for option in (*READING, *WRITING)}


def _option_table(command: Any, wanted: Callable[[str], bool]) -> str:
    rows = [_option_row(p) for p in command.params if p.param_type_name == "option" and wanted(p.name)]
    return _table("option | meaning", [row for row in rows if row])


def _option_row(parameter: Any) -> str:
    if parameter.name in {"help", "install_completion", "show_completion"}:
        return ""
    metavar = f" {parameter.metavar}" if parameter.metavar else ""
    names = ", ".join(f"`{name}`" for name in parameter.opts)
    return f"| {names}{metavar} | {(parameter.help or '').replace('|', chr(92) + '|')} |"


def _table(heads: str, rows: list[str]) -> str:
    rule = "|---" * (heads.count("|") + 1) + "|"
    return f"| {heads} |\n{rule}\n" + "".join(row + "\n" for row in rows) if rows else ""


def _dialects() -> str:
    from llmmon.formats import DIALECTS

    rows = [f"| `{name}` | {d.title}{f'; {d.lacks}' if d.lacks else ''} |" for name, d in DIALECTS.items()]
    return _table("dialect | what it is", rows)


def _fields() -> str:
    from llmmon.record import FIELDS

    return _table("field | meaning", [f"| `{name}` | {field.help} |" for name, field in FIELDS.items()])


def _metrics() -> str:
    from llmmon.metrics import METRICS

    rows = [f"| `{name}` | {m.help}{f' ({m.unit})' if m.unit else ''} |" for name, m in METRICS.items()]
    return _table("metric | meaning", rows)


def _statistics() -> str:
    """The statistics that have a name of their own."""
    from llmmon.metrics import STATISTICS, statistic_name

    own = {name: s for name, s in STATISTICS.items() if name != statistic_name(s.metric, s.aggregation)}
    return _table(
        "statistic | metric | aggregation",
        [f"| `{name}` | `{s.metric.name}` | {s.aggregation} |" for name, s in own.items()],
    )


def _flags() -> str:
    from llmmon.scorers.flags import FLAGS

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
    "metrics": _metrics,
    "statistics": _statistics,
    "flags": _flags,
}
