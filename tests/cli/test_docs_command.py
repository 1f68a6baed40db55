"""`llmmon docs`: the pages of the documentation in the terminal."""

from __future__ import annotations

import tomllib

from tests.conftest import Run
from tests.support.doc_pages import DOCS, ROOT


def test_every_page_is_listed_and_can_be_shown(run: Run) -> None:
    listed = run("docs").stdout
    pages = [page for page in DOCS.rglob("*.md") if page.name != "README.md"]
    assert [page.stem for page in pages if f"{page.stem} " not in listed] == []
    shown = run("docs", "metrics", env={"COLUMNS": "80"}).stdout
    assert "latency_ms" in shown
    assert max(map(len, shown.splitlines())) <= 80
    assert "<!--" not in shown


def test_an_unknown_page_gets_a_suggestion(run: Run) -> None:
    ran = run("docs", "metrcs")
    assert (ran.code, ran.stderr) == (2, "llmmon: unknown page 'metrcs', did you mean 'metrics'?\n")


def test_the_pages_are_in_the_wheel() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"] == {"docs": "llmmon/docs"}
