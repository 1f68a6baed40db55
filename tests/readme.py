"""The generated parts of README: tables from the product's own tables, console examples from real runs."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import typer

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
_BLOCK = re.compile(r"(<!-- begin (\w+) -->\n).*?(<!-- end \2 -->)", re.DOTALL)
_CONSOLE = re.compile(r"(```console\n\$ )(llmmon [^\n]*)\n.*?(```)", re.DOTALL)


def rewritten(text: str) -> str:
    """README with its generated blocks and console examples as they are now."""
    text = _BLOCK.sub(lambda match: match[1] + BLOCKS[match[2]]() + match[3], text)
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


def _commands() -> str:
    rows = [f"| `{name}` | {command.help.split(chr(10))[0]} |" for name, command in _click_commands().items()]
    return _table("command", "does", rows)


def _click_commands() -> dict[str, Any]:
    from llmmon.cli import application

    group: Any = typer.main.get_command(application())
    return dict(group.commands)


def _options() -> str:
    """The shared options once, then those that a command has of its own."""
    from llmmon.cli.options import READING, WRITING

    shared = {option.name for option in (*READING, *WRITING)}
    commands = _click_commands()
    lines = ["Shared by the commands that read logs:\n\n", _option_table(commands["summarize"], lambda n: n in shared)]
    for name, command in _with_their_own(commands):
        own = _option_table(command, lambda n: n not in shared and n != "logs")
        lines += [f"\n`{name}`:\n\n", own] if own else []
    return "".join(lines)


def _with_their_own(commands: dict[str, Any]) -> list[tuple[str, Any]]:
    """The commands, and after those that have commands of their own these, as `notify test`."""
    found: list[tuple[str, Any]] = []
    for name, command in commands.items():
        found.append((name, command))
        found += [(f"{name} {inner}", own) for inner, own in getattr(command, "commands", {}).items()]
    return found


def _option_table(command: Any, wanted: Callable[[str], bool]) -> str:
    rows = [_option_row(p) for p in command.params if p.param_type_name == "option" and wanted(p.name)]
    return _table("option", "meaning", [row for row in rows if row])


def _option_row(parameter: Any) -> str:
    if parameter.name in {"help", "install_completion", "show_completion"}:
        return ""
    metavar = f" {parameter.metavar}" if parameter.metavar else ""
    names = ", ".join(f"`{name}`" for name in parameter.opts)
    return f"| {names}{metavar} | {(parameter.help or '').replace('|', chr(92) + '|')} |"


def _table(first: str, second: str, rows: list[str]) -> str:
    return f"| {first} | {second} |\n|---|---|\n" + "".join(row + "\n" for row in rows) if rows else ""


def _dialects() -> str:
    from llmmon.formats import DIALECTS

    rows = [f"| `{name}` | {d.title}{f'; {d.lacks}' if d.lacks else ''} |" for name, d in DIALECTS.items()]
    return _table("dialect", "what it is", rows)


def _fields() -> str:
    from llmmon.metrics.record import FIELDS

    return _table("field", "meaning", [f"| `{name}` | {field.help} |" for name, field in FIELDS.items()])


def _metrics() -> str:
    from llmmon.metrics.definitions import METRICS

    rows = [f"| `{name}` | {m.help}{f' ({m.unit})' if m.unit else ''} |" for name, m in METRICS.items()]
    return _table("metric", "meaning", rows)


BLOCKS: dict[str, Callable[[], str]] = {
    "commands": _commands,
    "options": _options,
    "dialects": _dialects,
    "fields": _fields,
    "metrics": _metrics,
}
