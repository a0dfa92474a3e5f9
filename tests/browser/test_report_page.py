"""The report in a real browser: `make test-browser`.

$SCREENSHOTS names a folder that keeps pictures of the page, $CHROMIUM a browser other than the system's.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Literal
from xml.etree import ElementTree

import pytest
import torch
from PIL import Image
from playwright.sync_api import Browser, Locator, Page, sync_playwright
from torch.nn.functional import normalize

from align_uniform import Measurement, measure
from align_uniform.report import write_report
from tests.rows import normal, unit

ITEMS = 400
HACK = "<script>hacked = 1</script><img src=x onerror='hacked = 1'><svg onload='hacked = 1'>"


class Tab:
    """A page in the browser, with all that it asked for and all that stood on its console."""

    def __init__(self, browser: Browser, path: Path) -> None:
        self.page: Page = browser.new_page(viewport={"width": 1200, "height": 900})
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.goto(path.as_uri())


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    program = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    assert program, "there is no chromium; apt-get install chromium, or name one: CHROMIUM=/path/to/chrome."
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=program, args=["--no-sandbox", "--disable-quic"]
        )
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def screenshots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = Path(os.environ.get("SCREENSHOTS") or tmp_path_factory.mktemp("screenshots"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a cone with duplicates and clusters, of two views, with texts that would like to run."""
    path = tmp_path_factory.mktemp("report") / "report.html"
    centres, labels = unit(12, 48, seed=1), torch.arange(ITEMS) % 12
    shape = torch.logspace(0, -1.5, 48)
    rows = (centres[labels] + 0.1 * normal(ITEMS, 48)) * shape + 0.12
    rows[:9] = rows[9]
    other = rows + 0.03 * normal(ITEMS, 48, seed=2) * shape
    measurement = measure(4 * normalize(rows, dim=1), other, t=[2, 5], name="verses, layer 4")
    hostile = replace(
        measurement,
        warnings=(*measurement.warnings, HACK),
        provenance={**measurement.provenance, "note": HACK},
    )
    sentence = "The quick brown fox jumps over the lazy dog while nobody looks at the old stone bridge. "
    texts = [f"{k}: {sentence * (k % 4)}{HACK if k % 3 == 0 else ''}" for k in range(ITEMS)]
    write_report(path, hostile, texts=texts)
    return path


@pytest.fixture
def tab(browser: Browser, report: Path) -> Iterator[Tab]:
    tab = Tab(browser, report)
    yield tab
    tab.page.close()


@pytest.fixture
def page(tab: Tab) -> Page:
    return tab.page


def column(page: Page, number: int) -> list[float]:
    """Return a column of the first table that can be sorted, from the top down."""
    cells = page.locator("table.sortable").first.locator(f"tbody td:nth-child({number + 1})")
    return [float(text.split()[0].strip(":").replace(",", "")) for text in cells.all_inner_texts()]


def direction(page: Page) -> list[str | None]:
    headings = page.locator("table.sortable").first.locator("thead th")
    return [heading.get_attribute("aria-sort") for heading in headings.all()]


# ---------------------------------------------------------------------------------------------- nothing leaks


def test_the_console_is_silent_and_nothing_is_asked_for(tab: Tab, report: Path) -> None:
    tab.page.wait_for_timeout(300)
    assert tab.complaints == []
    assert tab.requests == [report.as_uri()]


def test_what_listens_to_the_page_would_hear(browser: Browser, tmp_path: Path) -> None:
    (tmp_path / "bad.html").write_text(f"<!doctype html><script>console.log(1)</script><img src=a.png>{HACK}")
    tab = Tab(browser, tmp_path / "bad.html")
    assert tab.complaints
    assert len(tab.requests) > 1
    assert tab.page.evaluate("typeof hacked") == "number"


def test_texts_from_outside_do_not_run(page: Page) -> None:
    assert page.evaluate("typeof hacked") == "undefined"
    assert page.evaluate("document.body.innerText").count("<script>") >= 3


def test_the_policy_stops_what_would_get_through(browser: Browser, report: Path, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text(
        report.read_text(encoding="utf-8").replace(
            "<main>", f"<main>{HACK}<img src='https://127.0.0.1/x.png'>"
        )
    )
    tab = Tab(browser, path)
    assert tab.page.evaluate("typeof hacked") == "undefined"
    assert "Content Security Policy" in str(tab.complaints)


# ---------------------------------------------------------------------------------------------------- sorting


def test_a_table_is_sorted_by_click(page: Page) -> None:
    distances = column(page, 1)
    assert distances == sorted(distances, reverse=True)
    assert direction(page) == [None, "descending"]
    page.locator("table.sortable th:nth-child(2) button").first.click()
    assert column(page, 1) == sorted(distances)
    assert direction(page) == [None, "ascending"]
    page.locator("table.sortable th:nth-child(1) button").first.click()
    items = column(page, 0)
    assert items == sorted(items, reverse=True)
    assert direction(page) == ["descending", None]
    page.locator("table.sortable th:nth-child(1) button").first.click()
    assert column(page, 0) == items[::-1]


@pytest.mark.parametrize("key", ["Enter", "Space"])
def test_a_table_is_sorted_by_keyboard(page: Page, key: str) -> None:
    distances = column(page, 1)
    for _ in range(60):  # everything that can be used can be reached, and is seen when it is
        page.keyboard.press("Tab")
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
        if page.evaluate("document.activeElement.matches('table.sortable th:nth-child(2) button')"):
            break
    page.keyboard.press(key)
    assert column(page, 1) == sorted(distances)
    assert page.evaluate("document.activeElement.innerText") == "distance"


# ---------------------------------------------------------------------------------------------------- the map


def test_points_show_what_they_are_when_the_mouse_is_over_them(page: Page) -> None:
    point = page.locator(".map circle[data-colours]").nth(7)
    words = point.get_attribute("data-words")
    assert words is not None
    assert "mean potential" in words
    assert page.locator(".map .tip").is_hidden()
    point.hover(force=True)
    tip = page.locator(".map .tip")
    assert tip.is_visible()
    assert tip.inner_text() in page.locator(".map").evaluate(
        "map => [...map.querySelectorAll('circle')].map(point => point.dataset.words)"
    )
    box, frame = tip.bounding_box(), page.locator(".map").bounding_box()
    assert box is not None
    assert frame is not None
    assert frame["x"] <= box["x"]
    assert box["x"] + box["width"] <= frame["x"] + frame["width"]
    page.mouse.move(1, 1)
    assert tip.is_hidden()


def test_the_map_is_coloured_in_another_way_by_click(page: Page) -> None:
    colours = "map => [...map.querySelectorAll('circle[data-colours]')].map(p => p.getAttribute('fill'))"
    before = page.locator(".map").evaluate(colours)
    button = page.locator(".map .keys button", has_text="by pair distance")
    button.click()
    assert button.get_attribute("aria-pressed") == "true"
    assert page.locator(".map").evaluate(colours) != before
    assert page.locator(".map .key:visible").inner_text().startswith("partner near")
    page.locator(".map .keys button", has_text="by crowding").click()
    assert page.locator(".map").evaluate(colours) == before


def test_the_map_is_no_larger_than_the_other_figures(page: Page) -> None:
    boxes = page.locator("figure").evaluate_all("all => all.map(each => each.getBoundingClientRect().width)")
    is_map = page.locator("figure").evaluate_all("all => all.map(each => each.matches('.map'))")
    assert max(boxes[place] for place, found in enumerate(is_map) if found) <= min(boxes[:2])


def test_names_of_known_encoders_stay_on_their_scale(page: Page) -> None:
    for width in (320, 390, 1200):
        page.set_viewport_size({"width": width, "height": 844})
        outside = page.evaluate(
            """[...document.querySelectorAll(".mark")].filter((name) => {
              const [box, scale] = [name, name.closest("svg")].map((part) => part.getBoundingClientRect());
              return box.left < scale.left || box.right > scale.right || box.top < scale.top;
            }).map((name) => name.textContent)"""
        )
        assert page.locator(".mark").count() > 2
        assert outside == []


# -------------------------------------------------------------------------------------------------- downloads


def downloaded(page: Page, tab: Tab, button: Locator, folder: Path) -> Path:
    """Click a button that saves a file, and return the file."""
    with page.expect_download() as waiting:
        button.click()
    path = folder / waiting.value.suggested_filename
    waiting.value.save_as(path)
    assert tab.complaints == []
    return path


def test_measurement_and_rows_can_be_saved(tab: Tab, tmp_path: Path) -> None:
    buttons = tab.page.locator(".downloads button")
    names = [text.split(" (")[0] for text in buttons.all_inner_texts()]
    assert names == ["measurement.json", "rows.csv", "pairs.csv"]
    files = [downloaded(tab.page, tab, buttons.nth(place), tmp_path) for place in range(3)]
    assert [file.name for file in files] == [f"verses-layer-4-{name}" for name in names]
    assert Measurement.from_json(files[0].read_text(encoding="utf-8")).n == ITEMS
    assert len(files[1].read_text(encoding="utf-8").splitlines()) == 1 + 2 * ITEMS
    assert len(files[2].read_text(encoding="utf-8").splitlines()) == 1 + ITEMS


@pytest.mark.parametrize("title", ["Map", "Crowding", "Spectrum"])
def test_figures_can_be_saved(tab: Tab, tmp_path: Path, title: str, screenshots: Path) -> None:
    tab.page.emulate_media(color_scheme="dark")
    heading = tab.page.locator("figure h3", has_text=title)
    svg = downloaded(tab.page, tab, heading.get_by_text("SVG"), tmp_path)
    root = ElementTree.parse(svg).getroot()
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert "var(--" not in svg.read_text(encoding="utf-8")
    png = downloaded(tab.page, tab, heading.get_by_text("PNG"), screenshots)
    picture = Image.open(png).convert("RGB")
    assert picture.width == 1600
    assert picture.getpixel((2, 2)) == (255, 255, 255)
    assert len(set(picture.resize((80, 60)).get_flattened_data())) > 20


# -------------------------------------------------------------------------------------------------- the looks


@pytest.mark.parametrize("width", [320, 390, 768, 1200, 2000])
def test_the_page_is_not_wider_than_the_window(page: Page, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 844})
    page.evaluate("document.querySelectorAll('details').forEach(part => part.open = true)")
    assert page.evaluate("document.documentElement.scrollWidth") <= width


CONTRASTS = """
(() => {
  const parse = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b]
    .map((c) => (c /= 255) <= .04045 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4)
    .reduce((sum, c, i) => sum + c * [.2126, .7152, .0722][i], 0);
  const behind = (element) => {
    for (; element; element = element.parentElement) {
      const colour = parse(getComputedStyle(element).backgroundColor);
      if (colour[3] !== 0) return colour;
    }
  };
  const found = [];
  for (const element of document.querySelectorAll("body *:not(script)")) {
    if (![...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim())) continue;
    const style = getComputedStyle(element);
    const [a, b] = [
      light(parse(element.tagName === "text" ? style.fill : style.color)), light(behind(element)),
    ];
    found.push([(Math.max(a, b) + .05) / (Math.min(a, b) + .05), element.outerHTML.slice(0, 80)]);
  }
  return found;
})()
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_words_stand_out_from_what_is_behind_them(page: Page, scheme: Literal["light", "dark"]) -> None:
    page.emulate_media(color_scheme=scheme)
    contrasts = page.evaluate(CONTRASTS)
    assert len(contrasts) > 200
    assert [words for ratio, words in contrasts if ratio < 4.5] == []  # WCAG 2.2, level AA


@pytest.mark.parametrize(
    ("name", "media", "scheme", "width"),
    [
        ("light", "screen", "light", 1200),
        ("dark", "screen", "dark", 1200),
        ("phone", "screen", "light", 390),
        ("paper", "print", "dark", 794),  # paper is white, whatever the screen
    ],
)
def test_the_page_is_light_or_dark_as_is_wanted(
    browser: Browser,
    report: Path,
    screenshots: Path,
    name: str,
    media: Literal["screen", "print"],
    scheme: Literal["light", "dark"],
    width: int,
) -> None:
    scale = 2 if width < 600 else 1
    page = browser.new_page(viewport={"width": width, "height": 900}, device_scale_factor=scale)
    page.emulate_media(media=media, color_scheme=scheme)
    page.goto(report.as_uri())
    path = screenshots / f"report-{name}.png"
    page.screenshot(path=path, full_page=True)
    page.close()
    picture = Image.open(path).convert("L")
    assert picture.height > 2000
    brightness = picture.getpixel((2, 2))
    assert isinstance(brightness, int)
    assert (brightness < 60) == (name == "dark")


def test_tables_fit_on_paper_where_nothing_scrolls(page: Page) -> None:
    page.set_viewport_size({"width": 680, "height": 900})  # A4 less its margins, in pixels
    page.emulate_media(media="print")
    widths = page.evaluate(
        "[...document.querySelectorAll('.scroll')].map(box => [box.scrollWidth, box.clientWidth])"
    )
    assert len(widths) == 3  # worst pairs, crowded rows, hubs
    assert [pair for pair in widths if pair[0] > pair[1]] == []


def test_what_is_folded_is_printed(page: Page, screenshots: Path) -> None:
    assert not page.evaluate("document.querySelector('details.printed').open")
    page.pdf(path=screenshots / "report.pdf", print_background=True)
    assert page.evaluate("document.querySelector('details.printed').open")
    assert (screenshots / "report.pdf").read_bytes().startswith(b"%PDF")
