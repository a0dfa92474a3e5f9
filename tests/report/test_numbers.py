"""The numbers of a report: all of them, and where they lie on their scales."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from align_uniform import Measurement, measure
from align_uniform._messages import counted
from align_uniform.measuring.quantities import fixed, with_error
from align_uniform.measuring.reference_points import RECALL, nearest
from align_uniform.measuring.results import Alignment, Tolerance, Uniformity
from align_uniform.report import report_html
from align_uniform.report.numbers import Scale, headlines
from tests.report.page import KINDS, Page
from tests.rows import unit


def numbers_of_rows(m: Measurement) -> list[str]:
    """Return the numbers of the rows themselves: counts, rank, norms, duplicates, pairs and crowded rows."""
    expected = [f"{m.n:,}", f"{m.dim:,}", f"{m.rankme:,.1f}", f"{m.participation_ratio:,.1f}"]
    expected += [fixed(m.w2), fixed(m.w2_floor)]
    expected += [with_error(m.mean_cosine, m.mean_cosine_stderr)]
    expected += [f"{m.duplicates.exact:,}", f"{m.duplicates.near:,}"]
    expected += [fixed(m.duplicates.near_growth)] if m.duplicates.near_growth is not None else []
    norms = m.norms.smallest, m.norms.mean, m.norms.median, m.norms.largest_ratio, m.norms.largest
    expected += [f"{norm:.4g}" for norm in norms]
    expected += [fixed(m.largest_share or 0)]
    expected += (
        [fixed(m.hubs.skewness), fixed(m.hubs.antihubs), f"among {m.hubs.rows} rows"] if m.hubs else []
    )
    expected += [f"{number:#.4g}" for pair in m.worst_pairs for number in [pair.distance]]
    expected += [f"{number:#.4g}" for row in m.crowded for number in (row.mean_potential, row.distance)]
    return expected


def numbers_of_uniformity(u: Uniformity) -> list[str]:
    expected = [f"t = {u.t:g}", with_error(u.value, u.total_stderr), fixed(u.optimum)]
    expected += [with_error(u.gap, u.gap_stderr), f"{u.squared_mmd:.4g}"]
    expected += [fixed(bound) for bound in u.interval or ()] + [fixed(value) for value in u.by_population[1:]]
    expected += (
        [with_error(u.equivalent_dim, u.equivalent_dim_stderr)] if u.equivalent_dim is not None else []
    )
    expected += [f"{u.approximation_stderr:.2g}"] if u.approximation_stderr else []
    return expected


def numbers_of_alignment(align: Alignment) -> list[str]:
    expected = [with_error(align.value, align.stderr), f"{align.pairs:,}", align.of, f"α = {align.alpha:g}"]
    expected += [with_error(align.relative, align.relative_stderr)] if align.relative is not None else []
    expected += [fixed(align.far)] if align.far is not None else []
    return expected


def numbers_of_centred_rows(m: Measurement) -> list[str]:
    if m.centered is None:
        return []
    uniform, align = m.centered.uniform, m.centered.align
    expected = [with_error(uniform.value, uniform.total_stderr), with_error(uniform.gap, uniform.gap_stderr)]
    return expected + ([] if align is None else [with_error(align.value, align.stderr)])


def numbers_of_tolerance(tolerance: Tolerance) -> list[str]:
    expected = [with_error(tolerance.value, tolerance.stderr), f"{tolerance.classes:,} classes"]
    skipped = counted(tolerance.skipped, "class", "classes")
    expected += [f"{skipped} of one row"] if tolerance.skipped else []
    expected += [f"{tolerance.z:.4g}"] if tolerance.z is not None else []
    expected += [fixed(tolerance.explained)] if tolerance.explained is not None else []
    return expected


@pytest.mark.parametrize("kind", KINDS)
def test_every_number_is_shown(kind: str, kinds: dict[str, Measurement], pages: dict[str, str]) -> None:
    m = kinds[kind]
    shown = Page(pages[kind]).shown.replace("−", "-")
    expected = numbers_of_rows(m) + numbers_of_centred_rows(m)
    for u in m.uniforms:
        expected += numbers_of_uniformity(u)
    expected += numbers_of_alignment(m.align) if m.align is not None else []
    expected += numbers_of_tolerance(m.tolerance) if m.tolerance is not None else []
    if m.towers is not None:
        expected += [
            with_error(m.towers.modality_gap, m.towers.modality_gap_stderr),
            with_error(m.towers.cross_uniform, m.towers.cross_uniform_stderr),
            *map(str, m.towers.rows),
        ]
    assert [number for number in expected if number not in shown] == []


def test_quantities_lie_on_their_scales() -> None:
    rows = unit(500, 64)
    places = re.findall(r'<circle cx="([\d.]+)%"', report_html(measure(rows, unit(500, 64, seed=1))))
    assert float(places[0]) == pytest.approx(100, abs=2)  # pairs by chance
    assert float(places[1]) == pytest.approx(0, abs=1)  # uniform


def test_the_scales_show_the_nearest_known_encoders_of_the_same_kind() -> None:
    x, y = unit(500, 64), unit(500, 64, seed=1)
    m = measure(x, (x + y) / 2, kind="images")
    html = report_html(m)
    shown = Page(html).shown
    marks = [float(place) for place in re.findall(r'<line x1="([\d.]+)%"', html)]
    found = {place.key: place for place in m.places()}
    expected = []
    for key, scale in (("align.relative", 1), ("uniform.gap", -m.uniform.optimum), (RECALL, 1)):
        place = found[key]
        assert f"among known encoders of images, the ticks: {place.words}." in shown
        known = [each for each in (place.below, place.above) if each is not None]
        expected += [min(100, max(0, 100 * each.value / scale)) for each in known]
        assert all(f">{each}</text>" in html for each in known)
    assert sorted(marks) == pytest.approx(sorted(expected), abs=0.01)
    assert "kind not known" not in shown


def test_a_page_of_rows_of_no_known_kind_says_so() -> None:
    x = unit(60, 8)
    assert "among known encoders of all kinds (kind not known" in Page(report_html(measure(x))).shown
    page = Page(report_html(measure(x, t=3)))
    assert "known encoders" not in page.shown
    assert page.count("line") == 0 or "the ticks" not in page.shown


def test_names_of_marks_cross_no_other_mark() -> None:
    place = nearest("images", "uniform.gap", 2.0)
    assert place is not None
    assert place.below is not None
    assert place.above is not None
    scale = Scale.of(2.0, (2.0, 2.0), (0, 4), ("", ""))
    left, right = (scale.marked(place, ends).marks for ends in ((0, 10), (0, place.above.value)))
    assert [mark.words for mark in left] == [str(place.below), str(place.above)]
    assert [mark.at for mark in right] == [
        100,
        pytest.approx(100 * place.below.value / place.above.value, abs=0.01),
    ]
    assert scale.marked(None, (0, 4)).marks == ()


def test_relative_alignment_is_the_large_number_and_alignment_stands_below_it() -> None:
    x = unit(80, 16)
    m = measure(x, x + 0.5 * unit(80, 16, seed=1))
    first = headlines(m)[0]
    assert m.align is not None
    assert m.align.relative is not None
    assert f"{first.value} ± {first.error}" == with_error(m.align.relative, m.align.relative_stderr)
    assert first.companions[0][:2] == ("alignment", with_error(m.align.value, m.align.stderr))
    assert first.scale is not None
    assert first.scale.at == pytest.approx(100 * m.align.relative, abs=0.01)
    assert first.scale.low < first.scale.at < first.scale.high
    without = replace(m, align=replace(m.align, relative=None, relative_stderr=None))
    assert headlines(without)[0].name == "Alignment"


def test_duplicates_have_a_card_where_they_are_many() -> None:
    rows = unit(200, 16)
    assert "Duplicates" not in [headline.name for headline in headlines(measure(rows))]
    rows[:5] = rows[7]
    last = headlines(measure(rows))[-1]
    assert (last.name, last.value) == ("Duplicates", "3.0%")
    assert last.companions[0][:2] == ("exact duplicates", "5")
