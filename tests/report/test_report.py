"""The report is one page that is whole, says everything, and trusts nothing that comes from outside."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from align_uniform import Measurement, measure
from align_uniform.report import downloads, report_html, write_report
from tests.report.page import HOSTILE, KINDS, Page
from tests.rows import normal, unit

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


def test_the_verdict_comes_first_and_names_number_threshold_and_advice() -> None:
    rows = torch.nn.functional.normalize(unit(100, 32) + 0.7 * unit(1, 32, seed=1), dim=1)
    shown = Page(report_html(measure(rows))).shown
    order = [
        "Worth a look: cone.",
        "Nothing known speaks against search",
        "What to do",
        "What was checked",
        "Uniformity (smaller is better)",
        "Map (principal components)",
        "Most crowded rows",
        "found by",
        "The number after ±",
        "The measurement as JSON",
    ]
    places = [shown.index(words) for words in order]
    assert places == sorted(places)
    assert "Threshold: 0.2." in shown
    assert shown.count("othing known speaks against search") == 1


def test_nothing_stands_out_is_a_verdict() -> None:
    shown = Page(report_html(measure(unit(100, 32)))).shown
    assert "Nothing stands out." in shown
    assert "no proof of quality" in shown


def test_the_title_says_what_was_measured_against_what(tmp_path: Path) -> None:
    for name, seed in (("kjv", 0), ("web", 1)):
        np.save(tmp_path / f"{name}.npy", unit(60, 16, seed=seed).numpy())
    shown = Page(report_html(measure(tmp_path / "kjv.npy", tmp_path / "web.npy"))).shown
    assert "kjv.npy against web.npy: 60 rows with 16 features, 60 positive pairs (two views)" in shown
    assert (
        "60 rows with 16 features, no positive pairs; all pairs of rows."
        in Page(report_html(measure(unit(60, 16)))).shown
    )


def test_the_contents_lead_to_the_sections_that_there_are(pages: dict[str, str]) -> None:
    for kind in KINDS:
        page = Page(pages[kind])
        links = [link.removeprefix("#") for link in page.attributes("href") if link.startswith("#")]
        sections = [attributes["id"] for tag, attributes in page.tags if tag == "h2"]
        assert links[: len(sections)] == sections
        assert ("classes" in sections) == (kind == "labels")


def test_few_numbers_have_cards_with_what_searches_find() -> None:
    x = unit(80, 16)
    views = Page(report_html(measure(x, x + 0.5 * unit(80, 16, seed=1)))).shown
    labelled = Page(report_html(measure(x, labels=[row % 4 for row in range(80)]))).shown
    assert "Recall@1 (larger is better)" in views
    assert "backwards: recall@1" in views
    assert "A row finds its partner first in" in views
    assert "5-NN accuracy (larger is better)" in labelled
    assert "foreign neighbours" in labelled


def test_norms_of_unit_rows_are_said_once() -> None:
    unit_rows, others = (Page(report_html(measure(rows))).shown for rows in (unit(60, 8), normal(60, 8)))
    assert "mean norm" in unit_rows
    assert "smallest norm" not in unit_rows
    assert "smallest norm" in others


def test_the_page_keeps_the_numbers_of_rows_and_pairs_as_files(
    pages: dict[str, str], two_views: Measurement
) -> None:
    assert two_views.details is not None
    assert two_views.details.distances is not None
    files = dict(downloads.files(two_views))
    lines = [line.split(",") for line in files["rows.csv"].splitlines()]
    assert lines[0] == ["view", "row", "mean_potential"]
    assert [line[:2] for line in lines[1:]] == [[str(v), str(r)] for v in (1, 2) for r in range(120)]
    assert float(lines[1][2]) == pytest.approx(float(two_views.details.row_means[0][0]), rel=1e-5)
    pairs = [line.split(",") for line in files["pairs.csv"].splitlines()]
    assert float(pairs[5][1]) == pytest.approx(float(two_views.details.distances[4]), rel=1e-5)
    page = Page(pages["two views"])
    assert page.attributes("data-file") == ["measurement.json", "rows.csv", "pairs.csv"]
    assert dict(downloads.files(measure(unit(200, 16), method="anchors", anchors=50))) == {}


def test_rows_of_entities_are_named_by_their_numbers_in_the_file() -> None:
    text = dict(downloads.files(measure(unit(4, 8), ids=["a", "a", "b", "c"])))["rows.csv"]
    assert [line.split(",")[1] for line in text.splitlines()] == ["row", "0", "2", "3"]


def test_the_page_keeps_the_measurement_itself(pages: dict[str, str], two_views: Measurement) -> None:
    assert Measurement.from_json(Page(pages["two views"]).document) == two_views


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
