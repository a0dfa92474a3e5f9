"""The figures of a report, where their data are there."""

from __future__ import annotations

import numpy as np

from align_uniform import Measurement
from align_uniform.figures import Trajectory
from align_uniform.report import report_html
from tests.report.page import KINDS, Page


def test_figures_are_drawn_where_their_data_are_and_missed_where_they_are_not(pages: dict[str, str]) -> None:
    counts = {kind: Page(pages[kind]).count("figure") for kind in KINDS}
    assert counts == dict.fromkeys(KINDS, 4) | {
        "two views": 5, "cone": 5, "towers": 5, "scored pairs": 5, "as they are": 5, "constant": 5,
        "one dimension": 2, "without details": 0, "from JSON": 0,
    }  # fmt: skip
    assert "Figures need the details" in Page(pages["from JSON"]).shown


def test_the_way_of_a_training_run_is_drawn(two_views: Measurement) -> None:
    steps = np.arange(5)
    run = Trajectory("run", steps, 1 / (1.0 + steps), -0.5 * steps)
    assert "Alignment and uniformity of the training batches" in report_html(two_views, runs=[run])
    assert "Alignment and uniformity of the training batches" not in report_html(two_views)
