"""The page of a comparison: what differs, all numbers side by side, and the same pairs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from align_uniform import Measurement, compare, measure
from align_uniform.measuring.comparison import Comparison
from align_uniform.report import comparison_html
from align_uniform.report.comparison import lines, pairs_table, summaries
from align_uniform.report.rows import Contents
from tests.report.page import HOSTILE, Page
from tests.rows import unit


def views(noise: float) -> tuple[torch.Tensor, torch.Tensor]:
    x = unit(150, 16)
    return x, torch.nn.functional.normalize(x + noise * unit(150, 16, seed=1))


@pytest.fixture(scope="module")
def better() -> Comparison:
    """A worse encoder, then a better one."""
    (x, far), (_, near) = views(1.5), views(0.4)
    return compare(x, x, positives=[far, near], names=["old", "new"], items=range(150))


def test_what_differs_is_said_with_its_direction(better: Comparison) -> None:
    (summary,) = summaries(better)
    assert [words.split(" (")[0] for words in summary.better][:2] == ["alignment", "relative alignment"]
    assert any(words.startswith("recall@1 (+") for words in summary.better)
    assert not summary.worse
    shown = Page(comparison_html(better)).shown
    assert "new − old (paired: the same items)" in shown
    assert "old against new" in shown
    same = compare(*(unit(150, 16, seed=seed) for seed in (1, 2)), names=["a", "b"])
    (nothing,) = summaries(same)
    assert [*nothing.better, *nothing.worse, *nothing.other] == []
    assert "No difference of the main numbers is significant." in Page(comparison_html(same)).shown


def test_all_numbers_stand_side_by_side_with_their_differences(better: Comparison) -> None:
    found = {line.label: line for _, group in lines(better) for line in group}
    old, new = better.measurements
    difference = better.differences[0]
    z = difference.z["align.relative"]
    assert z is not None
    assert found["relative alignment"].differences[0][1:] == (f"{z:.1f}".replace("-", "−"), "< 0.0001")
    assert found["RankMe"].values == [f"{old.rankme:.1f}", f"{new.rankme:.1f}"]
    assert found["RankMe"].differences[0] == (f"{new.rankme - old.rankme:+.4g}".replace("-", "−"), "", "")
    wide = compare(unit(60, 8), unit(60, 12), unit(60, 6))
    columns = [len(line.differences) for _, group in lines(wide) for line in group]
    assert set(columns) == {2}


def test_the_same_pairs_are_shown_with_all_their_distances(better: Comparison) -> None:
    texts = [f"text {row}" for row in range(150)]
    contents = [Contents(texts, None, result) for result in better.measurements]
    table = pairs_table(better, contents)
    assert table is not None
    assert table.columns == ["item", "old", "new"]
    for row in table.rows:
        for cell, result in zip(row[1:], better.measurements, strict=True):
            assert result.details is not None
            assert result.details.distances is not None
            assert cell.order == pytest.approx(float(result.details.distances[int(row[0].order)]))
    orders = [row[1].order for row in table.rows]
    assert orders == sorted(orders, reverse=True)
    kept = Comparison(tuple(replace(each, details=None) for each in better.measurements), better.differences)
    shorter = pairs_table(kept, contents)
    assert shorter is not None
    assert {cell.text for row in shorter.rows for cell in row[1:]} > {"–"}


@pytest.mark.parametrize("kind", ["views", "features", "dims", "three", "json"])
def test_the_page_of_any_comparison_is_whole(kind: str, better: Comparison) -> None:
    x = unit(60, 8)
    comparisons = {
        "views": better,
        "features": compare(x, unit(60, 8, seed=1)),
        "dims": compare(x, unit(60, 12), positives=[x.roll(1, 0), unit(60, 12).roll(1, 0)]),
        "three": compare(x, x + 0.1, x + 0.2, paired=True),
        "json": compare(*(Measurement.from_json(measure(rows).to_json()) for rows in (x, x + 0.1))),
    }
    html = comparison_html(comparisons[kind])
    page = Page(html)
    assert page.count("h1") == 1
    assert all(later <= earlier + 1 for earlier, later in zip(page.headings, page.headings[1:], strict=False))
    ids = page.attributes("id")
    assert len(ids) == len(set(ids))
    links = [link.removeprefix("#") for link in page.attributes("href")]
    assert links[: page.count("h2")] == [attributes["id"] for tag, attributes in page.tags if tag == "h2"]
    assert page.attributes("style") == []
    assert ("different dimensions" in page.shown) == (kind == "dims")
    assert page.count("figure") == {"views": 3, "features": 2, "dims": 3, "three": 3, "json": 0}[kind]


def test_names_and_texts_from_outside_are_escaped(better: Comparison) -> None:
    hostile = compare(*better.measurements, names=[HOSTILE, "new"])
    page = Page(comparison_html(hostile, texts=[HOSTILE] * 150))
    assert (page.count("script"), page.count("style"), page.count("img")) == (1, 1, 0)
    assert page.shown.count(HOSTILE) > 20


def test_a_comparison_writes_its_page(better: Comparison, tmp_path: Path) -> None:
    path = better.report(tmp_path / "page.html")
    assert path.read_text(encoding="utf-8") == comparison_html(better)
    with pytest.raises(ValueError, match="exists already"):
        better.report(path)


def test_pairs_of_other_items_do_not_stand_side_by_side() -> None:
    x, y = unit(60, 8), unit(60, 8, seed=1)
    names, others = [f"item {i}" for i in range(60)], [f"other {i}" for i in range(60)]
    for second, positives, items, is_there in (
        (x, y, names, True), (x, y, None, True), (x, y, others, False), (x[:50], y[:50], None, False)
    ):  # fmt: skip
        found = Comparison((measure(x, y, items=names), measure(second, positives, items=items)), ())
        assert (
            pairs_table(found, [Contents(None, None, each) for each in found.measurements]) is not None
        ) == is_there
