"""The figures of a report, where their data are there."""

from __future__ import annotations

import numpy as np

from align_uniform import Measurement, measure
from align_uniform.figures import Trajectory
from align_uniform.measuring.quantity import with_error
from align_uniform.report import report_html
from align_uniform.report.numbers import typeset
from tests.report.page import KINDS, Page
from tests.rows import unit


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


def test_first_features_have_a_section_with_curves_and_tables(two_views: Measurement) -> None:
    found = measure(unit(60, 16), unit(60, 16) + 0.2, labels=[k % 3 for k in range(60)], dims=[4, 8])
    html = report_html(Measurement.from_json(found.to_json()))
    page = Page(html)
    assert "#first" in page.attributes("href")
    assert page.count("figure") == 1
    for words in ("Fewer features", "The dotted line is the value of all 16 features", "5-NN accuracy"):
        assert words in page.shown
    change = found.prefixes[4].changes["uniform.gap"]
    assert typeset(with_error(change.value, change.stderr)) in page.shown
    assert (
        typeset(with_error(found.prefixes[8].uniform.gap, found.prefixes[8].uniform.gap_stderr)) in page.shown
    )
    assert "Fewer features" not in report_html(two_views)
