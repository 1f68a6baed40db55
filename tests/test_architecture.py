"""The directions of the design, read from the imports: who may know whom, who may touch the world, how big."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import llmmon

PACKAGE = Path(llmmon.__file__).parent

# From the bottom up. A module imports from the lines before its own, and from the names before it on its line.
# A name with a slash is a family's folder; its members may know each other, but never in a circle.
PURE_FLOORS = (
    "errors clock",
    "names money durations record",
    "columns packing",
    "zones outcome_masks partials quantiles metrics evaluation grouping series digests panels excluding",
    "formats/",
    "rates modelnames pricelist pricedata prices usage quoting pricing disagreements logged_costs whatif",
    "cost_block cost_tally cost_report costs",
    "collector aggregator sampled filters folds timeline recent conditions selection",
    "detectors/ incidents attribution",
    "rules alert slo_standing alerts history history_rows readings vigilance kinds/ evaluator",
    "rule_tables slos budgets rule_series rule_tests rule_test_tables rule_lint",
    "incident_labels backtest rule_text suggestion template",
    "scorers/ quality scored score_folds judge_report score_report",
    "simulation",
    "reports incident_reports live_report overview histograms tallies accumulating exposition semconv normalised",
    "views/ renderers/ prometheus",
)
EFFECT_FLOORS = (
    "transport mail program outgoing notifiers/ rendered drill delivery",
    "statelock outbox statefile whole_files journal config remote source_bytes span_bytes",
    "fingerprints sources checkpoints rejects cache parallel cluster background screen",
    "judge verdicts judge_sample judging",
    "seeking span_worker scanning tails time_range",
    "pipeline following rereading past",
    "summaries calls inspection cost_audit contributions monitoring scoring overview_parts reporting",
    "recording otlp_sending exporting",
    "posting added_rules checking desk alert_manager backtesting rule_testing",
    "vigil watching",
    "server/",
    "cli/",
    "__main__",
)
FREE = {"__init__"}  # the package itself: its version, and public names that are loaded when asked for

# a library -> the only modules that may import it
LIBRARIES = {
    "typer": ("cli",),
    "rich": ("renderers.terminal", "renderers.progress", "renderers.live", "renderers.live_table"),
    "zstandard": ("source_bytes", "sources"),
    "snowballstemmer": ("scorers",),
    "genai_prices": ("pricedata",),
    "fastapi": ("server",),
    "starlette": ("server",),
    "uvicorn": ("server",),
    "dask": ("cluster",),
    "distributed": ("cluster",),
    "httpx": ("transport",),
    "httpx2": ("transport",),
    "requests": (),
    "urllib.request": ("transport",),
    "http.client": ("transport",),
    "smtplib": ("mail",),
    "fsspec": ("remote",),
}
# what no module above the effects line may name, with its one exemption each
EFFECT_MODULES = {"socket", "subprocess", "random", "time", "tempfile", "shutil", "asyncio", "threading"}
EFFECT_CALLS = {"open", "print", "input", "exec", "eval"}
EFFECT_ATTRIBUTES = {
    *("os.environ", "os.getenv", "os.open", "os.read", "os.write", "os.stat", "sys.stdin", "sys.stdout", "sys.stderr"),
    *("datetime.now", "datetime.utcnow", "datetime.today", "date.today", "sys.argv"),
}
EFFECT_METHODS = {"read_text", "read_bytes", "write_text", "write_bytes", "read_binary"}
EXEMPT = {
    ("clock", "datetime.now"): "the package's one clock, bound once",
}

MOST_MODULE_LINES = 300
MOST_FUNCTION_LINES = 40


def module_name(path: Path) -> str:
    """`renderers.terminal` for llmmon/renderers/terminal.py; a folder's own file is the folder."""
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


def own_imports(name: str, *, anywhere: bool = True) -> set[str]:
    """The llmmon modules that a module imports; only when it is loaded itself unless `anywhere`."""
    nodes = ast.walk(tree(name)) if anywhere else iter(tree(name).body)
    return {found.removeprefix("llmmon.") for found in imports(nodes) if found.startswith("llmmon.")}


def floors() -> dict[str, tuple[int, int]]:
    """Each placed name -> its line and its place on the line."""
    lines = [line.split() for line in (*PURE_FLOORS, *EFFECT_FLOORS)]
    return {name.rstrip("/"): (high, at) for high, names in enumerate(lines) for at, name in enumerate(names)}


FLOORS = floors()
FAMILIES = {name.rstrip("/") for line in (*PURE_FLOORS, *EFFECT_FLOORS) for name in line.split() if name.endswith("/")}


def family(name: str) -> str:
    return name.split(".")[0]


def is_pure(name: str) -> bool:
    return family(name) in FLOORS and FLOORS[family(name)][0] < len(PURE_FLOORS)


def test_every_module_has_a_floor() -> None:
    homeless = sorted({family(name) for name in MODULES} - FLOORS.keys() - FREE)
    assert homeless == [], f"place these in the floors of {Path(__file__).name}: {', '.join(homeless)}"


def test_only_families_are_folders() -> None:
    assert {name.split(".")[0] for name in MODULES if "." in name} <= FAMILIES


@pytest.mark.parametrize("name", sorted(MODULES.keys() - FREE))
def test_a_module_imports_only_from_floors_below_its_own(name: str) -> None:
    here = FLOORS.get(family(name), (99, 0))
    known = {other for other in own_imports(name) if family(other) != family(name)} - FREE
    upwards = sorted(other for other in known if FLOORS.get(family(other), (-1, 0)) >= here)
    assert upwards == [], f"{name} imports {', '.join(upwards)}, which stand at its height or higher"


def test_no_modules_import_each_other_in_a_circle() -> None:
    edges = {name: own_imports(name, anywhere=False) & MODULES.keys() for name in MODULES}
    while leaves := [name for name, known in edges.items() if not known & edges.keys()]:
        for name in leaves:
            del edges[name]
    assert edges == {}, "these import each other in a circle"


@pytest.mark.parametrize("library", sorted(LIBRARIES))
def test_a_library_is_imported_only_where_it_belongs(library: str) -> None:
    users = {
        name
        for name in MODULES
        for found in imports(ast.walk(tree(name)))
        if found == library or found.startswith(f"{library}.")
    }
    strays = {name for name in users if not any(name == at or name.startswith(f"{at}.") for at in LIBRARIES[library])}
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


PURE_BELOW_THE_LINE = {"notifiers"}  # they know what can be sent, and send nothing themselves


@pytest.mark.parametrize(
    "name",
    sorted(n for n in MODULES if (is_pure(n) or family(n) in PURE_BELOW_THE_LINE) and n != "renderers.progress"),
)
def test_above_the_effects_line_nothing_touches_the_world(name: str) -> None:
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


def test_no_module_is_named_for_nothing() -> None:
    vague = {"utils", "util", "helpers", "common", "core", "base", "misc", "manager"}
    assert {part for name in MODULES for part in name.split(".")} & vague == set()


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


def test_a_summary_as_json_loads_no_rich() -> None:
    line = '{"model": "m", "latency_ms": 1}'
    code = f"""import io, os, tempfile
path = os.path.join(tempfile.mkdtemp(), 'a.jsonl')
open(path, 'w').write('''{line}''')
sys.argv = ['llmmon', 'summarize', path, '-f', 'json', '--cost', 'none']
from llmmon.cli import main
try: main()
except SystemExit: pass"""
    assert {name for name in loaded_by(code) if name.split(".")[0] == "rich"} == set()


def test_every_public_name_is_there() -> None:
    assert [name for name in llmmon.__all__ if not hasattr(llmmon, name)] == []


def test_public_names_are_sorted_and_complete() -> None:
    assert sorted(llmmon.__all__) == llmmon.__all__
    assert {*llmmon._OWNERS, "__version__"} == set(llmmon.__all__)


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        llmmon.no_such_name  # noqa: B018
