"""`align-uniform measure`: alignment and uniformity of the embedding in a file, or of an encoder's features
of images.
"""

from __future__ import annotations

import importlib
import sys
from argparse import SUPPRESS
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from align_uniform._writing import check_replaceable, written_whole
from align_uniform.measuring.measurement import Measurement

if TYPE_CHECKING:
    from align_uniform.recipes.encoders.encode import Encoded

HELP = "measure the embedding in a file, or an encoder on images"
DESCRIPTION = """
Measure alignment and uniformity of the rows of a file, with their errors, and what explains them. Files:
.npy, .npz, .pt, .safetensors, .h5, .parquet, an array or column named as FILE::KEY; columns of labels, ids,
texts and pairs also in .csv, .tsv, .jsonl and .txt. Rows are normalised. The result goes to stdout, all else
to stderr. Exit codes: 0 done; 1 a file or value is not as it should be; 2 the command line is not; 130
interrupted, with what was found until then.

With --encoder and --images in place of FEATURES, two random views of each image are encoded: alignment is
that of the two views of an image, uniformity that of each view's features over all images, averaged over the
two; tolerance is that of the first view within the folders of the classes, if there are any.
"""

ENCODING = {
    "weights": "weights",
    "arch": "arch",
    "dim": "dim",
    "head": "head",
    "layer": "layer",
    "views_preset": "views_preset",
    "size": "size",
    "batch_size": "batch_size",
    "workers": "workers",
}
"""Options that go with --encoder, and what `recipes.encode` calls them."""


def add_arguments(parser: Any) -> None:
    """Declare the command line."""
    # without a default, or that would take the place of what a --config says
    rows = "rows [N, m], or V views of them [V, N, m]"
    parser.add_argument("features", nargs="?", default=SUPPRESS, metavar="FEATURES", help=rows)
    _add_encoder_arguments(parser)
    given = parser.add_argument_group("what belongs together")
    given.add_argument(
        "--positives", metavar="FILE", help="a second view, row by row; with --pairs or --ids, a second tower"
    )
    given.add_argument(
        "--pairs",
        metavar="FILE",
        help="a table of pairs: columns x and y, row numbers or ids, and perhaps score",
    )
    given.add_argument(
        "--threshold",
        type=float,
        metavar="SCORE",
        help="pairs with a score above this are positive (STS-B: 4)",
    )
    given.add_argument(
        "--inclusive", action="store_true", help="pairs whose score equals the threshold are positive too"
    )
    given.add_argument("--ids", metavar="FILE", help="an id for each row; in uniformity, an id counts once")
    given.add_argument("--positive-ids", metavar="FILE", help="an id for each row of --positives")
    given.add_argument("--labels", metavar="FILE", help="a class for each row")
    given.add_argument(
        "--groups",
        metavar="FILE",
        help="for each row what it depends on (document, video, ...), for the errors",
    )
    how = parser.add_argument_group("how to measure")
    how.add_argument("--t", type=float, nargs="+", default=[2.0], help="of uniformity, one or several")
    how.add_argument("--alpha", type=float, default=2.0, help="of alignment")
    how.add_argument(
        "--method",
        choices=["exact", "anchors"],
        default="exact",
        help="over all pairs, or those of some rows",
    )
    how.add_argument("--anchors", type=int, default=2000, metavar="K", help="how many rows")
    how.add_argument("--seed", type=int, default=0, help="of the choice of rows, and of the views of images")
    how.add_argument("--as-is", action="store_true", help="do not normalise the rows")
    how.add_argument("--device", help="cpu, cuda, mps, ...; cpu unless given")
    shown = parser.add_argument_group("what to show")
    shown.add_argument("--name", help="of the embedding; that of the file or encoder unless given")
    shown.add_argument("--json", action="store_true", help="print JSON instead of a table")
    shown.add_argument("--report", metavar="HTML", help="write a page to look at")
    shown.add_argument("--texts", metavar="FILE", help="a text for each row, for the report")
    shown.add_argument(
        "--top", type=int, default=10, metavar="K", help="worst pairs and most crowded rows to name"
    )
    shown.add_argument(
        "--rows-out", metavar="NPZ", help="write what was found of each row; compare pairs by it"
    )
    shown.add_argument("--force", action="store_true", help="replace files")


def _add_encoder_arguments(parser: Any) -> None:
    parser = parser.add_argument_group("an encoder and images, in place of FEATURES")
    parser.add_argument(
        "--encoder",
        metavar="E",
        help="the path of encoder.pth, encoder.safetensors or a checkpoint; published, "
        "the paper's ImageNet ResNet-50, also as hub:imagenet_resnet50_encoder; or "
        "torchvision:NAME, what its last linear layer takes",
    )
    parser.add_argument(
        "--images",
        metavar="DIR|FILE",
        help="with --encoder a folder of images, or of a folder for each class; with FEATURES a file with "
        "the path of an image for each row, for the report",
    )
    parser.add_argument(
        "--weights",
        help="of published a path or URL, of torchvision:NAME "
        "a path; unless given, the released ones are fetched",
    )
    parser.add_argument(
        "--arch",
        help="of an encoder's file: small-alexnet (the default), small-conv, resnet18, resnet50, ...",
    )
    parser.add_argument(
        "--dim", type=int, help="of an encoder's file: features of its output; 128 unless given"
    )
    parser.add_argument("--head", help="of a ResNet's file: linear (the default) or mlp")
    parser.add_argument("--layer", help="whose features, such as fc7 or backbone; output unless given")
    parser.add_argument(
        "--views-preset",
        metavar="NAME",
        help="how views are made: stl10 (the default for small-alexnet and "
        "small-conv), moco-v1, moco-v2 (the default for all others), fashion-mnist",
    )
    parser.add_argument(
        "--size", type=int, help="height and width of the views; the preset's or the weights' unless given"
    )
    parser.add_argument("--batch-size", type=int, help="images encoded at a time; 128 unless given")
    parser.add_argument(
        "--workers", type=int, help="processes that make the views, 4 unless given; 0: the process itself"
    )
    parser.add_argument("--features-out", metavar="NPY", help="keep the features of the two views, [2, N, m]")


def run(options: dict[str, Any]) -> int:
    """Measure, print, write; 130 after Ctrl-C."""
    from align_uniform import _ranks as ranks
    from align_uniform.recipes.devices import process_group

    options = {"features": None, **options}
    if mistake := _mistake(options):
        print(f"align-uniform: {mistake} (see align-uniform measure --help)", file=sys.stderr)
        return 2
    for path in (options["report"], options["rows_out"], options["features_out"]):
        if path is not None:
            check_replaceable(Path(path), force=options["force"])
    if options["features_out"] is not None and Path(options["features_out"]).suffix != ".npy":
        raise ValueError(f"--features-out must end in .npy, got {options['features_out']}.")
    if options["report"] is not None:  # what it needs is missing now, or not at all
        importlib.import_module("align_uniform.report")
    with process_group():
        encoded = _encoded(options) if options["encoder"] is not None else None
        result = _measure(options, encoded)
        if ranks.rank() == 0:
            _show(result, options, encoded)
    return 130 if "interrupted" in result.provenance["method"] else 0


def _mistake(options: dict[str, Any]) -> str | None:
    """What does not go together on the command line."""
    if (options["features"] is None) == (options["encoder"] is None):
        return "give either features, those of a file, or --encoder with --images"
    if options["encoder"] is None:
        strange = [name for name in (*ENCODING, "features_out") if options[name] is not None]
        without = "go with --encoder, not with features of a file"
    elif options["images"] is None:
        return "--encoder needs --images, a folder of them"
    else:
        strange = [
            name
            for name in ("positives", "pairs", "threshold", "ids", "positive_ids")
            if options[name] is not None
        ]
        without = "go with features of a file; with --encoder, two views of an image are a pair"
    named = ", ".join(f"--{name.replace('_', '-')}" for name in strange)
    return f"{named}: these {without}" if strange else None


def _encoded(options: dict[str, Any]) -> Encoded:
    """The features of the images, which are kept if that is asked for."""
    from align_uniform import _ranks as ranks

    try:
        import numpy as np

        from align_uniform.recipes.encoders.encode import encode
        from align_uniform.recipes.encoders.options import EncodeOptions

        chosen = {field: options[name] for name, field in ENCODING.items() if options[name] is not None}
        asked = EncodeOptions(
            options["encoder"],
            Path(options["images"]),
            seed=options["seed"],
            device=options["device"] or "cpu",
            **chosen,
        )
        encoded = encode(asked, progress=sys.stderr.isatty())
    except ModuleNotFoundError as error:
        raise ValueError(
            f"{error.name} is missing, which --encoder needs; run: pip install 'align-uniform[recipes]'"
        ) from error
    if options["features_out"] is not None and ranks.rank() == 0:
        with written_whole(Path(options["features_out"])) as partial, partial.open("wb") as file:
            np.save(file, encoded.views.numpy())
    return encoded


def _measure(options: dict[str, Any], encoded: Encoded | None) -> Measurement:
    from align_uniform.measuring.measure import measure

    ids = _ids(options)
    pairs, scores = _pairs(options, ids)
    given = {name: options[name] for name in ("labels", "name")}
    if encoded is not None:
        given = {
            "labels": given["labels"] or encoded.labels,
            "name": given["name"] or Path(options["encoder"]).stem,
        }
    result = measure(
        options["features"] if encoded is None else encoded.views,
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
            for name in ("groups", "t", "alpha", "method", "anchors", "seed", "top", "device")
        },
        **given,
    )
    if encoded is None:
        return result
    source = {
        name: options[name] for name in ("encoder", "weights", "layer", "images") if options[name] is not None
    }
    return replace(
        result,
        provenance={**result.provenance, **source, "views": f"{encoded.preset}, {encoded.size} pixels"},
    )


def _show(result: Measurement, options: dict[str, Any], encoded: Encoded | None) -> None:
    if options["rows_out"] is not None and result.details is not None:
        result.details.save(Path(options["rows_out"]))
        result = replace(result, provenance={**result.provenance, "rows": options["rows_out"]})
    if options["report"] is not None:
        from align_uniform.report import write_report

        texts = _column(options["texts"])
        images = _column(options["images"]) if encoded is None else encoded.paths
        write_report(Path(options["report"]), result, texts=texts, images=images, force=options["force"])
        print(f"report: {options['report']}", file=sys.stderr)
    if options["json"]:
        print(result.to_json())
        return
    from align_uniform.measuring.verdict import findings

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
        raise ValueError(
            f"{options['pairs']} must have columns x and y, got {', '.join(columns)}; rename them."
        )
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
            f"{name} has {len(unknown)} ids that no row has, {unknown[0]!r} the first; correct --ids or the "
            "table."
        )
    return [first[value] for value in column]


def _column(path: str | None) -> Any:
    if path is None:
        return None
    from align_uniform.files import read_column

    return read_column(path)
