"""The report as one HTML file that needs no other, and the live page of the service."""

from __future__ import annotations

from importlib.resources import files

import msgspec

from llmmon.output.renderers.html import render
from llmmon.output.views.overview import view_report
from llmmon.output.views.page import PageView
from llmmon.reports.overview_fold import Overview
from llmmon.text.times import local


def report_page(overview: Overview, *, live_s: int = 0, now_us: int = 0) -> str:
    """The page of a report, with its styles and scripts; a live one renews itself and says when it was made."""
    page = view_report(overview)
    if live_s:
        page = msgspec.structs.replace(page, as_of=_as_of(now_us, overview.source.timezone))
    return _written(page, live_s)


def empty_page(now_us: int, live_s: int) -> str:
    """The live page as long as there is nothing to report."""
    page = PageView(
        title="No calls in the last 24 hours.",
        subtitle="LLM requests",
        figures=(),
        compared="Calls that are posted to /v1/requests appear here by themselves.",
        sections=(),
        footer="llmmon serve",
        as_of=_as_of(now_us, "UTC"),
    )
    return _written(page, live_s)


def _as_of(now_us: int, tz: str) -> str:
    return f"as of {local(now_us, tz)} {tz}"


def _written(page: PageView, live_s: int) -> str:
    parts = files("llmmon.output.renderers.html")
    style, script = ((parts / name).read_text("utf-8") for name in ("page.css", "page.js"))
    return render(page, style, script, live_s)
