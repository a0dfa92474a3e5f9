"""The look of figures, which changes nobody else's, and their files."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

import matplotlib as mpl
import pytest
from matplotlib.figure import Figure

from align_uniform import figures
from tests.figures.samples import POINTS, every_panel


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


def test_the_look_does_not_change_the_looks_of_others() -> None:
    before = dict(mpl.rcParams)
    every_panel()
    assert dict(mpl.rcParams) == before
