"""The rooms of the house, read from the imports: who may import whom, who may touch the world, how big."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

import llmmon

PACKAGE = Path(llmmon.__file__).parent

# The rooms, from the ground up. A module imports from its own room and from the rooms above its line.
ROOMS = {
    "errors": "what goes wrong, with exit codes",
    "files": "files that are whole or not there",
    "http_client": "requests that go out",
    "text": "names, times, figures, TOML tables",
    "metrics": "the call record, columns, aggregates, METRICS, --by, --where",
    "formats": "dialects: bytes -> columns",
    "pricing": "what a call costs",
    "ingest": "logs: find, read, follow, cache, select",
    "quality": "scores of answers, the judge",
    "anomaly": "series, detectors, incidents, what contributed",
    "alerting": "rules, evaluation, alert lifecycle, state, delivery",
    "config": "llmmon.toml",
    "reports": "what each command finds out",
    "output": "views, renderers, exports",
    "live": "watch and serve",
    "cli": "one file a command",
    "__main__": "the entry point",
}
ORDER = {room: floor for floor, room in enumerate(ROOMS)}
FREE = {"__init__"}  # the package itself: its version, and public names that are loaded when asked for
# folders whose files are members of one table: a small one is a row, not a module too many
FAMILIES = (
    *("formats.dialects", "quality.scorers", "anomaly.detectors", "alerting.evaluation", "alerting.notifiers"),
    *("output.views", "output.renderers", "output.export", "live.server", "cli"),
)
MOST_FOLDERS, MOST_FILES = 12, 6  # at the top, `__init__.py` and `py.typed` not counted
MOST_MODULE_LINES, LEAST_MODULE_LINES = 500, 120
MOST_FUNCTION_LINES = 60
# small modules with one importer that are right as they are, each with its reason
SMALL_ON_PURPOSE = {
    "ingest.http_logs": "loaded only where a log is named by an HTTP address",
    "alerting.lateness": "how late calls come, pure and tested apart from the run that asks",
    "ingest.dask": "an engine of its own, which needs an extra",
    "live.screen": "the terminal itself, apart from what is drawn on it",
}

# a library -> the only modules that may import it
LIBRARIES = {
    "typer": ("cli",),
    "rich": ("output.renderers.terminal", "live.display"),
    "zstandard": ("ingest.packings", "ingest.sources"),
    "snowballstemmer": ("quality.scorers",),
    "genai_prices": ("pricing.price_list",),
    "fastapi": ("live.server",),
    "starlette": ("live.server",),
    "uvicorn": ("live.server",),
    "opentelemetry": ("live.server.otlp",),
    "google.protobuf": ("live.server.otlp",),
    "dask": ("ingest.dask",),
    "distributed": ("ingest.dask",),
    "httpx": ("http_client",),
    "httpx2": ("http_client",),
    "requests": (),
    "urllib.request": ("http_client",),
    "http.client": ("http_client",),
    "smtplib": ("alerting.senders",),
    "apprise": ("alerting.senders",),
    "fsspec": ("ingest.remote",),
    "duckdb": ("reports.sql",),
    "pyarrow": ("ingest.parquet",),
    "mcp": ("live.mcp",),
    "pandas": ("reports.frames",),
    "polars": ("reports.frames",),
}
# where nothing reads a file, a clock or the environment, prints, or starts anything
PURE = (
    *("errors", "text", "metrics", "formats", "pricing", "quality.scorers", "quality.scores", "quality.report"),
    *(
        "anomaly.series",
        "anomaly.panel",
        "anomaly.drift",
        "anomaly.incidents",
        "anomaly.detectors",
        "anomaly.simulation",
    ),
    *("alerting.rules", "alerting.alert", "alerting.lifecycle", "alerting.history", "alerting.rule_config"),
    *("alerting.objectives", "alerting.lint", "alerting.backtest", "alerting.evaluation", "alerting.notifiers"),
    *("output.views", "output.renderers", "output.export.prometheus", "output.export.tallies", "live.rolling"),
)
EFFECT_MODULES = {"socket", "subprocess", "random", "time", "tempfile", "shutil", "asyncio", "threading"}
EFFECT_CALLS = {"open", "print", "input", "exec", "eval"}
EFFECT_ATTRIBUTES = {
    *("os.environ", "os.getenv", "os.open", "os.read", "os.write", "os.stat", "sys.stdin", "sys.stdout", "sys.stderr"),
    *("datetime.now", "datetime.utcnow", "datetime.today", "date.today", "sys.argv"),
}
EFFECT_METHODS = {"read_text", "read_bytes", "write_text", "write_bytes", "read_binary"}
# what is pure but for this
EXEMPT = {
    ("text.times", "datetime.now"): "the package's one clock, bound once",
    ("text.times", "time"): "its stopwatch",
}


def module_name(path: Path) -> str:
    """`output.renderers` for llmmon/output/renderers/__init__.py; the package itself is `__init__`."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if len(parts) > 1 and parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


@cache
def tree(name: str) -> ast.Module:
    return ast.parse(MODULES[name].read_text())


def imports(body: Iterator[ast.AST]) -> Iterator[str]:
    """Every module that a piece of code imports, by its full name."""
    for node in body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner.removeprefix("llmmon.") in MODULES else str(node.module)


@cache
def own_imports(name: str, *, anywhere: bool = True) -> frozenset[str]:
    """The llmmon modules that a module imports; only when it is loaded itself unless `anywhere`."""
    nodes = ast.walk(tree(name)) if anywhere else iter(tree(name).body)
    return frozenset(found.removeprefix("llmmon.") for found in imports(nodes) if found.startswith("llmmon."))


def room(name: str) -> str:
    return name.split(".")[0]


def within(name: str, places: Iterable[str]) -> bool:
    return any(name == place or name.startswith(f"{place}.") for place in places)


TOP = {
    *("pyproject.toml", "README.md", "llmmon", "tests", "sample_logs", "docs", "LICENSE", "CHANGELOG.md"),
    *("CONTRIBUTING.md", "SECURITY.md", ".ci", ".gitignore", ".pre-commit-hooks.yaml", "deploy"),
}


def test_the_top_level_holds_what_a_reader_expects_there() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=PACKAGE.parent, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not in a clone")
    assert {line.partition("/")[0] for line in listed.stdout.splitlines()} <= TOP


def test_every_module_is_in_a_room() -> None:
    assert {room(name) for name in MODULES} - ORDER.keys() - FREE == set(), "a new room needs a line in ROOMS"


def test_the_top_is_read_at_a_glance() -> None:
    folders = {room(name) for name in MODULES if "." in name}
    assert len(folders) <= MOST_FOLDERS
    assert len({room(name) for name in MODULES} - folders - FREE) <= MOST_FILES


@pytest.mark.parametrize("name", sorted(MODULES.keys() - FREE))
def test_a_module_imports_only_from_rooms_before_its_own(name: str) -> None:
    others = {other for other in own_imports(name) if room(other) != room(name)} - FREE
    wrong = sorted(other for other in others if ORDER[room(other)] > ORDER[room(name)])
    assert wrong == [], f"{name} imports {', '.join(wrong)}, from rooms after its own"


def test_no_modules_import_each_other_in_a_circle() -> None:
    edges = {name: own_imports(name, anywhere=False) & MODULES.keys() for name in MODULES}
    while leaves := [name for name, known in edges.items() if not known & edges.keys()]:
        for name in leaves:
            del edges[name]
    assert edges == {}, "these import each other in a circle"


def small_with_one_importer() -> list[str]:
    users: dict[str, set[str]] = {name: set() for name in MODULES}
    for name in MODULES:
        for other in own_imports(name) & MODULES.keys() - {name}:
            users[other].add(name)
    return [
        name
        for name, path in MODULES.items()
        if path.name != "__init__.py" and not within(name, FAMILIES) and len(users[name]) == 1
        if len(path.read_text().splitlines()) < LEAST_MODULE_LINES
    ]


def test_a_small_module_with_one_importer_is_part_of_it_or_a_member_of_a_family() -> None:
    assert set(small_with_one_importer()) == SMALL_ON_PURPOSE.keys()


@pytest.mark.parametrize("library", sorted(LIBRARIES))
def test_a_library_is_imported_only_where_it_belongs(library: str) -> None:
    users = {
        name
        for name in MODULES
        for found in imports(ast.walk(tree(name)))
        if found == library or found.startswith(f"{library}.")
    }
    strays = {name for name in users if not within(name, LIBRARIES[library])}
    assert strays == set()


def effects(name: str) -> Iterator[str]:
    """What a module does to the world, or reads from it, by name."""
    yield from (found for found in imports(ast.walk(tree(name))) if found.split(".")[0] in EFFECT_MODULES)
    for node in ast.walk(tree(name)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in EFFECT_CALLS:
            yield node.func.id
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            dotted = f"{node.value.id}.{node.attr}"
            if dotted in EFFECT_ATTRIBUTES:
                yield dotted
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in EFFECT_METHODS:
            yield node.func.attr


@pytest.mark.parametrize("name", sorted(name for name in MODULES if within(name, PURE)))
def test_the_pure_core_touches_nothing(name: str) -> None:
    assert [found for found in effects(name) if (name, found) not in EXEMPT] == []


def test_every_exemption_is_used() -> None:
    assert {(name, found) for name in MODULES for found in effects(name)} >= EXEMPT.keys()


@pytest.mark.parametrize("name", sorted(MODULES))
def test_a_module_keeps_its_budget(name: str) -> None:
    assert len(MODULES[name].read_text().splitlines()) <= MOST_MODULE_LINES


@pytest.mark.parametrize("name", sorted(MODULES))
def test_functions_keep_their_budget(name: str) -> None:
    functions = [node for node in ast.walk(tree(name)) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]
    lengths = {f"{f.name}, line {f.lineno}": (f.end_lineno or f.lineno) - f.lineno + 1 for f in functions}
    assert {name: lines for name, lines in lengths.items() if lines > MOST_FUNCTION_LINES} == {}


@pytest.mark.parametrize("name", sorted(MODULES))
def test_a_module_says_what_it_is_for(name: str) -> None:
    assert ast.get_docstring(tree(name)), "the docstring is missing"


def loaded_by(code: str) -> set[str]:
    """The modules that a fresh interpreter has loaded after some code."""
    script = f"import sys\n{code}\nsys.stderr.write('\\n'.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stderr.splitlines())


def test_help_loads_nothing_that_it_does_not_need() -> None:
    code = "sys.argv = ['llmmon', '--help']\nfrom llmmon.cli import main\ntry: main()\nexcept SystemExit: pass"
    heavy = {"numpy", "msgspec", "orjson", "rich", "httpx", "httpx2", "http.client", "genai_prices", "zstandard"}
    assert loaded_by(code) & heavy == set()


def test_importing_the_package_loads_nothing_of_it() -> None:
    loaded = loaded_by("import llmmon")
    assert {name for name in loaded if name.startswith("llmmon.")} == set()


LOG_LINE = '{"timestamp": "2026-03-02T10:00:00Z", "model": "m", "latency_ms": 1, "prompt_tokens": 2, "cost_usd": 0.1}'
# what a user types -> the most modules that it may load, all libraries included: what a run does not use, it does
# not load. A little above what is loaded today, so that growth is felt; raise a ceiling only with a reason.
# Dialects are loaded only for logs that can be of them.
CEILINGS = {
    "--help": 172,
    "summarize LOG": 414,
    "summarize LOG -f json": 360,
    "requests LOG -f json": 356,
    "cost LOG -f json": 418,
    "check LOG -f json": 393,
}
# never needed by a plain run: a server, other engines and stores, models of statistics, other ends of the package
NEVER = ("numpy.ma", "numpy.random", "numpy.fft", "multiprocessing", "asyncio", "httpx", "httpx2", "http", "ssl")
OURS_NEVER = ("llmmon.live", "llmmon.metrics.collector", "llmmon.alerting.notifiers", "llmmon.quality")


@cache
def loaded_by_command(command: str) -> frozenset[str]:
    """What is in memory after a command on a small log."""
    with TemporaryDirectory() as folder:
        (Path(folder) / "a.jsonl").write_text(f"{LOG_LINE}\n" * 20)
        arguments = command.replace("LOG", "a.jsonl").split()
        code = f"""import os
os.chdir({folder!r})
sys.argv = ['llmmon', *{arguments!r}]
sys.stderr, said = open(os.devnull, 'w'), sys.stderr
from llmmon.cli import main
try: main()
except SystemExit as ended: assert ended.code in (0, 1), ended.code
sys.stderr = said"""
        return frozenset(loaded_by(code))


@pytest.mark.parametrize("command", CEILINGS)
def test_a_command_loads_no_more_modules_than_its_ceiling(command: str) -> None:
    assert len(loaded_by_command(command)) <= CEILINGS[command]


@pytest.mark.parametrize("command", CEILINGS)
def test_a_command_loads_nothing_of_other_jobs(command: str) -> None:
    assert {name for name in loaded_by_command(command) if within(name, (*NEVER, *OURS_NEVER))} == set()


@pytest.mark.parametrize("command", [command for command in CEILINGS if "LOG" in command])
def test_rich_is_loaded_for_tables_alone(command: str) -> None:
    assert ("rich.console" in loaded_by_command(command)) == ("json" not in command)


def test_every_public_name_is_there() -> None:
    assert [name for name in llmmon.__all__ if not hasattr(llmmon, name)] == []


def test_public_names_are_sorted_and_complete() -> None:
    assert sorted(llmmon.__all__) == llmmon.__all__
    assert {*llmmon._OWNERS, "__version__"} == set(llmmon.__all__)


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        llmmon.no_such_name  # noqa: B018
