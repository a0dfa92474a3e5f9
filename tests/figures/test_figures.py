"""Tests that the figures draw what they are given, and refuse what would mislead."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import StepPatch

from align_uniform import figures, uniform_optimum

CLASSES = ["cat", "dog"]


def random(*shape: int, seed: int = 0) -> figures.Array:
    return np.random.default_rng(seed).normal(size=shape)


def circle(dim: int = 2) -> figures.CircleFeatures:
    features = random(40, dim)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    return figures.CircleFeatures("encoder", np.abs(random(40)), features, np.arange(40) % 2)


def keys(axes: Axes) -> list[str]:
    legend = axes.get_legend()
    return [] if legend is None else [text.get_text() for text in legend.get_texts()]


def every_panel() -> dict[str, Figure]:
    return {
        "pairs": figures.pair_distance_figure(np.abs(random(50)), np.abs(random(90)) + 1),
        "cosines": figures.cosine_figure(np.tanh(random(500) / 4), 16),
        "spectrum": figures.spectrum_figure(np.geomspace(1, 1e-5, 20), 7.5, 4.25),
        "crowding": figures.crowding_figure([np.exp(random(50) / 9 - 3)], 2, -3.5),
    }


# ------------------------------------------------------------------------------------------------- the circle


def test_the_circle_figure_has_a_histogram_and_two_panels_for_all_and_for_each_class() -> None:
    figure = figures.circle_figure([circle(), circle()], CLASSES)
    assert len(figure.axes) == 2 * (1 + 2 * (1 + len(CLASSES)))
    titles = [axes.get_title() or axes.get_title(loc="left") for axes in figure.axes]
    assert [title for title in titles if title] == ["encoder", "all images", "“cat”", "“dog”", "encoder"]


def test_the_density_of_angles_integrates_to_one() -> None:
    figure = figures.circle_figure([circle()], CLASSES)
    angles, density = figure.axes[2].lines[0].get_data()
    assert np.trapezoid(np.asarray(density), np.asarray(angles)) == pytest.approx(1, abs=1e-6)


def test_the_ring_shows_a_density_that_is_largest_where_the_points_are() -> None:
    points = figures.CircleFeatures(
        "one place", np.zeros(3), np.array([[0.0, 1.0]] * 3), np.zeros(3, dtype=int)
    )
    image = figures.circle_figure([points], ["only"]).axes[1].images[0]
    row, column = np.unravel_index(np.asarray(image.get_array()).argmax(), image.get_array().shape)  # type: ignore[union-attr]
    left, right, bottom, top = image.get_extent()
    assert left + (column + 0.5) / 120 * (right - left) == pytest.approx(0, abs=0.03)
    assert bottom + (row + 0.5) / 120 * (top - bottom) == pytest.approx(1, abs=0.03)


def test_a_picture_of_more_than_two_dimensions_is_refused_with_the_reason() -> None:
    with pytest.raises(ValueError, match=r"\[N, 2\].*\[40, 3\].*projection"):
        figures.circle_figure([circle(dim=3)], CLASSES)


# --------------------------------------------------------------------------------------------- the histograms


def test_distances_of_pairs_are_drawn_as_shares_beside_those_of_random_pairs() -> None:
    axes = figures.pair_distance_figure(np.array([0.1, 0.1, 0.4]), np.full(70, 1.0)).axes[0]
    positive, other = (patch for patch in axes.patches if isinstance(patch, StepPatch))
    assert positive.get_data()[0].sum() == pytest.approx(1)
    assert other.get_data()[0].max() == pytest.approx(1)
    assert keys(axes) == ["positive pairs", "random pairs", "mean 0.200"]


def test_distances_that_are_all_zero_can_be_drawn() -> None:
    assert "mean 0.000" in keys(figures.pair_distance_figure(np.zeros(4)).axes[0])


@pytest.mark.parametrize("dim", [2, 3, 16, 768])
def test_the_curve_over_the_cosines_is_the_density_of_the_uniform_law(dim: int) -> None:
    rows = random(200, dim)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    cosines = (rows @ rows.T)[np.triu_indices(200, 1)]
    axes = figures.cosine_figure(cosines, dim).axes[0]
    cosine, density = map(np.asarray, axes.lines[0].get_data())
    if dim > 2:  # on the circle the density is infinite at both ends
        assert np.trapezoid(density, cosine) == pytest.approx(1, abs=2e-3)
    heights, edges, _ = next(patch for patch in axes.patches if isinstance(patch, StepPatch)).get_data()
    middles = (edges[1:] + edges[:-1]) / 2
    inner = np.abs(middles) < 0.9 * min(1, 2 / dim**0.5)
    assert heights[inner] == pytest.approx(np.interp(middles, cosine, density)[inner], rel=0.35)


def test_a_narrow_density_does_not_hide_the_cosines() -> None:
    axes = figures.cosine_figure(np.linspace(-1, 1, 999), 4096).axes[0]
    assert axes.get_ylim()[1] < 2


def test_crowding_is_drawn_as_each_rows_own_uniformity() -> None:
    optimum = uniform_optimum(8)
    axes = figures.crowding_figure(
        [np.exp([-2.0, -2.0]), np.exp([-1.0])], 2, optimum, ["images", "texts"]
    ).axes[0]
    log_mean = np.log((np.exp(-2) + np.exp(-1)) / 2)
    assert keys(axes) == ["images", "texts", f"optimum −{-optimum:.3f}", f"all −{-log_mean:.3f}"]
    assert [line.get_xdata()[0] for line in axes.lines] == pytest.approx([optimum, log_mean])  # type: ignore[index]


def test_crowding_of_rows_that_underflow_or_are_alike_can_be_drawn() -> None:
    figures.crowding_figure([np.zeros(3)], 1000, -600)
    figures.crowding_figure([np.full(3, np.exp(-2.0))], 2, -2.0)


@pytest.mark.parametrize("bad", [np.array([]), np.array([1, np.nan])])
def test_histograms_of_nothing_or_of_nan_are_refused(bad: figures.Array) -> None:
    draws: list[Callable[[], Figure]] = [
        lambda: figures.pair_distance_figure(bad),
        lambda: figures.cosine_figure(bad, 8),
        lambda: figures.crowding_figure([bad], 2, -3),
        lambda: figures.spectrum_figure(bad, 1, 1),
    ]
    for draw in draws:
        with pytest.raises(ValueError, match="must"):
            draw()


# ----------------------------------------------------------------------------------------------- the spectrum


def test_the_spectrum_marks_what_holds_most_of_the_variance() -> None:
    axes = figures.spectrum_figure(np.array([1.0, 8.0, 0.5, 0.5]), rankme=2.5, participation_ratio=1.25).axes[
        0
    ]
    assert keys(axes) == ["RankMe 2.5", "participation ratio 1.2", "90% of the variance: 2"]
    _, _, curve, dot = axes.lines
    assert np.asarray(curve.get_ydata()).tolist() == [8, 1, 0.5, 0.5]
    assert np.asarray(dot.get_data()).tolist() == [[2], [1]]


def test_a_spectrum_without_variance_can_be_drawn() -> None:
    figures.spectrum_figure(np.zeros(4), 1, 1).draw_without_rendering()


def test_a_spectrum_leaves_out_what_is_rounding() -> None:
    curve = figures.spectrum_figure(np.array([1.0, 0.5, 1e-16, 0.0, -1e-17]), 2, 2).axes[0].lines[2]
    assert np.asarray(curve.get_ydata()).tolist() == [1, 0.5]


# -------------------------------------------------------------------------------------------------- the plane

POINTS = [
    figures.PlanePoint("a", 0.1, -2, 0.9),
    figures.PlanePoint("a", 0.2, -3, 0.8),
    figures.PlanePoint("b", 0.3, -1, 0.7),
]


def test_the_plane_shows_every_point_and_the_optimum() -> None:
    axes = figures.plane_figure(POINTS, optimum=-3.9).axes[0]
    drawn = np.concatenate([np.asarray(dots.get_offsets()) for dots in axes.collections])
    assert sorted(map(tuple, drawn.tolist())) == [(0.1, -2), (0.2, -3), (0.3, -1)]
    assert np.asarray(axes.lines[-1].get_ydata()).tolist() == [-3.9, -3.9]
    assert axes.get_ylim()[0] < -3.9


def test_the_plane_writes_few_names_beside_the_points_and_many_in_a_legend() -> None:
    few = figures.plane_figure(POINTS, -3.9).axes[0]
    assert [text.get_text() for text in few.texts][1:] == ["a", "b"]
    assert few.get_legend() is None
    many = figures.plane_figure(
        [figures.PlanePoint(f"encoder {k}", k / 20, -k / 5) for k in range(12)], -3.9
    ).axes[0]
    assert keys(many) == [f"encoder {k}" for k in range(12)]
    scattered = [figures.PlanePoint("one objective", k / 20, -k / 5) for k in range(6)]
    assert keys(figures.plane_figure(scattered, -3.9).axes[0]) == ["one objective"]


def test_names_do_not_cover_each_other() -> None:
    points = [figures.PlanePoint(f"encoder {k}", 0.1 + 0.001 * k, -2 - 0.01 * k) for k in range(3)] + POINTS
    axes = figures.plane_figure(points, -3.9).axes[0]
    boxes = [text.get_window_extent() for text in axes.texts]
    assert not any(a.overlaps(b) for number, a in enumerate(boxes) for b in boxes[:number])


def test_the_plane_draws_95_percent_intervals() -> None:
    axes = figures.plane_figure([figures.PlanePoint("a", 0.5, -2, None, 0.01, 0.1)], -3.9).axes[0]
    across, along = axes.lines[:2]
    assert np.ptp(np.asarray(across.get_xdata())) == pytest.approx(0.02 * 1.96, rel=1e-4)
    assert np.ptp(np.asarray(along.get_ydata())) == pytest.approx(0.2 * 1.96, rel=1e-4)


def test_a_plane_without_accuracies_has_no_scale_of_colours_and_one_with_some_has() -> None:
    bare = [figures.PlanePoint("a", 0.1, -2), figures.PlanePoint("b", 0.2, -1)]
    assert len(figures.plane_figure(bare, -3.9).axes) == 1
    assert len(figures.plane_figure([*bare, POINTS[0]], -3.9).axes) == 2


def test_an_empty_plane_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        figures.plane_figure([], -3.9)
    with pytest.raises(ValueError, match="at least one"):
        figures.trajectory_figure([], -3.9)


def test_a_trajectory_is_coloured_by_step_and_marked_at_both_ends() -> None:
    runs = [
        figures.Trajectory(name, np.arange(0, 30, 10), np.array([0.0, 0.1, 0.3]), np.array([0.0, -1, -2]))
        for name in "ab"
    ]
    figure = figures.trajectory_figure(runs, -3.9)
    way, dots, start, end = figure.axes[0].collections[:4]
    assert np.asarray(way.get_array()).tolist() == [5, 15]
    assert np.asarray(dots.get_array()).tolist() == [0, 10, 20]
    assert np.asarray(start.get_offsets()).tolist() == [[0, 0]]
    assert np.asarray(end.get_offsets()).tolist() == [[0.3, -2]]
    assert [text.get_text() for text in figure.axes[0].texts][1:] == ["a", "b"]


def test_a_trajectory_of_a_single_step_can_be_drawn_and_one_of_unequal_lengths_is_refused() -> None:
    one = np.zeros(1)
    figures.trajectory_figure([figures.Trajectory("run", one, one, one)], -3.9)
    with pytest.raises(ValueError, match="run must have as many steps as values"):
        figures.trajectory_figure([figures.Trajectory("run", np.zeros(2), one, one)], -3.9)


# ----------------------------------------------------------------------------------------------- what is kept


def test_panels_are_of_one_size() -> None:
    assert len({tuple(figure.get_size_inches()) for figure in every_panel().values()}) == 1


def test_names_are_not_read_as_mathematics(tmp_path: Path) -> None:
    points = [figures.PlanePoint(r"$\frac{", 0.1, -2), figures.PlanePoint("a$b$", 0.2, -1)]
    assert "a$b$" in figures.save(figures.plane_figure(points, -3.9), tmp_path / "plane")[1].read_text()


def test_figures_are_saved_as_png_and_svg_and_nothing_else_is_left(tmp_path: Path) -> None:
    paths = figures.save(
        figures.plane_figure([figures.PlanePoint("a", 0, -1, 1)], -2), tmp_path / "plane-v1.5"
    )
    assert sorted(tmp_path.iterdir()) == sorted(paths)
    assert [path.name for path in paths] == ["plane-v1.5.png", "plane-v1.5.svg"]
    assert paths[0].read_bytes().startswith(b"\x89PNG")
    assert ET.parse(paths[1]).getroot().tag.endswith("svg")
    assert figures.save(figures.plane_figure(POINTS, -2), tmp_path / "other.png")[1].name == "other.svg"


def test_a_figure_that_cannot_be_saved_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "plane.png").write_text("old")
    monkeypatch.setattr(Figure, "savefig", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        figures.save(figures.plane_figure(POINTS, -2), tmp_path / "plane")
    assert [path.name for path in tmp_path.iterdir()] == ["plane.png"]


def test_inline_figures_share_no_id_and_bring_no_style_sheet_and_no_address() -> None:
    parts = [figures.inline_svg(figure, prefix=name, label=name) for name, figure in every_panel().items()]
    parts.append(
        figures.inline_svg(figures.circle_figure([circle()], CLASSES), prefix="circle", label="circle")
    )
    page = "".join(parts)
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert ids
    assert len(ids) == len(set(ids))
    assert set(re.findall(r"url\(#([^)]+)\)", page)) | set(re.findall(r'href="#([^"]+)"', page)) == set(ids)
    assert not re.search(r"http|style|xmlns|<metadata", page)


def test_inline_figures_take_their_colours_from_the_page_and_say_what_they_are() -> None:
    root = ET.fromstring(figures.inline_svg(every_panel()["pairs"], prefix="p", label='mean "0.2" < 1'))
    assert root.attrib == {"viewBox": root.get("viewBox"), "role": "img", "aria-label": 'mean "0.2" < 1'}
    colours = {element.get(name, "none") for element in root.iter() for name in ("fill", "stroke")}
    assert {colour for colour in colours if colour.startswith("#")} == set()
    assert "var(--accent, #2a6f97)" in colours
    assert {element.get("fill", "") for element in root.iter("text")} <= {
        "",
        "var(--ink, #1f2430)",
        "var(--faint, #5a6070)",
    }


def test_inline_figures_understand_the_font_shorthand_of_older_matplotlib() -> None:
    from align_uniform.figures._inline import move_style

    text = ET.Element(
        "text", {"style": "font: 700 9px 'DejaVu Sans', sans-serif; text-anchor: middle; fill: #1f2430"}
    )
    move_style(text)
    assert text.attrib == {
        "font-weight": "700",
        "font-size": "9px",
        "text-anchor": "middle",
        "fill": "var(--ink, #1f2430)",
    }


def test_the_look_does_not_change_the_looks_of_others() -> None:
    before = dict(mpl.rcParams)
    every_panel()
    assert dict(mpl.rcParams) == before
