"""`align-uniform measure`: alignment and uniformity of the rows of a file, or of an encoder's features."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from align_uniform._apart import Reads, Writes
from align_uniform._extras import require
from align_uniform._messages import print_json
from align_uniform._options import Belongs, Options
from align_uniform._writing import check_replaceable
from align_uniform.cli import gates, screen
from align_uniform.cli.command import GATE_FAILED, Command
from align_uniform.cli.contents import Contents
from align_uniform.cli.encoding import Encoded, TextItems, TextSettings, encoded_images, encoded_texts
from align_uniform.cli.gates import GateOptions
from align_uniform.cli.inputs import Inputs
from align_uniform.cli.outputs import Unwritten
from align_uniform.cli.pairs import SCORED, ScoredPairsOptions
from align_uniform.cli.parser import UsageError
from align_uniform.cli.quantities import OWN_MEANS, QuantityOptions
from align_uniform.files.feature_files import check_feature_file, write_features
from align_uniform.files.formats import ARRAYS, COLUMNS
from align_uniform.recipes.encoders.options import (
    SENTENCE_TRANSFORMERS,
    EncodeOptions,
    EncoderOverrides,
    PromptOptions,
    ViewsOptions,
    files_of_encoder,
    is_of_an_encoder,
    takes_texts,
)
from align_uniform.recipes.images.folders import is_picture

if TYPE_CHECKING:
    from align_uniform.measuring.measurement import Measurement

ROWS = ", ".join(ARRAYS)
MORE_COLUMNS = ", ".join(ending for ending in COLUMNS if ending not in ARRAYS)

COMMAND = Command(
    help="measure the rows of a file, or an encoder's features of images or texts",
    description=f"""
Measure alignment and uniformity of the rows of a file, with their errors, and the numbers that explain them.
Files of rows are {ROWS}; FILE::KEY names an array or a column of several. Labels, ids and
texts may also come from {MORE_COLUMNS}, and pairs from tables. Rows are normalised. The result goes to
stdout, everything else to stderr.

With --encoder and --images in place of FEATURES, two random views of each image are encoded. Alignment is
then measured between the two views of an image, and uniformity over the images, averaged over both views.
Folders of classes, if there are any, are the labels.

With --encoder sentence-transformers:MODEL and --texts, a table of pairs of texts, each different text is
encoded once. Alignment is measured over the pairs, those with a score above --threshold if there are scores,
and uniformity over all different texts. A file of one column of texts has uniformity alone.

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
    """An encoder and images or texts, in place of FEATURES."""

    files: ClassVar[tuple[Reads | Writes, ...]] = (
        Reads(("encoder",), files_of_encoder, within=is_of_an_encoder),
        Reads(("images",), within=is_picture),
        Writes("features_out"),
    )
    encoder: str | None = None
    """Path to encoder.pth, encoder.safetensors, a checkpoint, or the folder of a run; published (the paper's
    ImageNet ResNet-50, also as hub:imagenet_resnet50_encoder); torchvision:NAME or timm:NAME (the features
    before its classifier), where NAME of timm may be a folder; or, for --texts, sentence-transformers:MODEL,
    a folder or a name on the Hugging Face Hub.
    """
    images: str | None = _file("PATH")
    """Folder of images, or of one folder for each class, for --encoder. With FEATURES, a file with the path
    of an image for each row, for the report.
    """
    features_out: str | None = _file()
    """File for the features: of the two views of images, [2, N, m], .npy; of the different texts, [N, m],
    .npy, or .npz, .h5 or .parquet, which also hold the texts.
    """


@dataclass(frozen=True)
class PairOptions(Options):
    """Rows that belong together."""

    files: ClassVar[tuple[Reads | Writes, ...]] = (Reads(("positives", "pairs")),)
    positives: str | None = _file()
    """File of a second view, row by row; with --pairs or --ids, of a second tower."""
    pairs: str | None = _file()
    """Table of pairs, with two columns of row numbers, or of ids if --ids is given, and perhaps scores."""


@dataclass(frozen=True)
class RowOptions(Options):
    """Ids, classes and groups of rows."""

    files: ClassVar[tuple[Reads | Writes, ...]] = (Reads(("ids", "positive_ids", "labels", "groups")),)
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

    files: ClassVar[tuple[Reads | Writes, ...]] = (
        Reads(("texts", "positive_texts", "positive_images")),
        Writes("report"),
        Writes("rows_out"),
    )
    name: str | None = None
    """Name of the embedding. Default: the name of the file, of the encoder, or of the folder of a run."""
    kind: Literal["sentences", "images"] | None = None
    """Items that were encoded, for the known encoders that the numbers are placed among. Default: with
    --encoder images or sentences, else not known.
    """
    json: bool = False
    """Print JSON instead of a table."""
    report: str | None = _file("HTML")
    """Page to write, with figures and the rows to look at."""
    map: Literal["pca", "umap"] = "pca"
    """Places of rows on the report's map: principal components, or UMAP, which needs the extra `umap`."""
    texts: str | None = _file()
    """File with a text for each row, for the report. It also tells `compare` which items were measured. For
    an encoder of texts, the table of pairs, or a file of texts, that it encodes; FILE::COLUMN names a column.
    """
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


OF_IMAGES = tuple(each.name for kind in (EncoderOverrides, ViewsOptions) for each in fields(kind))
"""Options of encoding images; the batch size is also one of encoding texts."""

OF_IMAGES_ALONE = tuple(name for name in OF_IMAGES if name != "batch_size")


NO_PAIRS = "FEATURES, since an encoder's pairs are two views of an image, or two texts in a row of --texts"


@dataclass(frozen=True)
class MeasureOptions(
    EncoderOverrides,
    ViewsOptions,
    PromptOptions,
    EncodingOptions,
    GateOptions,
    ResultOptions,
    QuantityOptions,
    RowOptions,
    ScoredPairsOptions,
    PairOptions,
):
    """Options of measuring."""

    rules: ClassVar[tuple[Belongs, ...]] = (
        Belongs(("positives", "pairs", "ids", "positive_ids"), to=("FEATURES",), words=NO_PAIRS),
        Belongs(("threshold",), to=("FEATURES", "encodes_texts"), words=NO_PAIRS),
        Belongs((*OF_IMAGES, "features_out"), to=("--encoder",), words="--encoder"),
        Belongs(OF_IMAGES_ALONE, to=("encodes_images",), words="--encoder and --images"),
        Belongs(("prompt_name", "prompt"), to=("encodes_texts",), words="an encoder of --texts"),
        Belongs(("images",), to=("--report", "--encoder")),
        Belongs(("texts",), to=("--report", "--json", "encodes_texts")),
        Belongs(("map",), to=("--report",)),
        Belongs(SCORED, to=("--pairs", "encodes_texts")),
        Belongs(("inclusive", "score"), to=("--threshold",)),
        Belongs(("all_pairs",), against=("--threshold",)),
        Belongs(("positive_ids", "positive_texts", "positive_images"), to=("--positives",)),
        Belongs(("positive_texts", "positive_images"), to=("--report",)),
        Belongs(("anchors",), to=("--method anchors",)),
        Belongs(("top",), to=("--report", "--json")),
        Belongs(("force",), to=("--report", "--rows-out", "--features-out")),
    )
    files: ClassVar[tuple[Reads | Writes, ...]] = (Reads(("features",)),)
    features: str | None = field(default=None, metadata={"argument": True, "metavar": "FEATURES"})
    """File of rows [N, m], or of V views of them [V, N, m]."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.features is None and self.encoder is None and self.center not in (None, OWN_MEANS):
            raise UsageError(f"--center took {self.center} for its mean; type FEATURES before it")
        if (self.features is None) == (self.encoder is None):
            raise UsageError("give either FEATURES, a file of rows, or --encoder with --images or --texts")
        if self.encodes_images and self.images is None:
            of_texts = f"; one of texts is --encoder {SENTENCE_TRANSFORMERS}{self.encoder}"
            raise UsageError(
                f"--encoder needs --images, a folder of them{'' if self.texts is None else of_texts}"
            )
        if self.encodes_texts and (self.texts is None or self.images is not None):
            raise UsageError(
                f"--encoder {self.encoder} needs --texts, a table of them, and takes no --images"
            )

    @property
    def encodes_texts(self) -> bool:
        """Whether an encoder of texts is given."""
        return takes_texts(self.encoder)

    @property
    def encodes_images(self) -> bool:
        """Whether an encoder of images is given."""
        return self.encoder is not None and not self.encodes_texts


def run(options: MeasureOptions) -> int:
    """Measure, print and write; return 0, or another code if a condition fails or after Ctrl-C."""
    from align_uniform import _ranks as ranks
    from align_uniform.measuring.measurement import Measurement

    gates.check_paths(options.fail_if, Measurement)
    _check_outputs(options)
    inputs = Inputs.read(options)
    unwritten = Unwritten()
    encoded = _encoded(options, inputs.items, unwritten)
    result = _measure(options, inputs, encoded)
    code = 0
    if ranks.rank() == 0:
        result = _show(result, options, unwritten)
        _report(result, options, _shown(inputs.contents, encoded), unwritten)
        code = unwritten.told(_failed(result, options))
    return 130 if "interrupted" in result.provenance["method"] else code


def _check_outputs(options: MeasureOptions) -> None:
    """Check the files that are written, and the libraries that they need."""
    for path in (options.report, options.rows_out, options.features_out):
        if path is not None:
            check_replaceable(Path(path), force=options.force)
    if options.rows_out is not None:
        from align_uniform.measuring.row_files import check_row_file

        check_row_file(Path(options.rows_out))
    if options.features_out is not None and options.encodes_texts:
        check_feature_file(Path(options.features_out), "--features-out")
    elif options.features_out is not None and Path(options.features_out).suffix != ".npy":
        raise ValueError(f"--features-out must end in .npy, got {options.features_out}.")
    if options.encoder is not None:
        require("sentence-transformers" if options.encodes_texts else "recipes")
    if options.report is not None:
        require("report")
    if options.map == "umap":
        require("umap")


def _failed(result: Measurement, options: MeasureOptions) -> int:
    """Report the conditions that hold, and return the exit code."""
    findings = gates.failures_of_findings(result, options.fail_on)
    try:
        numbers = gates.failures_of_numbers(json.loads(result.to_json()), options.fail_if)
    except UsageError:
        gates.failed(findings)
        raise
    return gates.failed([*findings, *numbers])


def _encoded(options: MeasureOptions, items: TextItems | None, unwritten: Unwritten) -> Encoded | None:
    """Encode the images or texts, if there is an encoder, and write the features if asked."""
    from align_uniform import _ranks as ranks
    from align_uniform.recipes.devices import device

    if options.encoder is None:
        return None
    if items is not None:
        settings = TextSettings(options.prompt_name, options.prompt, options.batch_size, options.device)
        encoded = encoded_texts(items, options.encoder, settings)
    else:
        asked = EncodeOptions(
            options.encoder,
            Path(str(options.images)),
            seed=options.seed,
            device=str(device(options.device)),
            **{name: getattr(options, name) for name in OF_IMAGES},
        )
        encoded = encoded_images(asked)
    if options.features_out is not None and ranks.rank() == 0:
        with unwritten.writing(f"the features ({options.features_out})"):
            columns = {} if items is None else {"texts": items.table.texts}
            write_features(Path(options.features_out), encoded.features.numpy(), columns)
    return encoded


def _measure(options: MeasureOptions, inputs: Inputs, encoded: Encoded | None) -> Measurement:
    from align_uniform import _ranks as ranks
    from align_uniform.measuring.measure import measure
    from align_uniform.recipes.devices import measuring_device

    given: dict[str, Any] = {
        "pairs": inputs.rows_of_pairs,
        "scores": None if inputs.pairs is None else inputs.pairs.scores,
        "ids": inputs.ids,
        "items": options.texts if encoded is None else None,
        "labels": inputs.labels,
        "groups": inputs.groups,
        "kind": options.kind,
        "name": options.name,
    }
    if encoded is not None:
        given = encoded.asked(given)
    result = measure(
        options.features if encoded is None else encoded.features,
        options.positives,
        **given,
        threshold=options.threshold,
        strict=not options.inclusive,
        progress=True,
        interruptible=True,
        normalize=not options.as_is,
        center=options.center == OWN_MEANS or options.center,
        dims=options.dims,
        distributed=True,
        t=options.t,
        alpha=options.alpha,
        method=options.method,
        anchors=options.anchors,
        seed=options.seed,
        top=options.top,
        device=measuring_device(options.device),
    )
    if inputs.pairs is not None and ranks.rank() == 0:
        print(inputs.pairs.words, file=sys.stderr)
    return result if encoded is None else encoded.with_source(result)


def _shown(contents: Contents, encoded: Encoded | None) -> Contents:
    """Return the texts and pictures of the rows, those that were encoded included."""
    if encoded is None:
        return contents
    return Contents(encoded.contents.texts or contents.texts, encoded.contents.images or contents.images)


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


def _report(result: Measurement, options: MeasureOptions, contents: Contents, unwritten: Unwritten) -> None:
    """Write the report, if it is asked for."""
    if options.report is None:
        return
    sys.stdout.flush()
    with unwritten.writing(f"the report ({options.report})"):
        from align_uniform.report import write_report

        write_report(
            Path(options.report),
            result,
            texts=contents.texts,
            images=contents.images,
            map=options.map,
            force=options.force,
        )
        print(f"report: {options.report}", file=sys.stderr)
