"""`align-uniform compare`: several embeddings side by side."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from align_uniform._writing import check_replaceable
from align_uniform.measuring import quantities
from align_uniform.measuring.difference import Difference
from align_uniform.measuring.measurement import Details, Measurement

HELP = "compare embeddings"
DESCRIPTION = """
Compare embeddings: files of rows, which are measured exactly, or the JSON of `measure --json`. Differences
are from the first. They are paired, row by row, if all are of the same items and their rows are at hand
(files, or JSON with --rows-out beside it).
"""


def add_arguments(parser: Any) -> None:
    """Declare the command line."""
    parser.add_argument(
        "embeddings", metavar="EMBEDDING", nargs="+", help="a file of rows, or the JSON of a measurement"
    )
    parser.add_argument(
        "--positives", metavar="FILE", nargs="+", help="a second view for each embedding, in order"
    )
    parser.add_argument("--names", nargs="+", help="of the embeddings")
    parser.add_argument(
        "--accuracy",
        type=float,
        nargs="+",
        help="of each embedding in some task, for the table and the figure",
    )
    parser.add_argument("--t", type=float, default=2.0, help="of uniformity")
    parser.add_argument("--alpha", type=float, default=2.0, help="of alignment")
    parser.add_argument("--device", help="cpu, cuda, mps, ...; cpu unless given")
    parser.add_argument(
        "--figure", metavar="STEM", help="draw the align-uniform plane to STEM.png and STEM.svg"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--force", action="store_true", help="replace files")


def run(options: dict[str, Any]) -> int:
    """Measure or read each, print the table and the differences, draw."""
    count = len(options["embeddings"])
    for name in ("positives", "names", "accuracy"):
        if options[name] is not None and len(options[name]) != count:
            raise ValueError(
                f"--{name} must be one for each of the {count} embeddings, got {len(options[name])}."
            )
    stem = None if options["figure"] is None else Path(options["figure"])
    if stem is not None:
        _check_figure(stem, force=options["force"])
    results = [_result(number, options) for number in range(count)]
    differences = [result - results[0] for result in results[1:]]
    if options["json"]:
        document = [json.loads(result.to_json()) for result in results]
        print(
            json.dumps(
                {
                    "schema_version": 1,
                    "embeddings": document,
                    "differences": [vars(each) for each in differences],
                }
            )
        )
    else:
        _print(results, differences, options["accuracy"])
    if stem is not None:
        _draw(results, options["accuracy"], stem)
    return 0


def _check_figure(stem: Path, *, force: bool) -> None:
    from align_uniform import figures

    for path in figures.paths(stem):
        check_replaceable(path, force=force)


def _result(number: int, options: dict[str, Any]) -> Measurement:
    """Measure a file of rows, or read a measurement with its rows if they are where it says."""
    path = options["embeddings"][number]
    name = options["names"][number] if options["names"] else None
    if not path.endswith(".json"):
        from align_uniform.measuring.measure import measure

        second = options["positives"][number] if options["positives"] else None
        chosen = {each: options[each] for each in ("t", "alpha", "device")}
        return measure(path, second, name=name, progress=sys.stderr.isatty(), **chosen)
    if options["positives"]:
        raise ValueError(
            f"--positives are of files of rows, {path} is a measurement, which has its own; leave them out."
        )
    result = Measurement.from_json(Path(path).read_text(encoding="utf-8"), path)
    rows = result.provenance.get("rows")
    found = [folder / rows for folder in (Path(), Path(path).parent) if rows and (folder / rows).exists()]
    return replace(result, name=name or result.name, details=Details.load(found[0]) if found else None)


def _print(results: list[Measurement], differences: list[Difference], accuracy: list[float] | None) -> None:
    """Print the table of all embeddings, and the differences from the first below it."""
    records = quantities.shown_by("compare")
    table = Table(
        title=f"t = {results[0].uniform.t:g}", title_justify="left", title_style="", box=box.SIMPLE_HEAD
    )
    table.add_column("embedding")
    for heading in (*(record.label for record in records), *["accuracy"] * (accuracy is not None)):
        table.add_column(heading, justify="right")
    for number, result in enumerate(results):
        numbers = [record.text(result) for record in records]
        table.add_row(result.name, *numbers, *([] if accuracy is None else [f"{accuracy[number]:g}"]))
    Console(width=None if sys.stdout.isatty() else 160).print(table)
    for difference in differences:
        print(difference, end="\n\n")


def _draw(results: list[Measurement], accuracy: list[float] | None, stem: Path) -> None:
    from align_uniform import figures

    if len({result.dim for result in results}) > 1:
        raise ValueError(
            "the plane is of embeddings of one dimension, which share an optimum; leave --figure out."
        )
    points = []
    for number, result in enumerate(results):
        if result.align is None:
            raise ValueError(f"the plane needs an alignment, {result.name} has none; give --positives.")
        points.append(
            figures.PlanePoint(
                name=result.name,
                align=result.align.value,
                uniform=result.uniform.value,
                accuracy=None if accuracy is None else accuracy[number],
                align_stderr=result.align.stderr,
                uniform_stderr=result.uniform.total_stderr,
            )
        )
    for path in figures.save(figures.plane_figure(points, results[0].uniform.optimum), stem):
        print(f"figure: {path}", file=sys.stderr)
