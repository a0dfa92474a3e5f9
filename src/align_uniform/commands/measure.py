"""`align-uniform measure`: alignment and uniformity of the embedding in a file."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from align_uniform._writing import check_replaceable
from align_uniform.measurement import Measurement

HELP = "measure the embedding in a file"
DESCRIPTION = """
Measure alignment and uniformity of the rows of a file, with their errors, and what explains them. Files: .npy, .npz, .pt,
.safetensors, .h5, .parquet, an array or column named as FILE::KEY; columns of labels, ids, texts and pairs also in .csv, .tsv,
.jsonl and .txt. Rows are normalised. The result goes to stdout, all else to stderr. Exit codes: 0 done; 1 a file or value is
not as it should be; 2 the command line is not; 130 interrupted, with what was found until then.
"""


def add_arguments(parser: Any) -> None:
    """Declare the command line."""
    parser.add_argument("features", metavar="FEATURES", help="rows [N, m], or V views of them [V, N, m]")
    given = parser.add_argument_group("what belongs together")
    given.add_argument("--positives", metavar="FILE", help="a second view, row by row; with --pairs or --ids, a second tower")
    given.add_argument(
        "--pairs", metavar="FILE", help="a table of pairs: columns x and y, row numbers or ids, and perhaps score"
    )
    given.add_argument("--threshold", type=float, metavar="SCORE", help="pairs with a score above this are positive (STS-B: 4)")
    given.add_argument("--inclusive", action="store_true", help="pairs whose score equals the threshold are positive too")
    given.add_argument("--ids", metavar="FILE", help="an id for each row; in uniformity, an id counts once")
    given.add_argument("--positive-ids", metavar="FILE", help="an id for each row of --positives")
    given.add_argument("--labels", metavar="FILE", help="a class for each row")
    given.add_argument(
        "--groups", metavar="FILE", help="for each row what it depends on (document, video, ...), for the errors"
    )
    how = parser.add_argument_group("how to measure")
    how.add_argument("--t", type=float, nargs="+", default=[2.0], help="of uniformity, one or several")
    how.add_argument("--alpha", type=float, default=2.0, help="of alignment")
    how.add_argument("--method", choices=["exact", "anchors"], default="exact", help="over all pairs, or those of some rows")
    how.add_argument("--anchors", type=int, default=2000, metavar="K", help="how many rows")
    how.add_argument("--seed", type=int, default=0, help="of the choice of rows")
    how.add_argument("--as-is", action="store_true", help="do not normalise the rows")
    how.add_argument("--device", help="cpu, cuda, mps, ...; cpu unless given")
    shown = parser.add_argument_group("what to show")
    shown.add_argument("--name", help="of the embedding; that of the file unless given")
    shown.add_argument("--json", action="store_true", help="print JSON instead of a table")
    shown.add_argument("--report", metavar="HTML", help="write a page to look at")
    shown.add_argument("--texts", metavar="FILE", help="a text for each row, for the report")
    shown.add_argument("--images", metavar="FILE", help="the path of an image for each row, for the report")
    shown.add_argument("--top", type=int, default=10, metavar="K", help="worst pairs and most crowded rows to name")
    shown.add_argument("--rows-out", metavar="NPZ", help="write what was found of each row; compare pairs by it")
    shown.add_argument("--force", action="store_true", help="replace files")


def run(options: dict[str, Any]) -> int:
    """Measure, print, write; 130 after Ctrl-C."""
    from align_uniform import _ranks as ranks

    for path in (options["report"], options["rows_out"]):
        if path is not None:
            check_replaceable(Path(path), force=options["force"])
    with ranks.process_group():
        result = _measure(options)
        if ranks.rank() == 0:
            _show(result, options)
    return 130 if "interrupted" in result.provenance["method"] else 0


def _measure(options: dict[str, Any]) -> Measurement:
    from align_uniform.measuring.api import measure

    ids = _ids(options)
    pairs, scores = _pairs(options, ids)
    return measure(
        options["features"],
        options["positives"],
        pairs=pairs,
        scores=scores,
        threshold=options["threshold"],
        strict=not options["inclusive"],
        ids=ids,
        progress=sys.stderr.isatty(),
        interruptible=True,
        normalize=not options["as_is"],
        **{
            name: options[name]
            for name in ("labels", "groups", "t", "alpha", "method", "anchors", "seed", "top", "device", "name")
        },
    )


def _show(result: Measurement, options: dict[str, Any]) -> None:
    if options["rows_out"] is not None and result.details is not None:
        result.details.save(Path(options["rows_out"]))
        result = replace(result, provenance={**result.provenance, "rows": options["rows_out"]})
    if options["report"] is not None:
        from align_uniform.report import write_report

        texts, images = (_column(options[name]) for name in ("texts", "images"))
        write_report(Path(options["report"]), result, texts=texts, images=images, force=options["force"])
        print(f"report: {options['report']}", file=sys.stderr)
    if options["json"]:
        print(result.to_json())
        return
    from align_uniform.verdict import findings

    print(result)
    for finding in findings(result):
        print(f"{finding.name}: {finding.what} {finding.advice}")


def _ids(options: dict[str, Any]) -> Any:
    """What `measure` calls ids: one column, or two."""
    if options["positives"] is None:
        return _column(options["ids"])
    if (options["ids"] is None) != (options["positive_ids"] is None):
        raise ValueError("--ids and --positive-ids go together where there are --positives; give both.")
    return None if options["ids"] is None else (_column(options["ids"]), _column(options["positive_ids"]))


def _pairs(options: dict[str, Any], ids: Any) -> tuple[Any, Sequence[Any] | None]:
    """Row numbers of the pairs, and their scores."""
    if options["pairs"] is None:
        return None, None
    from align_uniform.files import read_columns

    columns = read_columns(options["pairs"])
    if not {"x", "y"} <= columns.keys():
        raise ValueError(f"{options['pairs']} must have columns x and y, got {', '.join(columns)}; rename them.")
    sides = ids if isinstance(ids, tuple) else (ids, ids)
    rows = tuple(
        _rows_of(column, names, f"column {name} of {options['pairs']}")
        for column, names, name in zip((columns["x"], columns["y"]), sides, "xy", strict=True)
    )
    return rows, columns.get("score") if options["threshold"] is not None else None


def _rows_of(column: Sequence[Any], ids: Sequence[Any] | None, name: str) -> list[int]:
    """Row numbers as they are, or the first rows of these ids."""
    if ids is None:
        if not all(isinstance(value, int) for value in column):
            raise ValueError(f"{name} must be row numbers, from 0; give --ids where it is ids.")
        return list(column)
    first: dict[Any, int] = {}
    for row, value in enumerate(ids):
        first.setdefault(value, row)
    if unknown := [value for value in column if value not in first]:
        raise ValueError(
            f"{name} has {len(unknown)} ids that no row has, {unknown[0]!r} the first; correct --ids or the table."
        )
    return [first[value] for value in column]


def _column(path: str | None) -> Any:
    if path is None:
        return None
    from align_uniform.files import read_column

    return read_column(path)
