"""A measurement as a page to look at: one HTML file that holds all it needs and asks nothing of the
network.
"""

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
from align_uniform.measuring import verdict
from align_uniform.measuring.measurement import Measurement
from align_uniform.measuring.quantities import fixed

with needs("report"):
    import jinja2

    from align_uniform.figures import Trajectory
    from align_uniform.report._drawings import drawings
    from align_uniform.report._numbers import headlines, number_groups
    from align_uniform.report._rows import Contents, tables

__all__ = ["report_html", "write_report"]


def write_report(
    path: Path,
    measurement: Measurement,
    *,
    texts: Sequence[str] | tuple[Sequence[str], Sequence[str]] | None = None,
    images: Sequence[Path] | tuple[Sequence[Path], Sequence[Path]] | None = None,
    runs: Sequence[Trajectory] = (),
    force: bool = False,
) -> None:
    """Write `report_html` to a file, whole or not at all.

    Args:
        path: of the file.
        measurement: what to show.
        texts: see `report_html`.
        images: see `report_html`.
        runs: see `report_html`.
        force: replace a file that is there.

    Raises:
        ValueError: there is such a file and `force` is not given, or no such folder; or as `report_html`.
    """
    check_replaceable(path, force=force)
    page = report_html(measurement, texts=texts, images=images, runs=runs)
    with written_whole(path) as partial:
        partial.write_bytes(
            page.encode("utf-8", "replace")
        )  # names of files may hold what UTF-8 has no code for


def report_html(
    measurement: Measurement,
    *,
    texts: Sequence[str] | tuple[Sequence[str], Sequence[str]] | None = None,
    images: Sequence[Path] | tuple[Sequence[Path], Sequence[Path]] | None = None,
    runs: Sequence[Trajectory] = (),
) -> str:
    """The page of a measurement: the verdict first, then the numbers, figures, and the rows to look at.

    It is one document: figures are inline SVG, pictures `data:` URIs, and a Content-Security-Policy lets
    nothing else in, and no script or style but the page's own, by their hash. Everything that comes from
    outside is escaped.

    Args:
        measurement: what to show; figures need its `details`.
        texts: a text for each row, shown beside its number. Of two towers, a tuple of two, or the texts of
            the second.
        images: the path of a picture for each row, likewise. Of two towers, a tuple of two, or the pictures
            of the first.
        runs: how alignment and uniformity went while the encoder was trained.

    Raises:
        ValueError: there is a row without a text or a path.
    """
    contents = Contents(texts, images, are_towers=measurement.towers is not None)
    found = verdict.findings(measurement)
    return _template().render(
        m=measurement,
        verdict=verdict.headline(found),
        findings=found,
        checks=[_Check.of(heuristic, measurement) for heuristic in verdict.HEURISTICS],
        headlines=headlines(measurement),
        groups=number_groups(measurement),
        drawings=list(drawings(measurement, runs)),
        tables=list(tables(measurement, contents)),
        provenance={name: _as_text(value) for name, value in measurement.provenance.items()},
        document=measurement.to_json(),
    )


def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"source_hash": _source_hash, "plain": _plain}
    return environment.get_template("report.html.j2")


def _source_hash(text: str) -> str:
    """What a Content-Security-Policy knows a script or a style sheet by."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _plain(number: float) -> str:
    """For reading: three decimals, fewer of a large number."""
    return f"{number:,.0f}" if abs(number) >= 100 else fixed(number, 3 if abs(number) < 10 else 1)


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


@dataclass(frozen=True)
class _Check:
    """A heuristic, and what it came to."""

    heuristic: verdict.Heuristic
    number: str
    outcome: str

    @classmethod
    def of(cls, heuristic: verdict.Heuristic, measurement: Measurement) -> _Check:
        number, finding = heuristic.number(measurement), heuristic.finding(measurement)
        outcome = finding.severity if finding is not None else "not judged" if number is None else "passed"
        return cls(heuristic, "–" if number is None else _plain(number), outcome)
