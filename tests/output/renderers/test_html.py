"""The HTML page: its markup, what hostile text becomes, its axes, and how a real browser shows it."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmmon.metrics.aggregation import OTHER
from llmmon.output.renderers.html import render
from llmmon.output.renderers.html.charts import band_labels, chart
from llmmon.output.renderers.html.markup import Html, el
from llmmon.output.report_page import empty_page
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
    """The elements and attributes of a page, and whether every element is closed in its turn.

    Rows and cells may end with the next one, or with what they are in, as HTML has it.
    """

    EMPTY = frozenset({"meta", "line", "rect", "path", "input"})
    CELLS, ROWS = frozenset({"th", "td"}), frozenset({"th", "td", "tr"})

    def __init__(self, page: str) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag in self.ROWS:
            self._end(self.ROWS if tag == "tr" else self.CELLS)
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag in ("tr", "tbody"):
            self._end(self.ROWS if tag == "tbody" else self.CELLS)
        assert self.open.pop() == tag

    def _end(self, tags: frozenset[str]) -> None:
        while self.open[-1] in tags:
            self.open.pop()


def drawing(text: str, *values: float | None, drawn: Drawn = Drawn.LINES) -> Chart:
    low, high, up = value_axis(0.0, 10.0, "count")
    return Chart(
        key="k", title=text, drawn=drawn, layers=(Layer(text, values), Layer("b", values)),
        places=tuple(f"{text} {i}" for i in range(len(values))), place_title=text, write=str, low=low, high=high,
        across=(), up=up, bands=(Band(0.2, 0.3, (1,), True),), note=text, summary=text,
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
    assert ["$0", "$0.10", "$0.20", "$0.30", "$0.40"] == labels(0, 0.4, "usd")


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


spans = st.lists(st.tuples(st.floats(0, 1), st.floats(0, 0.2)), max_size=60)


@given(spans, st.sampled_from([220.0, 380.0]))
def test_numbers_over_a_chart_never_touch_and_none_is_lost(found: list[tuple[float, float]], width: float) -> None:
    bands = [Band(start, min(1.0, start + long), (n,), False) for n, (start, long) in enumerate(sorted(found), 1)]
    labels = band_labels(bands, width)
    boxes = []
    for label in labels:
        wide = len(label.text) * 6.5
        left = label.at * width - {"start": 0.0, "middle": wide / 2, "end": wide}[label.anchor]
        assert left >= -0.01
        assert left + wide <= max(width, wide) + 0.01
        boxes.append((left, left + wide))
    assert all(before[1] <= after[0] for before, after in pairwise(boxes))
    assert sorted(n for label in labels for n in label.numbers) == list(range(1, len(found) + 1))


def test_neighbouring_numbers_are_one_label() -> None:
    bands = [Band(0.5 + n / 1000, 0.5 + n / 1000, (n,), False) for n in (1, 2, 3, 5)]
    assert [label.text for label in band_labels(bands, 380.0)] == ["1-3, 5"]
    apart = [Band(n / 10, n / 10, (n,), False) for n in range(0, 9, 2)]
    assert [label.text for label in band_labels(apart, 380.0)] == ["0", "2", "4", "6", "8"]


def test_bars_that_rest_on_little_are_hatched() -> None:
    one = msgspec.structs.replace(drawing("a", 2.0, 3.0, drawn=Drawn.BARS), hatched=frozenset({1}), calls=(40, 6))
    shown = chart(one)
    (hatched,) = re.findall(r'd="([^"]*)" class="hatched"', shown)
    assert hatched.count("M") == 1
    assert hatched.startswith("M535")
    assert shown.count("<td>6<") == 1


def test_what_is_left_over_recedes() -> None:
    one = msgspec.structs.replace(
        drawing("a", 2.0, drawn=Drawn.BARS), layers=(Layer("m", (1.0,)), Layer(OTHER, (1.0,)))
    )
    assert 'class="bar rest"' in chart(one)


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
        "d: [...s.querySelectorAll('path')].map(p => p.getAttribute('d').length)})).filter(s => s.w)"
    )
    assert len(sizes) >= 13
    assert all(size["w"] > 200 and size["h"] > 50 and size["d"] and min(size["d"]) > 10 for size in sizes)


def test_tables_sort_by_click_and_by_key(shown: Callable[..., Any]) -> None:
    page = shown()
    table = page.locator("table.sortable", has_text="gpt-4o-mini").first
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


def test_an_incident_that_is_picked_is_marked_in_every_chart(shown: Callable[..., Any]) -> None:
    page = shown()
    card = page.locator(".stories > li").filter(has_text="gpt-4o answers took")
    assert page.locator("#chart-latency").is_visible()
    card.get_by_role("button", name="show in charts").click()
    assert page.locator("#view-model").is_checked()
    assert page.locator("#chart-latency-by-model").is_visible()
    assert not page.locator("#chart-latency").is_visible()
    marked = page.locator("#over-time figure:visible .picked")
    boxes = marked.evaluate_all("all => all.map(e => [getComputedStyle(e).visibility, e.getAttribute('x')])")
    assert len(boxes) >= 9
    assert {tuple(box) for box in boxes} == {("visible", card.get_attribute("data-x"))}
    card.get_by_role("button", name="show in charts").click()
    assert page.locator(".picked.on").count() == 0


def test_a_shaded_stretch_picks_its_incident(shown: Callable[..., Any]) -> None:
    page = shown()
    page.locator(".strip .block").first.click()
    assert page.locator(".stories > li.on").get_attribute("data-n") == "1"
    page.locator("#chart-errors text.band:visible").click()
    assert page.locator(".stories > li.on h3").inner_text().startswith("2. 32 % of calls failed")


def test_charts_switch_without_a_script(browser: Any, report: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(report.as_uri())
    assert page.locator("#chart-cost").is_visible()
    page.get_by_text("By feature", exact=True).first.click()
    assert page.locator("#chart-cost-by-feature").is_visible()
    assert not page.locator("#chart-cost").is_visible()
    assert not page.get_by_role("button", name="show in charts").first.is_visible()
    context.close()


def test_a_command_is_copied(browser: Any, report: Path) -> None:
    context = browser.new_context(permissions=["clipboard-read", "clipboard-write"])
    page = context.new_page()
    page.goto(report.as_uri())
    page.locator(".copy").first.click()
    page.locator(".copy", has_text=re.compile("copied|selected")).first.wait_for()
    assert page.evaluate("getSelection().toString()").startswith("llmmon anomalies ")
    context.close()


@pytest.mark.parametrize(("width", "scheme", "view"), [(1280, "light", "view-model"), (390, "dark", "view-all")])
def test_axe_finds_nothing(shown: Callable[..., Any], width: int, scheme: str, view: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="pip install -e '.[dev]'")
    page = shown(width, scheme)
    page.locator(f"label[for={view}]").click()
    found = axe.Axe().run(page, context={"exclude": [["details .scroll"], [".long tbody tr:nth-child(n + 6)"]]})
    assert [(rule["id"], len(rule["nodes"])) for rule in found.response["violations"]] == []


@pytest.mark.parametrize("width", [360, 768, 1440])
def test_labels_in_a_chart_do_not_overlap(shown: Callable[..., Any], width: int) -> None:
    touching = shown(width).evaluate("""() => {
        const found = [];
        for (const figure of document.querySelectorAll('figure.chart')) {
            for (const what of ['text.band', 'text.marklabel']) {
                const texts = [...figure.querySelectorAll(what)];
                const boxes = texts.map(e => e.getBoundingClientRect()).filter(b => b.width);
                const card = figure.getBoundingClientRect();
                boxes.forEach((a, i) => {
                    if (a.left < card.left || a.right > card.right) found.push([figure.id, what, 'outside']);
                    for (const b of boxes.slice(i + 1)) {
                        if (a.left < b.right && b.left < a.right && a.top < b.bottom - 3 && b.top < a.bottom - 3)
                            found.push([figure.id, what]);
                    }
                });
            }
        }
        return found;
    }""")
    assert touching == []


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


def test_a_live_page_shows_what_is_new_and_keeps_what_a_reader_did(browser: Any) -> None:
    def live(values: tuple[float, float]) -> str:
        rows = tuple((Cell(name, name), Cell(f"{value:g}", value)) for name, value in zip("ab", values, strict=True))
        grid = Grid("Groups", (Head("name", number=False), Head("n")), rows)
        section = Section("s", "Part", charts=(drawing("c", *values),), grids=(grid,))
        parts = files("llmmon.output.renderers.html")
        style, script = ((parts / name).read_text("utf-8") for name in ("page.css", "page.js"))
        page = PageView("Title", "sub", (Figure("n", f"{sum(values):g}"),), "", (section,), "", as_of="as of now")
        return render(page, style, script, live_s=1)

    pages = [live((1.0, 2.0)), live((5.0, 4.0))]
    answers = {"status": 200}
    page = browser.new_page()
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.route(
        "http://llmmon.test/",
        lambda route: route.fulfill(body=pages[0], content_type="text/html", status=answers["status"]),
    )
    page.goto("http://llmmon.test/")
    page.evaluate("window.same = true")
    page.locator("thead button", has_text="n").last.click()
    page.locator("details summary").first.click()
    assert page.locator("tbody th.brief").all_inner_texts() == ["b", "a"]
    pages[0] = pages[1]
    page.locator(".figure", has_text="9").wait_for(timeout=60_000)
    assert page.locator("tbody th.brief").all_inner_texts() == ["a", "b"]  # still the largest first
    assert page.locator("details").first.get_attribute("open") is not None
    assert page.evaluate("window.same") is True
    answers["status"] = 503
    page.locator(".asof.stale").wait_for(timeout=60_000)
    answers["status"] = 200
    page.locator(".asof:not(.stale)").wait_for(timeout=60_000)
    assert faults == []
    page.close()


def test_an_empty_page_looks_like_the_others() -> None:
    page = empty_page(1_772_409_600_000_000, 60)
    assert not Tags(page).open
    assert "No calls in the last 24 hours." in page
    assert "as of 2026-03-02 00:00:00 UTC" in page
    assert "<style>" in page
