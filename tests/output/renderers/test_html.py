"""The HTML page: its markup, what hostile text becomes, its axes, and how a real browser shows it."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmmon.output.renderers.html import Html, chart, el, render
from llmmon.output.views.overview_charts import bin_ticks, time_axis, value_axis
from llmmon.output.views.page import Band, Cell, Chart, Drawn, Figure, Grid, Head, Layer, PageView, Section
from tests.conftest import CommandServer, clean_environment

CHROMIUM = next((found for name in ("chromium", "chromium-browser") if (found := shutil.which(name))), None)
HOUR_US = 3_600_000_000
HOSTILE = (
    "</script><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    '" onmouseover="alert(1)',
    "</style></title><svg onload=alert(1)>",
    "\x1b[31mred\x1b[0m",
    "a\u202eb\u200bc",
    "[red]x[/red]",
    "a\nb\x00c",
)


class Tags(HTMLParser):
    """The elements and attributes of a page, and whether every element is closed in its turn."""

    EMPTY = frozenset({"meta", "line", "rect", "path"})

    def __init__(self, page: str) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def drawing(text: str, *values: float | None, drawn: Drawn = Drawn.LINES) -> Chart:
    low, high, up = value_axis(0.0, 10.0, "count")
    return Chart(
        key="k", title=text, drawn=drawn, layers=(Layer(text, values), Layer("b", values)),
        places=tuple(f"{text} {i}" for i in range(len(values))), place_title=text, write=str, low=low, high=high,
        across=(), up=up, bands=(Band(0.2, 0.3, text, True),), note=text, summary=text,
    )  # fmt: skip


def page_of(text: str) -> PageView:
    table = Grid(
        text, (Head(text, number=False), Head("n", explained=text)), ((Cell(text, text), Cell("1", 1.0, 0.5)),)
    )
    section = Section("s", text, (text,), (drawing(text, 1.0, None, 2.0),), (table,), ((text, text),), text)
    return PageView(text, text, (Figure(text, text, text, text, "", text),), text, (section,), text)


def rendered(text: str) -> str:
    return render(page_of(text), "p{}", "1;")


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_adds_no_element_and_no_attribute(text: str) -> None:
    harmless, hostile = Tags(rendered("a")), Tags(rendered(text))
    assert [(tag, set(attrs)) for tag, attrs in harmless.seen] == [(tag, set(attrs)) for tag, attrs in hostile.seen]
    assert not hostile.open


@given(st.text())
def test_any_text_is_survived_without_control_characters(text: str) -> None:
    page = rendered(text)
    assert not re.findall("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", page)
    page.encode()


def test_the_policy_allows_this_script_and_style_and_nothing_else() -> None:
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', rendered("a"))
    assert policy.startswith("default-src &#x27;none&#x27;; style-src &#x27;sha256-")
    assert "unsafe" not in policy
    assert "http" not in policy


def test_markup_is_escaped_unless_it_is_markup() -> None:
    assert el("p", "<b>", Html("<i></i>"), title='"') == '<p title="&quot;">&lt;b&gt;<i></i></p>'


def test_a_line_breaks_where_a_value_is_missing_and_one_alone_is_a_dot() -> None:
    drawn = chart(drawing("a", 1.0, 2.0, None, 3.0, None, 4.0, 5.0))
    assert re.findall(r'd="([^"]*)" class="line s0"', drawn)[0].count("M") == 2
    assert re.findall(r'd="([^"]*)" class="line dot s0"', drawn)[0].count("M") == 1


def test_bars_stand_on_each_other() -> None:
    drawn = chart(drawing("a", 2.0, drawn=Drawn.BARS))
    tops = [float(y) for y in re.findall(r'd="M[\d.]+ ([\d.]+)h', drawn)]
    assert tops == [120.0, 90.0]


@given(st.floats(1e-6, 1e12), st.sampled_from(["ms", "count", "share", "usd", "score", "rate"]))
def test_an_axis_holds_its_values_with_few_ticks(high: float, unit: str) -> None:
    low, top, ticks = value_axis(0.0, high, unit)
    assert low == 0
    assert top >= high * 0.999999
    assert 2 <= len(ticks) <= 7
    assert len({tick.label for tick in ticks}) == len(ticks)


def test_ticks_of_values_are_round() -> None:
    def labels(low: float, high: float, unit: str) -> list[str]:
        return [tick.label for tick in value_axis(low, high, unit)[2]]

    assert ["0 s", "0.5 s", "1.0 s", "1.5 s"] == labels(0, 1300, "ms")
    assert ["0 %", "5 %", "10 %", "15 %", "20 %"] == labels(0, 0.17, "share")
    assert ["0", "1", "2", "3"] == labels(0, 3, "count")
    assert ["0", "1M", "2M", "3M"] == labels(0, 2.6e6, "count")
    assert ["$0", "$0.1", "$0.2", "$0.3", "$0.4"] == labels(0, 0.4, "usd")


def test_ticks_of_time_are_round_in_the_zone() -> None:
    start = 1_772_409_600_000_000  # 2026-03-02
    day = [tick.label for tick in time_axis(start, start + 24 * HOUR_US, "UTC")]
    assert ["2 Mar", "03:00", "06:00", "09:00", "12:00", "15:00", "18:00", "21:00"] == day
    week = [tick.label for tick in time_axis(start, start + 168 * HOUR_US, "Europe/Berlin")]
    assert [f"{n} Mar" for n in range(3, 9)] == week[:6]
    assert time_axis(start, start, "UTC") == ()


def test_a_second_has_few_ticks_too() -> None:
    assert [tick.label for tick in time_axis(5_000_000, 7_000_000, "UTC")] == ["00:00:05", "00:00:06"]


def test_ticks_of_bins_lie_where_the_values_are() -> None:
    places = [tick.place for tick in bin_ticks((1.0, 2.0, 4.0, 8.0), {1.0: "1", 4.0: "4", 8.0: "8", 9.0: "9"})]
    assert places == pytest.approx([0, 2 / 3, 1])


# --- in a browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.skip("no chromium on PATH: apt-get install chromium")
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install -e '.[dev]'")
    with api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture(scope="module")
def report(commands: CommandServer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of the sample logs."""
    folder = tmp_path_factory.mktemp("report")
    logs = Path(__file__).parents[3] / "sample_logs"
    talk = {name: str(folder / name) for name in ("stdout", "stderr")}
    args = ["report", str(logs), "-o", "report.html"]
    code = commands.run(args=args, cwd=str(folder), env=clean_environment(folder), stdin="/dev/null", **talk)
    assert code == 0, (folder / "stderr").read_text()
    return folder / "report.html"


@pytest.fixture
def shown(browser: Any, report: Path) -> Iterator[Callable[..., Any]]:
    """`shown(width=360)` opens the page; at the end nothing may have been complained of or asked for."""
    faults: list[str] = []
    pages = []

    def opened(width: int = 1280, scheme: str = "light") -> Any:
        page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
        page.on("console", lambda message: faults.append(message.text))
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("request", lambda asked: None if asked.url == report.as_uri() else faults.append(asked.url))
        page.goto(report.as_uri())
        pages.append(page)
        return page

    yield opened
    for page in pages:
        page.close()
    assert faults == []


def test_charts_are_drawn(shown: Callable[..., Any]) -> None:
    sizes = shown().evaluate(
        "[...document.querySelectorAll('.plot svg')].map(s => ({"
        "w: s.getBoundingClientRect().width, h: s.getBoundingClientRect().height,"
        "d: [...s.querySelectorAll('path')].map(p => p.getAttribute('d').length)}))"
    )
    assert len(sizes) >= 13
    assert all(size["w"] > 200 and size["h"] > 50 and size["d"] and min(size["d"]) > 10 for size in sizes)


def test_tables_sort_by_click_and_by_key(shown: Callable[..., Any]) -> None:
    page = shown()
    table = page.locator("table.sortable", has_text="gpt-4o-mini").nth(1)
    assert table.locator("caption").inner_text() == "By model"
    costs = "rows => rows.map(row => Number(row.cells[row.cells.length - 2].dataset.v))"
    head = table.locator("thead th", has_text=re.compile("^cost$"))
    head.locator("button").click()
    falling = table.locator("tbody tr").evaluate_all(costs)
    assert falling == sorted(falling, reverse=True)
    assert head.get_attribute("aria-sort") == "descending"
    head.locator("button").focus()
    page.keyboard.press("Enter")
    assert table.locator("tbody tr").evaluate_all(costs) == falling[::-1]
    assert head.get_attribute("aria-sort") == "ascending"
    assert table.locator("[aria-sort]").count() == 1
    assert page.locator(".status").inner_text() == "By model sorted by cost, ascending"


def test_a_chart_is_read_by_pointer_and_by_keys(shown: Callable[..., Any]) -> None:
    page = shown()
    stage = page.locator("#chart-latency .stage")
    stage.scroll_into_view_if_needed()
    stage.hover(position={"x": 100, "y": 50})
    assert page.locator(".tip").is_visible()
    assert re.search(r"2026-03-0\d \d\d:00\s+p50\s+\d", page.locator(".tip").inner_text())
    stage.focus()
    page.keyboard.press("End")
    page.keyboard.press("ArrowLeft")
    assert page.locator(".status").inner_text().startswith("2026-03-10 20:00: p50 ")
    page.keyboard.press("Escape")
    assert not page.locator(".tip").is_visible()


@pytest.mark.parametrize("width", [360, 1280])
def test_only_tables_scroll_sideways(shown: Callable[..., Any], width: int) -> None:
    wide = shown(width).evaluate("[document.documentElement.scrollWidth, document.body.scrollWidth]")
    assert wide == [width, width]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_stand_out_from_their_ground(shown: Callable[..., Any], scheme: str) -> None:
    """WCAG AA: a contrast of at least 4.5 for every text colour on cards and page."""
    colours = shown(scheme=scheme).evaluate(
        "['--page','--card','--ink','--soft','--accent','--good','--bad','--amber'].map("
        "n => getComputedStyle(document.documentElement).getPropertyValue(n).trim())"
    )
    page, card, *texts = map(luminance, colours)
    assert (page < 0.05) == (scheme == "dark")
    for ground in (page, card):
        for text in texts:
            assert (max(text, ground) + 0.05) / (min(text, ground) + 0.05) >= 4.5


def luminance(colour: str) -> float:
    """Relative luminance as WCAG defines it."""
    digits = colour.removeprefix("#")
    channels = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_every_element_has_a_name_for_those_who_do_not_see_it(shown: Callable[..., Any]) -> None:
    page = shown()
    nameless = page.evaluate(
        "[...document.querySelectorAll('[tabindex],button,a,nav')].filter("
        "e => !(e.getAttribute('aria-label') || e.textContent.trim())).length"
    )
    headings = page.evaluate("[...document.querySelectorAll('h1,h2,h3')].map(e => Number(e.tagName[1]))")
    assert nameless == 0
    assert headings[0] == 1
    assert all(b <= a + 1 for a, b in pairwise(headings))
    assert page.evaluate("document.documentElement.lang") == "en"
