"""README and docs/ say what the product does: generated tables, examples that run, complete keys, links that work."""

from __future__ import annotations

import difflib
import inspect
import re
import tomllib
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import pytest

from llmmon.alerting.backtest import labels_of
from llmmon.alerting.notifiers import NOTIFIERS, SHARED_KEYS
from llmmon.config import parse
from llmmon.pricing.own_prices import KEYS as OWN_PRICE_KEYS
from llmmon.text.tables import TomlTable
from tests.support.doc_pages import DOCS, PAGES, README, ROOT, click_commands, name_of, rewritten
from tests.test_architecture import ROOMS

MOST_README_BYTES = 20_000
CONFIGURATION = DOCS / "configuration.md"
_FENCE = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"(?<!\\)\]\(([^)\s]+)\)")
_PLACE = re.compile(r"(?<![\w/.-])((?:llmmon|tests|docs|\.ci)/[\w./*-]*\w)")
_MODULE = re.compile(r"python -m (tests[\w.]+)")


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_generated_parts_and_examples_are_as_they_are_now(page: Path, request: pytest.FixtureRequest) -> None:
    text = page.read_text(encoding="utf-8")
    now = rewritten(text)
    if request.config.getoption("--rewrite-docs"):
        page.write_text(now, encoding="utf-8")
        return
    difference = "\n".join(difflib.unified_diff(text.splitlines(), now.splitlines(), name_of(page), "now", lineterm=""))
    assert not difference, f"run pytest tests/test_docs.py --rewrite-docs\n{difference}"


def test_readme_is_short() -> None:
    assert README.stat().st_size <= MOST_README_BYTES


def test_every_command_has_a_page_with_its_options_and_an_example_that_is_run() -> None:
    for name in click_commands():
        text = (DOCS / "commands" / f"{name}.md").read_text(encoding="utf-8")
        assert text.startswith(f"# `llmmon {name}`\n")
        assert re.search(rf"```console\n\$ llmmon {name}\b", text), f"no example of {name}"
        assert f"<!-- begin options: {name} -->" in text, name


def test_every_command_says_in_its_help_what_it_does_and_gives_an_example() -> None:
    for name, command in click_commands().items():
        first, *_ = command.help.split("\n")
        assert first.endswith("."), name
        assert f"\n  llmmon {name}" in inspect.cleandoc(command.help).partition("\nExamples:")[2], name


def test_both_setup_lines_are_in_readme_as_ci_runs_them() -> None:
    text = README.read_text(encoding="utf-8")
    assert "python3 -m venv .venv && .venv/bin/pip install -q . && .venv/bin/llmmon summarize sample_logs/" in text
    assert "python3 -m venv .venv && .venv/bin/pip install -q -e '.[dev]' && .venv/bin/pytest -q" in text


def test_the_program_in_the_docs_runs() -> None:
    program = re.search(r"```python\n(.*?)```", (DOCS / "library.md").read_text(encoding="utf-8"), re.DOTALL)
    assert program is not None
    printed: list[object] = []
    exec(program[1], {"print": lambda *values: printed.extend(values)})  # noqa: S102 - our own page
    assert [830.0, 0.9, ["critical"], "High Latency", (), 0.9, True] == printed


def test_the_programs_on_data_frames_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    printed: list[str] = []
    for program in re.findall(r"```python\n(.*?)```", (DOCS / "notebooks.md").read_text(encoding="utf-8"), re.DOTALL):
        exec(program, {"print": lambda value: printed.append(str(value))})  # noqa: S102 - our own page
    by_model, daily, incidents = printed
    assert "claude-sonnet-4-5" in by_model
    assert "datetime.datetime(2026, 3, 2" in daily
    assert "8.3 times as long" in incidents


def test_every_toml_example_is_one_that_is_accepted() -> None:
    examples = [text for page in PAGES for text in re.findall(r"```toml\n(.*?)```", page.read_text(), re.DOTALL)]
    assert len(examples) >= 15
    for example in examples:
        table = tomllib.loads(example)
        if "incidents" in table:
            assert labels_of(table, "labels.toml")
        else:
            parse(table, Path("/etc/llmmon/llmmon.toml"))


def test_every_type_of_channel_has_an_example() -> None:
    text = (DOCS / "alerting.md").read_text(encoding="utf-8")
    assert [kind for kind in NOTIFIERS if f'type = "{kind}"' not in text] == []


def test_the_configuration_reference_has_exactly_the_keys_that_are_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    accepted = {
        "prices": set(OWN_PRICE_KEYS),
        "notify": set(SHARED_KEYS),
        **{f"notify.{name}": set(notifier.SETTINGS) for name, notifier in NOTIFIERS.items()},
        **_keys_of_tables(monkeypatch),
    }
    assert _documented_keys() == accepted


def _documented_keys() -> dict[str, set[str]]:
    """The keys of each table of the reference, by the name in the comment before it."""
    text = CONFIGURATION.read_text(encoding="utf-8")
    tables = re.findall(r"<!-- keys: ([\w.]*) ?-->\n((?:\|.*\n)+)", text)
    return {name: set(re.findall(r"^\| `(\w+)` \|", rows, re.MULTILINE)) for name, rows in tables}


def _keys_of_tables(monkeypatch: pytest.MonkeyPatch) -> dict[str, set[str]]:
    """The keys that each reader of a table accepts, noted while it reads one."""
    asked: dict[str, set[str]] = {}
    only: Callable[[TomlTable, Collection[str]], None] = TomlTable.only

    def noted(read: TomlTable, known: Collection[str]) -> None:
        asked[re.sub(r"\[\d+\]", "", read._place)] = set(known)
        only(read, known)  # type: ignore[arg-type]

    monkeypatch.setattr(TomlTable, "only", noted)
    expectation: Mapping[str, Any] = {"at": "1m", "alerts": [{"rule": "a"}]}
    parse(
        {
            "rules": [{"name": "a", "metric": "latency_ms", "threshold": 1}],
            "slos": [{"name": "b", "objective": 0.9}],
            "budgets": [{"name": "c", "amount_usd": 1}],
            "serve": {"tokens": [{"token": "env:TOKEN"}]},
            "tests": [{"name": "d", "series": [{"metric": "latency_ms", "values": "1"}], "expect": [expectation]}],
        },
        None,
    )
    return asked


def test_every_exit_code_is_in_readme() -> None:
    from llmmon import errors

    codes = {value for name, value in vars(errors).items() if name.startswith("EXIT_") and isinstance(value, int)}
    listed = {int(code) for code in re.findall(r"^\| (\d+) \|", README.read_text(encoding="utf-8"), re.MULTILINE)}
    assert codes == listed


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_leads_to_a_page_and_heading_that_exist(page: Path) -> None:
    for link in _LINK.findall(_FENCE.sub("", page.read_text(encoding="utf-8"))):
        if "://" in link:
            continue
        target, _, heading = link.partition("#")
        found = (page.parent / target).resolve() if target else page
        assert found.exists(), f"{name_of(page)}: {link}"
        assert not heading or heading in _anchors(found), f"{name_of(page)}: {link}"


def _anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", _FENCE.sub("", page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_page_on_architecture_names_every_room_in_the_order_of_imports() -> None:
    text = (DOCS / "architecture.md").read_text(encoding="utf-8")
    cells = re.findall(r"^\| (`.*?) \|", text, re.MULTILINE)
    listed = [name for cell in cells for name in re.findall(r"`(\w+)(?:/|\.py)`", cell)]
    hidden = {"__init__.py", "__main__.py", "py.typed", "__pycache__"}
    rooms = {entry.stem for entry in (ROOT / "llmmon").iterdir() if entry.name not in hidden}
    assert [room for room in ROOMS if room in rooms] == listed
    assert set(listed) == rooms


def test_every_page_of_docs_can_be_reached_from_the_index() -> None:
    reached: set[Path] = set()
    waiting = [DOCS / "README.md"]
    while waiting:
        page = waiting.pop()
        if page in reached or page.suffix != ".md":
            continue
        reached.add(page)
        targets = (link.partition("#")[0] for link in _LINK.findall(page.read_text(encoding="utf-8")))
        waiting += [(page.parent / target).resolve() for target in targets if target and "://" not in target]
    assert set(DOCS.rglob("*.md")) <= reached


def _file_of(module: str) -> str:
    """Where a module that is run with `-m` is; a package is run by its `__main__`."""
    path = module.replace(".", "/")
    return f"{path}/__main__.py" if (ROOT / path).is_dir() else f"{path}.py"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_file_of_the_project_that_a_page_names_exists(page: Path) -> None:
    text = re.sub(r"- uses: .*", "", page.read_text(encoding="utf-8"))  # a place on a code host
    names = {*_PLACE.findall(text), *(_file_of(name) for name in _MODULE.findall(text))}
    assert [name for name in sorted(names) if "NAME" not in name and not any(ROOT.glob(name))] == []
