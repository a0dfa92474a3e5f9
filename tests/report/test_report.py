"""The report is one page that is whole, says everything, and trusts nothing that comes from outside."""

from __future__ import annotations

import base64
import hashlib
import io
import os
import re
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from align_uniform import Measurement, measure
from align_uniform.figures import Trajectory
from align_uniform.measuring.quantities import fixed, with_error
from align_uniform.report import report_html, write_report
from align_uniform.report.rows import LONGEST_TEXT, THUMBNAIL, shortened, thumbnail
from tests.rows import unit

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'&]]>--></pre></style></title>{{ 7 * 6 }}"
VOID = {"meta", "img", "br", "link", "hr", "input", "source", "col", "area", "base", "embed", "wbr"}


class Page(HTMLParser):
    """A page taken apart; a tag that is closed out of order raises."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.headings: list[int] = []
        self.shown = ""
        self.document = ""
        self.policy = ""
        self.hashes: dict[str, str] = {}
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        assert len(dict(attrs)) == len(attrs), f"{tag} has an attribute twice"
        if dict(attrs).get("http-equiv") == "Content-Security-Policy":
            self.policy = dict(attrs)["content"] or ""
        if re.fullmatch(r"h\d", tag):
            self.headings.append(int(tag[1]))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert "svg" in self.open, f"<{tag}/> is not closed outside of SVG"
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in {"style", "script"}:
            self.hashes[self.open[-1]] = (
                "sha256-" + base64.b64encode(hashlib.sha256(data.encode()).digest()).decode()
            )
        elif "pre" in self.open:
            self.document += data
        else:
            self.shown += data

    def attributes(self, name: str) -> list[str]:
        return [attributes[name] or "" for _, attributes in self.tags if name in attributes]

    def count(self, tag: str) -> int:
        return sum(tag == other for other, _ in self.tags)


@pytest.fixture(scope="module")
def two_views() -> Measurement:
    rows = unit(120, 16)
    rows[3] = rows[4]
    other = torch.nn.functional.normalize(rows + 0.3 * unit(120, 16, seed=1), dim=1)
    return measure(3 * rows, other, t=[2, 4], name="two views of rows")


@pytest.fixture(scope="module")
def towers() -> Measurement:
    return measure(
        unit(40, 16), unit(50, 16, seed=1) + 0.3, pairs=[[k, k + 5] for k in range(40)], name="towers"
    )


@pytest.fixture(scope="module")
def kinds(two_views: Measurement, towers: Measurement) -> dict[str, Measurement]:
    """A measurement of each kind."""
    return {
        "two views": two_views,
        "features": measure(unit(60, 16)),
        "towers": towers,
        "labels": measure(unit(60, 16), labels=[*(k % 7 for k in range(59)), 9]),
        "scored pairs": measure(
            unit(60, 16), pairs=[[0, 1], [2, 5], [7, 3]], scores=[5, 4.5, 1], threshold=4
        ),
        "anchors": measure(unit(200, 16), method="anchors", anchors=50),
        "few": measure(unit(3, 16)),
        "one dimension": measure(torch.tensor([[1.0], [-1], [1], [-1]])),
        "two dimensions": measure(unit(50, 2)),
        "as they are": measure(2 * unit(30, 8), 2 * unit(30, 8, seed=1), normalize=False, alpha=1),
        "constant": measure(torch.ones(20, 8), torch.ones(20, 8)),
        "without details": replace(two_views, details=None),
        "from JSON": Measurement.from_json(two_views.to_json()),
    }


@pytest.fixture(scope="module")
def pages(kinds: dict[str, Measurement]) -> dict[str, str]:
    return {kind: report_html(measurement) for kind, measurement in kinds.items()}


KINDS = [
    "two views", "features", "towers", "labels", "scored pairs", "anchors", "few", "one dimension",
    "two dimensions", "as they are", "constant", "without details", "from JSON",
]  # fmt: skip


# ---------------------------------------------------------------------------------------- the page as a whole


@pytest.mark.parametrize("kind", KINDS)
def test_the_page_of_any_measurement_is_whole_and_asks_nothing_of_the_network(
    kind: str, pages: dict[str, str]
) -> None:
    html = pages[kind]
    page = Page(html)
    assert html.startswith("<!doctype html>\n<html lang=")
    for address in [*page.attributes("src"), *page.attributes("href"), *page.attributes("xlink:href")]:
        assert address.startswith(("data:image/", "#"))
    assert not re.search(r"https?:|//[a-z]|@import|url\((?!#)", html)
    ids = page.attributes("id")
    assert len(ids) == len(set(ids))
    assert {part for label in page.attributes("aria-labelledby") for part in label.split()} <= set(ids)
    assert set(re.findall(r"url\(#([^)]+)\)", html)) <= set(ids)


@pytest.mark.parametrize("kind", KINDS)
def test_the_page_has_landmarks_headings_in_order_and_words_for_pictures(
    kind: str, pages: dict[str, str]
) -> None:
    page = Page(pages[kind])
    assert [page.count(tag) for tag in ("header", "main", "footer", "h1", "title")] == [1] * 5
    assert page.headings[0] == 1
    assert all(later <= earlier + 1 for earlier, later in zip(page.headings, page.headings[1:], strict=False))
    assert page.count("caption") == page.count("table")
    for tag, attributes in page.tags:
        assert tag != "svg" or (attributes["role"] == "img" and attributes["aria-label"])
        assert tag != "img" or attributes["alt"]
        assert tag != "th" or attributes["scope"] in {"col", "row", "rowgroup"}


def test_the_policy_lets_in_the_pages_own_script_and_style_and_nothing_else(pages: dict[str, str]) -> None:
    page = Page(pages["two views"])
    rules = dict(rule.split(" ", 1) for rule in page.policy.split("; "))
    assert rules == {
        "default-src": "'none'",
        "img-src": "data:",
        "style-src": f"'{page.hashes['style']}'",
        "script-src": f"'{page.hashes['script']}'",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    assert (page.count("style"), page.count("script")) == (1, 1)
    assert page.attributes("style") == []
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]


# ----------------------------------------------------------------------------------------------- what it says


@pytest.mark.parametrize("kind", KINDS)
def test_every_number_is_shown(kind: str, kinds: dict[str, Measurement], pages: dict[str, str]) -> None:
    m = kinds[kind]
    shown = Page(pages[kind]).shown.replace("−", "-")
    expected = [
        f"{m.n:,}",
        f"{m.dim:,}",
        f"{m.rankme:,.1f}",
        f"{m.participation_ratio:,.1f}",
        fixed(m.w2),
        fixed(m.w2_floor),
    ]
    expected += [fixed(m.mean_cosine), f"{m.duplicates.exact:,}", f"{m.duplicates.near:,}"]
    expected += [f"{norm:.4g}" for norm in (m.norms.smallest, m.norms.mean, m.norms.largest)]
    for u in m.uniforms:
        expected += [
            f"t = {u.t:g}",
            with_error(u.value, u.total_stderr),
            fixed(u.optimum),
            fixed(u.gap),
            f"{u.squared_mmd:.4g}",
        ]
        expected += [fixed(bound) for bound in u.interval or ()] + [
            fixed(value) for value in u.by_population[1:]
        ]
        expected += (
            [with_error(u.equivalent_dim, u.equivalent_dim_stderr)] if u.equivalent_dim is not None else []
        )
        expected += [f"{u.approximation_stderr:.2g}"] if u.approximation_stderr else []
    if m.align is not None:
        expected += [
            with_error(m.align.value, m.align.stderr),
            f"{m.align.pairs:,}",
            m.align.of,
            f"α = {m.align.alpha:g}",
        ]
        expected += (
            [with_error(m.align.relative, m.align.relative_stderr)] if m.align.relative is not None else []
        )
    if m.tolerance is not None:
        tolerance = m.tolerance
        expected += [
            with_error(tolerance.value, tolerance.stderr),
            f"{tolerance.classes:,} classes",
        ]
        expected += [f"{tolerance.skipped:,} classes of one row"] if tolerance.skipped else []
    if m.towers is not None:
        expected += [fixed(m.towers.modality_gap), fixed(m.towers.cross_uniform), *map(str, m.towers.rows)]
    expected += [f"{number:#.4g}" for pair in m.worst_pairs for number in [pair.distance]]
    expected += [f"{number:#.4g}" for row in m.crowded for number in (row.mean_potential, row.distance)]
    assert [number for number in expected if number not in shown] == []


def test_the_verdict_comes_first_and_names_number_threshold_and_advice() -> None:
    rows = torch.nn.functional.normalize(unit(100, 32) + 0.7 * unit(1, 32, seed=1), dim=1)
    shown = Page(report_html(measure(rows))).shown
    order = [
        "Worth a look: cone.",
        "What to do",
        "What was checked",
        "The two quantities",
        "All numbers",
        "Figures",
        "Rows to look at",
    ]
    places = [shown.index(words) for words in order]
    assert places == sorted(places)
    assert "Threshold: 0.2." in shown


def test_nothing_stands_out_is_a_verdict() -> None:
    shown = Page(report_html(measure(unit(100, 32)))).shown
    assert "Nothing stands out." in shown
    assert "no proof of quality" in shown


def test_figures_are_drawn_where_their_data_are_and_missed_where_they_are_not(pages: dict[str, str]) -> None:
    counts = {kind: Page(pages[kind]).count("figure") for kind in KINDS}
    assert counts == dict.fromkeys(KINDS, 3) | {
        "two views": 4, "towers": 4, "scored pairs": 4, "as they are": 4, "constant": 4, "one dimension": 2,
        "without details": 0, "from JSON": 0,
    }  # fmt: skip
    assert "Figures need the details" in Page(pages["from JSON"]).shown


def test_the_page_keeps_the_measurement_itself(pages: dict[str, str], two_views: Measurement) -> None:
    assert Measurement.from_json(Page(pages["two views"]).document) == two_views


def test_quantities_lie_on_their_scales() -> None:
    rows = unit(500, 64)
    places = re.findall(r'<circle cx="([\d.]+)%"', report_html(measure(rows, unit(500, 64, seed=1))))
    assert float(places[0]) == pytest.approx(100, abs=2)  # pairs by chance
    assert float(places[1]) == pytest.approx(0, abs=1)  # uniform


# ----------------------------------------------------------------------------------------- texts and pictures


def picture(path: Path, size: tuple[int, int] = (300, 200), mode: str = "RGB") -> Path:
    Image.new(mode, size, 90).save(path)
    return path


def test_rows_are_shown_with_their_texts(two_views: Measurement) -> None:
    texts = [f"the text of row {number}." for number in range(120)]
    shown = Page(report_html(two_views, texts=texts)).shown
    numbers = {pair.x for pair in two_views.worst_pairs} | {row.neighbour for row in two_views.crowded}
    assert all(texts[number] in shown for number in numbers)


def test_rows_are_shown_with_their_pictures(two_views: Measurement, tmp_path: Path) -> None:
    images = [picture(tmp_path / "a.png")] * 120
    page = Page(report_html(two_views, images=images))
    sources = page.attributes("src")
    assert len(sources) == len(two_views.worst_pairs) + 2 * len(two_views.crowded)
    small = Image.open(io.BytesIO(base64.b64decode(sources[0].removeprefix("data:image/jpeg;base64,"))))
    assert small.size == (THUMBNAIL, round(THUMBNAIL * 200 / 300))


def test_towers_have_pictures_of_the_first_and_texts_of_the_second_or_both_of_both(
    towers: Measurement, tmp_path: Path
) -> None:
    pair = towers.worst_pairs[0]
    images, texts = [picture(tmp_path / "a.png")] * 40, [f"text {number};" for number in range(50)]
    page = Page(report_html(towers, images=images, texts=texts))
    assert f"text {pair.y};" in page.shown
    assert len(page.attributes("src")) >= len(towers.worst_pairs)
    both = Page(report_html(towers, texts=([f"first {number};" for number in range(40)], texts))).shown
    assert f"first {pair.x};" in both
    assert f"text {pair.y};" in both


def test_too_few_texts_are_refused(two_views: Measurement) -> None:
    with pytest.raises(ValueError, match="texts must be one for each row, got 1 where"):
        report_html(two_views, texts=["only one"])


@pytest.mark.parametrize("content", [None, b"", b"no picture", b"\x89PNG\r\n\x1a\n" + bytes(50)])
def test_a_picture_that_cannot_be_read_is_named_and_the_rest_is_shown(
    content: bytes | None, two_views: Measurement, tmp_path: Path
) -> None:
    path = tmp_path / "broken.png"
    if content is not None:
        path.write_bytes(content)
    page = Page(report_html(two_views, images=[path] * 120))
    assert f"{path} cannot be read." in page.shown
    assert page.attributes("src") == []


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16"])
def test_pictures_of_any_kind_are_made_small(mode: str, tmp_path: Path) -> None:
    assert thumbnail(picture(tmp_path / "a.tiff", mode=mode)).startswith("data:image/jpeg;base64,")


def test_long_texts_are_cut_and_characters_that_deceive_are_left_out() -> None:
    assert shortened("x" * 999) == "x" * LONGEST_TEXT + "…"
    assert shortened("a\x00b\n\n c\u202ed\u200be") == "a b c d e"
    assert shortened("größe 尺寸 мера") == "größe 尺寸 мера"


# -------------------------------------------------------------------------------------------- what is hostile


def test_what_comes_from_outside_is_escaped(pages: dict[str, str], two_views: Measurement) -> None:
    assert two_views.align is not None
    hostile = replace(
        two_views,
        name=HOSTILE,
        align=replace(two_views.align, of=HOSTILE),
        warnings=(HOSTILE,),
        provenance={"method": HOSTILE, HOSTILE: HOSTILE, "sources": [{"name": HOSTILE}]},
    )
    clean, dirty = Page(pages["two views"]), Page(report_html(hostile, texts=[HOSTILE] * 120))
    assert dirty.shown.count(HOSTILE) >= 5
    assert Counter(tag for tag, _ in dirty.tags if tag in {"script", "img", "style"}) == {
        "script": 1,
        "style": 1,
    }
    assert dirty.policy == clean.policy
    assert "{{ 7 * 6 }}" in dirty.shown


def test_hostile_file_names_are_escaped(two_views: Measurement) -> None:
    page = Page(report_html(two_views, images=[Path(f"a{HOSTILE.replace('/', '')}")] * 120))
    assert page.count("script") == 1
    assert page.count("img") == 0


# --------------------------------------------------------------------------------------------------- the file


def test_the_report_is_written_as_utf8_whatever_the_names(two_views: Measurement, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    write_report(path, replace(two_views, name=os.fsdecode(b"caf\xe9 \xe2\x80\x93")))
    assert "caf? –" in path.read_bytes().decode("utf-8")
    assert list(tmp_path.iterdir()) == [path]


def test_a_report_is_replaced_only_by_force(two_views: Measurement, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text("old")
    with pytest.raises(ValueError, match="exists already"):
        write_report(path, two_views)
    assert path.read_text() == "old"
    write_report(path, two_views, force=True)
    assert path.read_text(encoding="utf-8").startswith("<!doctype html>")


def test_a_report_that_fails_leaves_the_old_one(two_views: Measurement, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text("old")
    with pytest.raises(ValueError, match="texts must be"):
        write_report(path, two_views, texts=[], force=True)
    assert [file.read_text() for file in tmp_path.iterdir()] == ["old"]


def test_a_report_into_no_folder_is_refused(two_views: Measurement, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no folder"):
        write_report(tmp_path / "none" / "report.html", two_views)


def test_the_page_is_the_same_whenever_it_is_made(pages: dict[str, str], two_views: Measurement) -> None:
    assert report_html(two_views) == pages["two views"]


def test_measuring_does_not_load_what_the_report_needs() -> None:
    code = (
        "import sys; from align_uniform import measure; "
        "print({'jinja2', 'matplotlib', 'PIL'} & set(sys.modules))"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown.strip() == "set()"


def test_the_way_of_a_training_run_is_drawn(two_views: Measurement) -> None:
    steps = np.arange(5)
    run = Trajectory("run", steps, 1 / (1.0 + steps), -0.5 * steps)
    assert "Alignment and uniformity of the training batches" in report_html(two_views, runs=[run])
    assert "Alignment and uniformity of the training batches" not in report_html(two_views)
