"""The report in a real browser. `make test-browser`; pictures of it are kept in the folder $SCREENSHOTS, if
that is set.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch.nn.functional import normalize

from align_uniform import measure
from align_uniform.report import write_report
from tests.browser.chromium import Chromium, Tab
from tests.rows import normal, unit

ITEMS = 400
HACK = "<script>hacked = 1</script><img src=x onerror='hacked = 1'><svg onload='hacked = 1'>"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    with Chromium(tmp_path_factory.mktemp("profile")) as chromium:
        yield chromium


@pytest.fixture(scope="module")
def screenshots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = Path(os.environ.get("SCREENSHOTS") or tmp_path_factory.mktemp("screenshots"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of an encoder with much to say about: a cone, duplicates, clusters, two views, texts that would like to
    run.
    """
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
def tab(browser: Chromium, report: Path) -> Iterator[Tab]:
    tab = Tab(browser).open(report)
    yield tab
    tab.close()


def column(tab: Tab, number: int) -> list[float]:
    """What the first table that can be sorted shows in a column, from above."""
    rows = (
        "[...document.querySelector('table.sortable').tBodies[0].rows]"
        f".map(row => parseFloat(row.cells[{number}].innerText))"
    )
    values: list[float] = tab.evaluate(rows)
    return values


def direction(tab: Tab) -> list[str | None]:
    found: list[str | None] = tab.evaluate(
        "[...document.querySelector('table.sortable').tHead.rows[0].cells].map(cell => "
        "cell.getAttribute('aria-sort'))"
    )
    return found


# ---------------------------------------------------------------------------------------------- nothing leaks


def test_the_console_is_silent_and_nothing_is_asked_for(tab: Tab, report: Path) -> None:
    tab.evaluate("new Promise(resolve => setTimeout(resolve, 300))")
    assert tab.complaints == []
    assert tab.requests == [report.as_uri()]


def test_what_listens_to_the_page_would_hear(browser: Chromium, tmp_path: Path) -> None:
    (tmp_path / "bad.html").write_text(f"<!doctype html><script>console.log(1)</script><img src=a.png>{HACK}")
    tab = Tab(browser).open(tmp_path / "bad.html")
    assert tab.complaints
    assert len(tab.requests) > 1
    assert tab.evaluate("typeof hacked") == "number"


def test_texts_from_outside_do_not_run(tab: Tab) -> None:
    assert tab.evaluate("typeof hacked") == "undefined"
    assert tab.evaluate("document.body.innerText").count("<script>") >= 3


def test_the_policy_stops_what_would_get_through(browser: Chromium, report: Path, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text(
        report.read_text(encoding="utf-8").replace(
            "<main>", f"<main>{HACK}<img src='https://127.0.0.1/x.png'>"
        )
    )
    tab = Tab(browser).open(path)
    assert tab.evaluate("typeof hacked") == "undefined"
    assert "Content Security Policy" in str(tab.complaints)


# ---------------------------------------------------------------------------------------------------- sorting


def test_a_table_is_sorted_by_click(tab: Tab) -> None:
    distances = column(tab, 1)
    assert distances == sorted(distances, reverse=True)
    assert direction(tab) == [None, "descending"]
    tab.click("table.sortable th:nth-child(2) button")
    assert column(tab, 1) == sorted(distances)
    assert direction(tab) == [None, "ascending"]
    tab.click("table.sortable th:nth-child(1) button")
    items = column(tab, 0)
    assert items == sorted(items, reverse=True)
    assert direction(tab) == ["descending", None]
    tab.click("table.sortable th:nth-child(1) button")
    assert column(tab, 0) == items[::-1]


@pytest.mark.parametrize("key", ["Enter", " "])
def test_a_table_is_sorted_by_keyboard(tab: Tab, key: str) -> None:
    distances = column(tab, 1)
    for _ in range(20):  # everything that can be used can be reached, and is seen when it is
        tab.press("Tab")
        assert tab.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
        if tab.evaluate("document.activeElement.matches('table.sortable th:nth-child(2) button')"):
            break
    tab.press(key)
    assert column(tab, 1) == sorted(distances)
    assert tab.evaluate("document.activeElement.innerText") == "distance"


# -------------------------------------------------------------------------------------------------- the looks


@pytest.mark.parametrize("width", [320, 390, 768, 1200, 2000])
def test_the_page_is_not_wider_than_the_window(tab: Tab, width: int) -> None:
    tab.resize(width, 844)
    tab.evaluate("document.querySelectorAll('details').forEach(part => part.open = true)")
    assert tab.evaluate("document.documentElement.scrollWidth") <= width


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
def test_all_words_stand_out_from_what_is_behind_them(tab: Tab, scheme: str) -> None:
    tab.emulate(scheme=scheme)
    contrasts = tab.evaluate(CONTRASTS)
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
    tab: Tab, screenshots: Path, name: str, media: str, scheme: str, width: int
) -> None:
    tab.resize(width, 900, scale=2 if width < 600 else 1)
    tab.emulate(media, scheme)
    path = screenshots / f"report-{name}.png"
    tab.screenshot(path)
    picture = Image.open(path).convert("L")
    assert picture.height > 2000
    brightness = picture.getpixel((2, 2))
    assert isinstance(brightness, int)
    assert (brightness < 60) == (name == "dark")


def test_tables_fit_on_paper_where_nothing_scrolls(tab: Tab) -> None:
    tab.resize(680, 900)  # A4 less its margins, in pixels
    tab.emulate("print")
    widths = tab.evaluate(
        "[...document.querySelectorAll('.scroll')].map(box => [box.scrollWidth, box.clientWidth])"
    )
    assert len(widths) == 3
    assert [pair for pair in widths if pair[0] > pair[1]] == []


def test_what_is_folded_is_printed(tab: Tab, screenshots: Path) -> None:
    assert not tab.evaluate("document.querySelector('details.printed').open")
    tab.print(screenshots / "report.pdf")
    assert tab.evaluate("document.querySelector('details.printed').open")
    assert (screenshots / "report.pdf").read_bytes().startswith(b"%PDF")
