"""Results as notebooks show them: well-formed, escaped, without a script."""

from __future__ import annotations

from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from align_uniform import Measurement, compare, drift, measure
from align_uniform.measuring import quantities
from tests.measuring.examples import example
from tests.rows import unit

TAGS = {"div", "table", "thead", "tbody", "tr", "th", "td", "details", "summary", "ul", "li", "b"}


class Page(HTMLParser):
    """The tags and the text of a page, whose tags must be balanced."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: set[str] = set()
        self.text = ""
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}
        self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += f"{data}\n"


def shown(result: Measurement) -> Page:
    return Page(result._repr_html_())


def test_a_measurement_is_a_table_with_the_numbers_that_print_has() -> None:
    result = example(name="ours")
    page = shown(result)
    assert page.text.startswith("ours: 60 rows of 8 features, exact\n")
    for _, part, records in quantities.groups(result, "table"):
        for record in records:
            assert f"{record.label}\n{record.text(part)}\n" in page.text
    assert page.tags.count("table") == 1


def test_the_verdict_stands_above_with_its_advice() -> None:
    assert "Nothing stands out." in shown(measure(unit(60, 8))).text
    bad = replace(example(), mean_cosine=0.75, warnings=("it is made up.",))
    page = shown(bad)
    assert "Something is wrong: cone" in page.text
    for finding in bad.findings:
        assert f"{finding.name}\n: {finding.what} {finding.advice}" in page.text
    assert page.text.index("cone") < page.text.index("relative alignment")
    assert "warning: it is made up." in page.text


def test_places_among_known_encoders_are_shown_if_the_kind_is_known() -> None:
    told = replace(example(), provenance={"kind": "images"})
    assert "Among known encoders" not in shown(example()).text
    text = shown(told).text
    assert "Among known encoders of images:" in text
    assert told.places()
    assert all(str(place) in text for place in told.places() if place.key == "mean_cosine")


def test_names_are_escaped_and_nothing_runs_or_is_loaded() -> None:
    name = "<script>alert(1)</script> & 'x'"
    x, y = unit(60, 8), unit(60, 8, seed=1)
    first, second = measure(x, name=name), measure(y, name=name)
    moved = drift(x, y, names=(name, "b"))
    for html in (each._repr_html_() for each in (first, compare(first, second), moved)):
        page = Page(html)
        assert name in page.text
        assert set(page.tags) <= TAGS
        assert page.attributes <= {"style"}


def test_colours_of_text_and_ground_are_those_of_the_notebook() -> None:
    html = replace(example(), mean_cosine=0.75)._repr_html_()
    assert "background" not in html
    assert not {style for style in html.split('style="') if style.startswith("color:") or ";color:" in style}


def test_a_comparison_has_every_embedding_and_every_difference() -> None:
    x, y = unit(60, 8), unit(60, 8, seed=1)
    found = compare(x, y, x + 1, names=["a", "b", "c"], paired=True)
    page = Page(found._repr_html_())
    assert "a\nb\nc\n" in page.text
    assert page.tags.count("table") == 3
    for difference in found.differences:
        assert difference.heading in page.text
    assert "adjusted p" in page.text
    assert "p = " not in page.text


def test_a_drift_has_its_decision_first() -> None:
    x = unit(60, 8)
    for other, words in ((x + 1, "It moved: "), (unit(60, 8, seed=1), "No movement was found: ")):
        found = drift(x, other)
        page = Page(found._repr_html_())
        assert page.text.splitlines()[:2] == [found.heading, words[0] + found.verdict[1:]]
        assert words in page.text
        assert all(f"{label}\n{value}\n" in page.text for label, value, _ in found.lines())


def test_a_report_is_written_from_a_measurement(tmp_path: Path) -> None:
    pytest.importorskip("jinja2")
    result = example()
    path = result.report(tmp_path / "page.html", texts=[f"row {row}" for row in range(60)])
    assert path == tmp_path / "page.html"
    assert "row 3" in path.read_text(encoding="utf-8")
    with pytest.raises(ValueError, match=r"page\.html exists"):
        result.report(str(path))
    assert result.report(str(path), force=True) == path


def test_a_missing_library_is_named_with_the_command_that_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(extra: str) -> None:
        raise ModuleNotFoundError(f"jinja2 is missing; run: pip install 'align-uniform[{extra}]'")

    monkeypatch.setattr("align_uniform.measuring.measurement.require", missing)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'align-uniform\[report\]'"):
        example().report(tmp_path / "page.html")
