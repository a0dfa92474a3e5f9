"""Places and colours on the map of a report."""

from __future__ import annotations

import re
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from PIL import Image

from align_uniform import Measurement, measure
from align_uniform.cli import main
from align_uniform.report import report_html
from align_uniform.report.map import CLASSES, OTHERS, PICTURES, Map, map_of
from align_uniform.report.places import HEIGHT, MARGIN, NEIGHBOURS, WIDTH
from align_uniform.report.rows import Contents
from tests.report.page import Page
from tests.rows import normal, unit


def drawn(measurement: Measurement, **contents: object) -> Map:
    found = map_of(measurement, Contents(contents.get("texts"), contents.get("images"), measurement))  # type: ignore[arg-type]
    assert found is not None
    return found


def test_places_are_the_first_two_principal_components() -> None:
    rows = torch.nn.functional.normalize(normal(300, 6) * torch.tensor([4.0, 2, 1, 1, 1, 1]), dim=1)
    found = drawn(measure(rows))
    wide = rows.double().numpy()
    wide = wide - wide.mean(0)
    values, directions = np.linalg.eigh(wide.T @ wide)
    expected = wide @ directions[:, [-1, -2]]
    places = np.array([(point.x, point.y) for point in found.points])
    for column in (0, 1):
        assert abs(np.corrcoef(places[:, column], expected[:, column])[0, 1]) > 0.9999
    assert f"hold {values[-2:].sum() / values.sum():.0%} of the variance" in found.caption
    ratio = np.ptp(places[:, 0]) / np.ptp(places[:, 1])
    assert ratio == pytest.approx(np.ptp(expected[:, 0]) / np.ptp(expected[:, 1]), rel=1e-2)
    assert places.min() >= MARGIN - 0.1
    assert (places.max(0) <= np.array([WIDTH, HEIGHT]) - MARGIN + 0.1).all()


def test_many_rows_are_a_sample_that_is_said() -> None:
    found = drawn(measure(unit(1200, 4)))
    assert len(found.points) == 1000
    assert found.caption.startswith("1,000 random rows of 1,200, projected")
    numbers = [int(point.cell.order) for point in found.points]
    assert len(set(numbers)) == 1000
    anchors = drawn(measure(unit(3000, 4), method="anchors", anchors=100))
    assert 100 <= len(anchors.points) < 200
    assert f"{len(anchors.points)} random rows of 3,000" in anchors.caption
    assert drawn(measure(unit(60, 4))).caption.startswith("All 60 rows")


def test_colours_are_classes_crowding_and_pair_distance() -> None:
    rows = unit(60, 4)
    labels = ["a", "b", "c"] * 20
    labelled = drawn(measure(rows, labels=labels))
    assert [key.name for key in labelled.keys] == ["class", "crowding"]
    assert labelled.keys[0].entries == [(CLASSES[place], name) for place, name in enumerate("abc")]
    assert [point.colours[0] for point in labelled.points[:3]] == list(CLASSES[:3])
    many = drawn(measure(rows, labels=[row % 12 for row in range(60)]))
    assert many.keys[0].entries[-1] == (OTHERS, "4 other classes")
    other = rows.clone()
    other[7] = -rows[7]
    views = drawn(measure(rows, other))
    assert [key.name for key in views.keys] == ["crowding", "pair distance"]
    assert views.points[7].words.endswith("pair distance 2.000")
    assert views.points[7].colours[1] != views.points[8].colours[1]


def test_both_towers_are_on_the_map() -> None:
    pairs = [[row, row] for row in range(30)]
    found = drawn(measure(unit(40, 4), unit(50, 4, seed=1), pairs=pairs))
    assert [key.name for key in found.keys][:1] == ["tower"]
    assert len(found.points) == 90
    assert found.points[35].words.startswith("tower 1, mean potential")
    assert "pair distance" in found.points[29].words
    assert "pair distance" not in found.points[35].words
    assert found.points[35].colours[2] == OTHERS


def test_crowded_rows_are_coloured_as_crowded() -> None:
    rows = unit(200, 8)
    rows[:20] = rows[0] + 0.01 * unit(20, 8, seed=1)
    found = drawn(measure(rows))
    colours = [int(point.colours[0][1:3], 16) - int(point.colours[0][5:], 16) for point in found.points]
    assert min(colours[:20]) > np.percentile(colours[20:], 90)  # more red than blue


def test_points_have_texts_and_the_first_of_them_pictures() -> None:
    count = PICTURES + 5
    images = [Image.new("RGB", (20, 20), (row % 256, 0, 0)) for row in range(count)]
    found = drawn(measure(unit(count, 4)), texts=[f"text {row}" for row in range(count)], images=images)
    assert [bool(point.cell.picture) for point in found.points] == [True] * PICTURES + [False] * 5
    assert found.points[-1].cell.note == f"text {count - 1}"


def test_a_line_and_old_measurements_have_no_map(tmp_path: Path) -> None:
    line = measure(torch.tensor([[1.0], [-1], [1], [-1]]))
    kept = Measurement.from_json(measure(unit(30, 4)).to_json())
    for measurement in (line, kept):
        assert map_of(measurement, Contents(None, None, measurement)) is None


# ------------------------------------------------------------------------------------------------------ UMAP


class StandIn:
    """UMAP's interface: it keeps what it was asked for, and returns two features, far off the page."""

    asked: ClassVar[dict[str, Any]] = {}

    def __init__(self, *, n_components: int, n_neighbors: int, random_state: int, n_jobs: int = -1) -> None:
        type(self).asked = {"components": n_components, "neighbours": n_neighbors, "seed": random_state}
        assert n_jobs == 1  # more threads than one are refused with a seed

    def fit_transform(self, rows: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        assert rows.dtype == np.float32
        return 100 * rows[:, :2] + 7


@pytest.fixture
def umap(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("umap")
    module.__spec__ = ModuleSpec("umap", None)
    module.UMAP = StandIn  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "umap", module)


def test_the_places_are_those_of_umap_where_it_is_asked_for(umap: None) -> None:
    measurement = measure(unit(60, 4), seed=3)
    page = Page(report_html(measurement, map="umap")).shown
    assert StandIn.asked == {"components": 2, "neighbours": NEIGHBOURS, "seed": 3}
    assert "Map (UMAP)" in page
    assert f"All 60 rows, placed by UMAP with {NEIGHBOURS} neighbours and seed 3" in page
    assert "Distances are not to scale" in page
    assert "variance" not in page[page.index("placed by UMAP") : page.index("another map")]
    found = map_of(measurement, Contents(None, None, measurement), "umap")
    assert found is not None
    places = np.array([(point.x, point.y) for point in found.points])
    assert measurement.details is not None
    rows = measurement.details.samples[0].rows[:, :2].double().numpy() * [1, -1]
    for column in (0, 1):
        assert np.corrcoef(places[:, column], rows[:, column])[0, 1] > 0.9999
    assert places.min() >= MARGIN - 0.1
    assert (places.max(0) <= np.array([WIDTH, HEIGHT]) - MARGIN + 0.1).all()


def test_too_few_rows_for_umap_are_shown_by_principal_components(umap: None) -> None:
    page = Page(report_html(measure(unit(20, 4)), map="umap")).shown
    assert "Map (principal components)" in page
    assert "UMAP was asked for, but takes at least 30 rows." in page


def test_without_umap_the_command_that_installs_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "umap", None)
    measurement = measure(unit(60, 4))
    with pytest.raises(ModuleNotFoundError, match=re.escape("run: pip install 'align-uniform[umap]'")):
        report_html(measurement, map="umap")
    with pytest.raises(ValueError, match="map must be one of"):
        report_html(measurement, map="tsne")  # type: ignore[arg-type]
    assert "Map (principal components)" in report_html(measurement)


@pytest.mark.parametrize(("name", "embeddings"), [("measure", 1), ("compare", 2)])
def test_the_command_draws_the_map_that_it_is_asked_for(
    name: str,
    embeddings: int,
    tmp_path: Path,
    umap: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    rows, page = tmp_path / "rows.npy", tmp_path / "page.html"
    np.save(rows, unit(60, 4).numpy())
    command = [name, *embeddings * [str(rows)], "--map", "umap"]
    assert main([*command, "--report", str(page)]) == 0
    assert (
        page.read_text(encoding="utf-8").count(f"placed by UMAP with {NEIGHBOURS} neighbours") == embeddings
    )
    assert main(command) == 2
    assert "--map has no effect without --report" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "umap", None)
    assert main([*command, "--report", str(tmp_path / "other.html")]) == 1
    told = capsys.readouterr()
    assert told.err.endswith("umap-learn is missing; run: pip install 'align-uniform[umap]'\n")
    assert told.out == ""  # nothing was measured
