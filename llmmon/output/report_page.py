"""The report as one HTML file that needs no other."""

from __future__ import annotations

from importlib.resources import files

from llmmon.output.renderers.html import render
from llmmon.output.views.overview import view_report
from llmmon.reports.overview_fold import Overview


def report_page(overview: Overview) -> str:
    """The page of a report, with its styles and scripts."""
    parts = files("llmmon.output.renderers.html")
    return render(view_report(overview), *((parts / name).read_text("utf-8") for name in ("page.css", "page.js")))
