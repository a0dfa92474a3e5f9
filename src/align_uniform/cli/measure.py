"""`align-uniform measure`: alignment and uniformity of the rows of a file, or of an encoder's features."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from align_uniform._extras import require
from align_uniform._messages import print_json
from align_uniform._options import Belongs, Options
from align_uniform._writing import written_whole
from align_uniform.cli import gates, screen
from align_uniform.cli.command import GATE_FAILED, Command
from align_uniform.cli.contents import ContentFiles, Contents, counts_of_rows, read_contents
from align_uniform.cli.gates import GateOptions
from align_uniform.cli.outputs import Unwritten, check_outputs
from align_uniform.cli.pairs import PairsAsked, TableOfPairs, ids_of, read_pairs
from align_uniform.cli.parser import UsageError
from align_uniform.cli.quantities import OWN_MEANS, QuantityOptions
from align_uniform.files.formats import ARRAYS, COLUMNS
from align_uniform.recipes.encoders.options import EncodeOptions, EncoderOverrides, ViewsOptions

if TYPE_CHECKING:
    from align_uniform.measuring.measurement import Measurement
    from align_uniform.recipes.encoders.encode import Encoded

ROWS = ", ".join(ARRAYS)
MORE_COLUMNS = ", ".join(ending for ending in COLUMNS if ending not in ARRAYS)

COMMAND = Command(
    help="measure the rows of a file, or an encoder's features of images",
    description=f"""
Measure alignment and uniformity of the rows of a file, with their errors, and the numbers that explain them.
Files of rows are {ROWS}; FILE::KEY names an array or a column of several. Labels, ids, texts and
pairs may also come from {MORE_COLUMNS}. Rows are normalised. The result goes to
stdout, everything else to stderr.

With --encoder and --images in place of FEATURES, two random views of each image are encoded. Alignment is
then measured between the two views of an image, and uniformity over the images, averaged over both views.
Folders of classes, if there are any, are the labels.

Exit codes: 0 for success; 1 for an invalid value or file; 2 for a usage error; {GATE_FAILED} if a condition
of --fail-on or --fail-if holds; 130 after Ctrl-C, with the results so far.""",
    options="align_uniform.cli.measure:MeasureOptions",
    run="align_uniform.cli.measure:run",
    extra="cli",
    processes=True,
)


def _file(metavar: str = "FILE") -> Any:
    """Declare the path of a file that may be left out."""
    return field(default=None, metadata={"metavar": metavar})


@dataclass(frozen=True)
class EncodingOptions(Options):
    """An encoder and images, in place of FEATURES."""

    encoder: str | None = None
    """Path to encoder.pth, encoder.safetensors, a checkpoint, or the folder of a run; published (the paper's
    ImageNet ResNet-50, also as hub:imagenet_resnet50_encoder); or torchvision:NAME (the features before its
    classifier).
    """
    images: str | None = _file("PATH")
    """Folder of images, or of one folder for each class, for --encoder. With FEATURES, a file with the path
    of an image for each row, for the report.
    """
    features_out: str | None = _file("NPY")
    """File for the features of the two views, [2, N, m]."""


@dataclass(frozen=True)
class PairOptions(Options):
    """Rows that belong together."""

    positives: str | None = _file()
    """File of a second view, row by row; with --pairs or --ids, of a second tower."""
    pairs: str | None = _file()
    """Table of pairs, with two columns of row numbers, or of ids if --ids is given, and perhaps scores."""
    columns: tuple[str, str] | None = field(default=None, metadata={"metavar": "COLUMN"})
    """Columns of the table of pairs. Default: x and y."""
    score: str | None = field(default=None, metadata={"metavar": "COLUMN"})
    """Column of the scores in the table of pairs. Default: score."""
    threshold: float | None = field(default=None, metadata={"metavar": "SCORE"})
    """Score above which a pair is positive, such as 4 for STS-B."""
    inclusive: bool = False
    """Count pairs whose score equals the threshold as positive."""
    all_pairs: bool = False
    """Count all pairs as positive, although the table has scores."""
    ids: str | None = _file()
    """File with an id for each row. In uniformity, each id counts once."""
    positive_ids: str | None = _file()
    """File with an id for each row of --positives."""
    labels: str | None = _file()
    """File with a class for each row."""
    groups: str | None = _file()
    """File with the unit that each row depends on, such as its document or video, for the errors."""


@dataclass(frozen=True)
class ResultOptions(Options):
    """Results to print and to write."""

    name: str | None = None
    """Name of the embedding. Default: the name of the file, of the encoder, or of the folder of a run."""
    kind: Literal["sentences", "images"] | None = None
    """Items that were encoded, for the known encoders that the numbers are placed among. Default: images with
    --encoder, else not known.
    """
    json: bool = False
    """Print JSON instead of a table."""
    report: str | None = _file("HTML")
    """Page to write, with figures and the rows to look at."""
    map: Literal["pca", "umap"] = "pca"
    """Places of rows on the report's map: principal components, or UMAP, which needs the extra `umap`."""
    texts: str | None = _file()
    """File with a text for each row, for the report. It also tells `compare` which items were measured."""
    positive_texts: str | None = _file()
    """File with a text for each row of --positives, for the report."""
    positive_images: str | None = _file()
    """File with the path of an image for each row of --positives, for the report."""
    top: int = field(default=10, metadata={"metavar": "K"})
    """Number of worst pairs and of most crowded rows to list."""
    rows_out: str | None = _file()
    """File for the numbers of each row, .npz or .parquet, which `compare` takes for paired differences."""
    force: bool = False
    """Replace files that exist."""


OF_ENCODERS = tuple(each.name for kind in (EncoderOverrides, ViewsOptions) for each in fields(kind))
"""Options that go with --encoder alone."""


CONTENTS = ("texts", "positive_texts", "images", "positive_images")
"""Options that name texts and pictures of rows."""

NO_PAIRS = "FEATURES, since with --encoder two views of an image are a pair"


@dataclass(frozen=True)
class MeasureOptions(
    EncoderOverrides,
    ViewsOptions,
    EncodingOptions,
    GateOptions,
    ResultOptions,
    QuantityOptions,
    PairOptions,
):
    """Options of measuring."""

    rules: ClassVar[tuple[Belongs, ...]] = (
        Belongs(("positives", "pairs", "threshold", "ids", "positive_ids"), to=("FEATURES",), words=NO_PAIRS),
        Belongs((*OF_ENCODERS, "features_out"), to=("--encoder",), words="--encoder"),
        Belongs(("images",), to=("--report", "--encoder")),
        Belongs(("texts",), to=("--report", "--json")),
        Belongs(("map",), to=("--report",)),
        Belongs(("threshold", "columns", "score", "all_pairs"), to=("--pairs",)),
        Belongs(("inclusive", "score"), to=("--threshold",)),
        Belongs(("all_pairs",), against=("--threshold",)),
        Belongs(("positive_ids", "positive_texts", "positive_images"), to=("--positives",)),
        Belongs(("positive_texts", "positive_images"), to=("--report",)),
        Belongs(("anchors",), to=("--method anchors",)),
        Belongs(("top",), to=("--report", "--json")),
        Belongs(("force",), to=("--report", "--rows-out", "--features-out")),
    )
    features: str | None = field(default=None, metadata={"argument": True, "metavar": "FEATURES"})
    """File of rows [N, m], or of V views of them [V, N, m]."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.features is None and self.encoder is None and self.center not in (None, OWN_MEANS):
            raise UsageError(f"--center took {self.center} for its mean; type FEATURES before it")
        if (self.features is None) == (self.encoder is None):
            raise UsageError("give either FEATURES, a file of rows, or --encoder with --images")
        if self.encoder is not None and self.images is None:
            raise UsageError("--encoder needs --images, a folder of them")


def run(options: MeasureOptions) -> int:
    """Measure, print and write; return 0, or another code if a condition fails or after Ctrl-C."""
    from align_uniform import _ranks as ranks
    from align_uniform.measuring.measurement import Measurement

    gates.check_paths(options.fail_if, Measurement)
    _check_outputs(options)
    inputs = _Inputs.read(options)
    unwritten = Unwritten()
    encoded = _encoded(options, unwritten) if options.encoder is not None else None
    result = _measure(options, inputs, encoded)
    code = 0
    if ranks.rank() == 0:
        result = _show(result, options, unwritten)
        _report(result, options, inputs.contents, encoded, unwritten)
        code = unwritten.told(_failed(result, options))
    return 130 if "interrupted" in result.provenance["method"] else code


def _check_outputs(options: MeasureOptions) -> None:
    """Check the files that are written, and the libraries that they need."""
    read = ("features", "positives", "pairs", "ids", "positive_ids", "labels", "groups", *CONTENTS)
    files = {name: getattr(options, name) for name in read}
    files |= {"center": None if options.center == OWN_MEANS else options.center}
    written = {name: getattr(options, name) for name in ("report", "rows_out", "features_out")}
    check_outputs(
        {name: None if path is None else Path(path) for name, path in written.items()},
        files,
        force=options.force,
    )
    if options.rows_out is not None:
        from align_uniform.measuring.row_files import check_row_file

        check_row_file(Path(options.rows_out))
    if options.features_out is not None and Path(options.features_out).suffix != ".npy":
        raise ValueError(f"--features-out must end in .npy, got {options.features_out}.")
    if options.encoder is not None:
        require("recipes")
    if options.report is not None:
        require("report")
    if options.map == "umap":
        require("umap")


@dataclass(frozen=True)
class _Inputs:
    """The columns next to the rows."""

    ids: Any
    """The ids as `measure` takes them."""
    named: Any
    """The ids by which a table of pairs names rows: those, or those of files of one vector for each id."""
    pairs: TableOfPairs | None
    contents: Contents

    @classmethod
    def read(cls, options: MeasureOptions) -> _Inputs:
        """Read the columns, and check those that are shown: nothing is measured before."""
        names = {name: getattr(options, name) for name in CONTENTS}
        if options.encoder is not None:
            names["images"] = None
        contents = Contents()
        if any(names.values()):
            contents = read_contents(ContentFiles(**names), _counts(options))
        ids = _ids(options)
        if options.pairs is None:
            return cls(ids, None, None, contents)
        asked = PairsAsked(
            options.pairs, options.columns, options.score, options.threshold, all_pairs=options.all_pairs
        )
        return cls(ids, _ids_in_files(options) if ids is None else ids, read_pairs(asked), contents)

    @property
    def rows_of_pairs(self) -> Any:
        """The row numbers of the pairs, as `measure` takes them."""
        sides = self.named if isinstance(self.named, tuple) else (self.named, self.named)
        return None if self.pairs is None else self.pairs.rows(sides)


def _counts(options: MeasureOptions) -> list[int]:
    """Return the number of rows of features, and of positives if they are given."""
    if options.encoder is None:
        return counts_of_rows(options.features, options.positives)
    from align_uniform.recipes.encoders.encode import images_of

    return [len(images_of(Path(str(options.images))).paths)]


def _failed(result: Measurement, options: MeasureOptions) -> int:
    """Report the conditions that hold, and return the exit code."""
    findings = gates.failures_of_findings(result, options.fail_on)
    try:
        numbers = gates.failures_of_numbers(json.loads(result.to_json()), options.fail_if)
    except UsageError:
        gates.failed(findings)
        raise
    return gates.failed([*findings, *numbers])


def _encoded(options: MeasureOptions, unwritten: Unwritten) -> Encoded:
    """Encode the images, and write the features if there is a file for them."""
    import numpy as np

    from align_uniform import _ranks as ranks
    from align_uniform.recipes.devices import device
    from align_uniform.recipes.encoders.encode import encode

    assert options.encoder is not None
    assert options.images is not None
    asked = EncodeOptions(
        options.encoder,
        Path(options.images),
        seed=options.seed,
        device=str(device(options.device)),
        **{name: getattr(options, name) for name in OF_ENCODERS},
    )
    encoded = encode(asked, progress=sys.stderr.isatty())
    if options.features_out is not None and ranks.rank() == 0:
        with (
            unwritten.writing(f"the features ({options.features_out})"),
            written_whole(Path(options.features_out)) as partial,
            partial.open("wb") as file,
        ):
            np.save(file, encoded.views.numpy())
    return encoded


def _measure(options: MeasureOptions, inputs: _Inputs, encoded: Encoded | None) -> Measurement:
    from align_uniform import _ranks as ranks
    from align_uniform.measuring.measure import measure
    from align_uniform.recipes.devices import measuring_device

    labels: Any = options.labels
    name = options.name
    if encoded is not None:
        labels, name = labels or encoded.labels, name or _name(str(options.encoder))
    result = measure(
        options.features if encoded is None else encoded.views,
        options.positives,
        pairs=inputs.rows_of_pairs,
        scores=None if inputs.pairs is None else inputs.pairs.scores,
        threshold=options.threshold,
        strict=not options.inclusive,
        ids=inputs.ids,
        progress=True,
        interruptible=True,
        normalize=not options.as_is,
        center=options.center == OWN_MEANS or options.center,
        dims=options.dims,
        distributed=True,
        groups=options.groups,
        items=options.texts if encoded is None else _names(encoded.paths, str(options.images)),
        t=options.t,
        alpha=options.alpha,
        method=options.method,
        anchors=options.anchors,
        seed=options.seed,
        top=options.top,
        device=measuring_device(options.device),
        labels=labels,
        name=name,
        kind=options.kind or (None if encoded is None else "images"),
    )
    if inputs.pairs is not None and ranks.rank() == 0:
        print(inputs.pairs.words, file=sys.stderr)
    return result if encoded is None else _with_source(result, options, encoded)


def _name(encoder: str) -> str:
    """Return the name of an encoder: of the folder of a run, which may have dots, or of a file or network."""
    from align_uniform.recipes.encoders.weights import CARD

    path = Path(encoder)
    if path.is_dir():
        return path.resolve().name
    is_of_a_run = path.name in ("encoder.pth", "encoder.safetensors") and path.with_name(CARD).exists()
    return path.resolve().parent.name if is_of_a_run else path.stem


def _names(paths: Sequence[Path], folder: str) -> list[str]:
    """Return the names of images, which are the same wherever their folder is."""
    return [path.relative_to(folder).as_posix() for path in paths]


def _with_source(result: Measurement, options: MeasureOptions, encoded: Encoded) -> Measurement:
    """Add the encoder, the images and the views to the provenance of a measurement."""
    names = ("encoder", "weights", "layer", "images")
    source = {name: getattr(options, name) for name in names if getattr(options, name) is not None}
    views = f"{encoded.preset}, {encoded.size} pixels"
    return replace(result, provenance={**result.provenance, **source, "views": views})


def _show(result: Measurement, options: MeasureOptions, unwritten: Unwritten) -> Measurement:
    """Write the numbers of each row, print the result, and return it as it was printed."""
    if options.rows_out is not None and result.details is not None:
        with unwritten.writing(f"the numbers of each row ({options.rows_out})"):
            result.details.save(Path(options.rows_out))
            result = replace(result, provenance={**result.provenance, "rows": options.rows_out})
    if options.json:
        print_json(result.to_json())
        return result
    from align_uniform.measuring import reference_points

    screen.say_measurement(result)
    if lines := reference_points.paragraph(result):
        print("", *lines, sep="\n")
    return result


def _report(
    result: Measurement,
    options: MeasureOptions,
    contents: Contents,
    encoded: Encoded | None,
    unwritten: Unwritten,
) -> None:
    """Write the report, if it is asked for."""
    if options.report is None:
        return
    sys.stdout.flush()
    with unwritten.writing(f"the report ({options.report})"):
        from align_uniform.report import write_report

        images = contents.images if encoded is None else encoded.paths
        write_report(
            Path(options.report),
            result,
            texts=contents.texts,
            images=images,
            map=options.map,
            force=options.force,
        )
        print(f"report: {options.report}", file=sys.stderr)


def _ids(options: MeasureOptions) -> Any:
    """Return the ids as `measure` takes them: one column, or one for each of two towers."""
    if options.positives is None:
        return ids_of(options.ids)
    if (options.ids is None) != (options.positive_ids is None):
        raise ValueError("with --positives, --ids and --positive-ids go together; give both.")
    return None if options.ids is None else (ids_of(options.ids), ids_of(options.positive_ids))


def _ids_in_files(options: MeasureOptions) -> Any:
    """Return the ids by which a table of pairs names rows, for files of one vector for each id."""
    if options.pairs is None or options.features is None:
        return None
    from align_uniform.files import open_features
    from align_uniform.files.tables import numbers

    known = [open_features(path)[0].ids for path in (options.features, options.positives) if path is not None]
    first, last = (None if ids is None else numbers([*ids]) for ids in (known[0], known[-1]))
    return first, last
