"""Measurements and comparisons as pages: one HTML file that needs neither other files nor the network."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from align_uniform._extras import needs
from align_uniform._writing import check_replaceable, written_whole
from align_uniform.measuring import heuristics, verdict
from align_uniform.measuring.comparison import Comparison
from align_uniform.measuring.heuristic import Heuristic
from align_uniform.measuring.measurement import Measurement
from align_uniform.measuring.quantities import fixed

with needs("report"):
    import jinja2

    from align_uniform.figures import Trajectory
    from align_uniform.report import comparison as pages
    from align_uniform.report.downloads import files
    from align_uniform.report.drawings import drawings
    from align_uniform.report.heading import lead
    from align_uniform.report.map import map_of
    from align_uniform.report.numbers import headlines, number_groups
    from align_uniform.report.places import Method
    from align_uniform.report.prefixes import first_features
    from align_uniform.report.rows import Contents, Pictures, Sides, class_table, tables

__all__ = ["comparison_html", "report_html", "write_comparison", "write_report"]


def write_report(
    path: Path,
    measurement: Measurement,
    *,
    texts: Sides[Sequence[str]] = None,
    images: Sides[Pictures] = None,
    runs: Sequence[Trajectory] = (),
    numbers: Sequence[tuple[str, str, str]] = (),
    map: Method = "pca",  # noqa: A002 - the word of --map, and of people
    force: bool = False,
) -> None:
    """Write `report_html` to a file, whole or not at all.

    Args:
        path: the path of the file.
        measurement: the measurement to show.
        texts: the texts of the rows; see `report_html`.
        images: the pictures of the rows; see `report_html`.
        runs: the training runs of the encoder; see `report_html`.
        numbers: further numbers; see `report_html`.
        map: the way to place rows on the map; see `report_html`.
        force: whether to replace an existing file.

    Raises:
        ValueError: the file exists and `force` is not given, or its folder does not exist, or `report_html`
            refuses an argument.
        ModuleNotFoundError: umap-learn is missing, which `map="umap"` needs.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> import torch
        >>> from align_uniform import measure
        >>> from align_uniform.report import write_report
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "report.html")
        ...     write_report(path, measure(torch.eye(8)), texts=[f"text {row}" for row in range(8)])
        ...     path.read_text(encoding="utf-8")[:15]
        '<!doctype html>'
    """
    check_replaceable(path, force=force)
    page = report_html(measurement, texts=texts, images=images, runs=runs, numbers=numbers, map=map)
    with written_whole(path) as partial:
        # Names of files may contain characters that UTF-8 cannot encode.
        partial.write_bytes(page.encode("utf-8", "replace"))


def report_html(
    measurement: Measurement,
    *,
    texts: Sides[Sequence[str]] = None,
    images: Sides[Pictures] = None,
    runs: Sequence[Trajectory] = (),
    numbers: Sequence[tuple[str, str, str]] = (),
    map: Method = "pca",  # noqa: A002 - the word of --map, and of people
) -> str:
    """Return the page of a measurement: the verdict, the main numbers, figures, rows to look at, all numbers.

    The page is one document: figures are inline SVG and pictures are `data:` URIs. A Content-Security-Policy
    admits nothing else, and no script or style except the page's own, by their hashes. Everything that comes
    from outside is escaped.

    Args:
        measurement: the measurement to show; figures need its `details`.
        texts: a text for each row of features, shown next to its number; or a tuple of two, those of features
            and those of positives. Views of one item have one text, unless both are given.
        images: the path of a picture for each row, or the picture itself, in the same way.
        runs: alignment and uniformity during the training of the encoder.
        numbers: the label, the value and the meaning of numbers that were measured elsewhere.
        map: the way to place rows on the map: "pca", by their first two principal components, or "umap",
            which needs the extra `umap` and takes the seed of the measurement.

    Raises:
        ValueError: there is not one text or path for each row.
        ModuleNotFoundError: umap-learn is missing, which `map="umap"` needs.

    Example:
        >>> import torch
        >>> from align_uniform import measure
        >>> from align_uniform.report import report_html
        >>> page = report_html(measure(torch.eye(8), name="corners"))
        >>> "corners" in page, "http://" in page
        (True, False)
    """
    contents = Contents(texts, images, measurement)
    found = measurement.findings
    groups = [*number_groups(measurement), *([("Measured during training", numbers)] if numbers else [])]
    named = list(tables(measurement, contents))
    return template("report.html.j2").render(
        m=measurement,
        lead=lead(measurement),
        sections=_sections(measurement, has_rows=bool(named)),
        verdict=verdict.headline(found),
        fitness=measurement.fitness,
        findings=found,
        checks=[_Check.of(heuristic, measurement) for heuristic in heuristics.HEURISTICS],
        headlines=headlines(measurement),
        groups=groups,
        count=sum(len(rows) for _, rows in groups),
        map=map_of(measurement, contents, map),
        drawings=list(drawings(measurement, runs)),
        first=first_features(measurement),
        classes=None if measurement.classes is None else class_table(measurement.classes),
        tables=named,
        provenance={name: _as_text(value) for name, value in measurement.provenance.items()},
        files=list(files(measurement)),
        document=measurement.to_json(),
    )


def write_comparison(
    path: Path,
    comparison: Comparison,
    *,
    texts: Sides[Sequence[str]] = None,
    images: Sides[Pictures] = None,
    accuracy: Sequence[float] | None = None,
    map: Method = "pca",  # noqa: A002 - the word of --map, and of people
    force: bool = False,
) -> None:
    """Write `comparison_html` to a file, whole or not at all.

    Args:
        path: the path of the file.
        comparison: the comparison to show.
        texts: the texts of the rows, the same for all embeddings; see `report_html`.
        images: the pictures of the rows, likewise.
        accuracy: the accuracy of each embedding in some task.
        map: the way to place rows on the maps; see `report_html`.
        force: whether to replace an existing file.

    Raises:
        ValueError: the file exists and `force` is not given, its folder does not exist, or there is not one
            text or picture for each row.
        ModuleNotFoundError: umap-learn is missing, which `map="umap"` needs.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> import torch
        >>> from align_uniform import compare
        >>> from align_uniform.report import write_comparison
        >>> x = torch.randn(100, 8, generator=torch.Generator().manual_seed(0))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "comparison.html")
        ...     write_comparison(path, compare(x, x + 1, names=["old", "new"]))
        ...     path.read_text(encoding="utf-8")[:15]
        '<!doctype html>'
    """
    check_replaceable(path, force=force)
    page = comparison_html(comparison, texts=texts, images=images, accuracy=accuracy, map=map)
    with written_whole(path) as partial:
        partial.write_bytes(page.encode("utf-8", "replace"))


def comparison_html(
    comparison: Comparison,
    *,
    texts: Sides[Sequence[str]] = None,
    images: Sides[Pictures] = None,
    accuracy: Sequence[float] | None = None,
    map: Method = "pca",  # noqa: A002 - the word of --map, and of people
) -> str:
    """Return the page of a comparison, as safe and as whole as that of a measurement.

    Args:
        comparison: the comparison to show; figures of rows need the details of its measurements.
        texts: the texts of the rows, the same for all embeddings; see `report_html`.
        images: the pictures of the rows, likewise.
        accuracy: the accuracy of each embedding in some task, for the plane.
        map: the way to place rows on the maps; see `report_html`.

    Raises:
        ValueError: there is not one text or picture for each row.
        ModuleNotFoundError: umap-learn is missing, which `map="umap"` needs.

    Example:
        >>> import torch
        >>> from align_uniform import compare
        >>> from align_uniform.report import comparison_html
        >>> x = torch.randn(100, 8, generator=torch.Generator().manual_seed(0))
        >>> page = comparison_html(compare(x, x + 1, names=["old", "new"]))
        >>> "What differs" in page
        True
    """
    results = comparison.measurements
    contents = [Contents(texts, images, result) for result in results]
    plane, maps = pages.pictures(comparison, accuracy, contents, map)
    pairs = pages.pairs_table(comparison, contents)
    sections = [
        ("verdict", "What differs"),
        ("each", "Each embedding"),
        *([("figures", "Figures")] if plane or maps else []),
        *([("rows", "Rows to look at")] if pairs else []),
        ("numbers", "All numbers"),
        ("provenance", "Downloads"),
    ]
    groups = list(pages.lines(comparison))
    return template("comparison.html.j2").render(
        names=[result.name for result in results],
        lead=" | ".join(lead(result) for result in results),
        sections=sections,
        summaries=list(pages.summaries(comparison)),
        significant=pages.SIGNIFICANT,
        verdicts=pages.verdicts(comparison),
        groups=groups,
        count=sum(len(found) for _, found in groups),
        plane=plane,
        maps=maps,
        pairs=pairs,
        document=json.dumps(comparison.to_dict(accuracy), indent=2, ensure_ascii=False),
    )


def _sections(measurement: Measurement, *, has_rows: bool) -> list[tuple[str, str]]:
    """Return the id and the title of each section that the page has."""
    sections = [
        ("verdict", "Verdict", True),
        ("quantities", "The numbers that matter", True),
        ("figures", "Figures", True),
        ("first", "Fewer features", bool(measurement.prefixes)),
        ("classes", "Classes", measurement.classes is not None),
        ("rows", "Rows to look at", has_rows),
        ("numbers", "All numbers", True),
        ("warnings", "Warnings", bool(measurement.warnings)),
        ("provenance", "Provenance and downloads", True),
    ]
    return [(name, title) for name, title, is_there in sections if is_there]


def template(name: str) -> jinja2.Template:
    """Return a template of this folder."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"source_hash": _source_hash, "plain": _plain}
    return environment.get_template(name)


def _source_hash(text: str) -> str:
    """Return the hash by which a Content-Security-Policy admits a script or a style sheet."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _plain(number: float) -> str:
    """Return a number for reading, with three decimals or, if it is large, with fewer."""
    return f"{number:,.0f}" if abs(number) >= 100 else fixed(number, 3 if abs(number) < 10 else 1)


def _as_text(value: Any) -> str:
    """Return a value of the provenance; sources are files with their shapes."""
    if isinstance(value, list) and all(isinstance(each, dict) for each in value):
        return "; ".join(" ".join(_as_text(part) for part in each.values()) for each in value)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


@dataclass(frozen=True)
class _Check:
    """A heuristic with its number and its outcome."""

    heuristic: Heuristic
    number: str
    outcome: str

    @classmethod
    def of(cls, heuristic: Heuristic, measurement: Measurement) -> _Check:
        number, finding = heuristic.number(measurement), heuristic.finding(measurement)
        outcome = finding.severity if finding is not None else "not judged" if number is None else "passed"
        return cls(heuristic, "–" if number is None else _plain(number), outcome)
