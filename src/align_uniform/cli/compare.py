"""`align-uniform compare`: several embeddings side by side."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from align_uniform._apart import Reads, Writes, files_at
from align_uniform._extras import require
from align_uniform._messages import side_by_side
from align_uniform._options import Belongs, spelled
from align_uniform._writing import check_replaceable
from align_uniform.cli import screen
from align_uniform.cli.command import Command
from align_uniform.cli.contents import ContentFiles, Contents, counts_of_rows, read_contents
from align_uniform.cli.encoding import TextSettings, encoded_images, encoded_texts, read_text_items
from align_uniform.cli.gates import Condition, conditions, failed, failures_of_numbers
from align_uniform.cli.outputs import Unwritten
from align_uniform.cli.pairs import SCORED, PairsAsked, ScoredPairsOptions
from align_uniform.cli.parser import UsageError
from align_uniform.recipes.encoders.options import (
    EncodeOptions,
    NetworkOptions,
    PromptOptions,
    files_of_encoder,
    is_of_an_encoder,
    takes_texts,
)
from align_uniform.recipes.images.folders import is_picture

if TYPE_CHECKING:
    from align_uniform.measuring.comparison import Comparison
    from align_uniform.measuring.measurement import Measurement

COMMAND = Command(
    help="compare embeddings side by side",
    description="""
Compare embeddings: files of rows, which are measured exactly, or the JSON of `align-uniform measure --json`.
In place of them, --encoder A --encoder B encodes the same --texts or --images with each.
Differences are taken from the first embedding. Say --paired if all embeddings are of the same items in the
same order: errors are then computed item by item, and are much smaller. JSON says so itself if it was
measured with the same names of items (--ids, --texts, --labels, or --images that were encoded). Errors item
by item take the numbers of each item, which are at hand for files of rows, and for JSON that was made with
--rows-out. Each difference has its p, and where there are several, p adjusted by Holm's method.""",
    options="align_uniform.cli.compare:CompareOptions",
    run="align_uniform.cli.compare:run",
    extra="cli",
)


def _embedding(place: str) -> Iterable[Path]:
    """Return the files of rows of an embedding, or its JSON with the file of numbers that goes with it."""
    if not place.endswith(".json"):
        return files_at(place)
    try:
        provenance = json.loads(Path(place).read_text(encoding="utf-8"))["provenance"]
        return [Path(place), *_files_of_rows(place, provenance.get("rows"))]
    except (OSError, ValueError, TypeError, KeyError, AttributeError):  # which reading it will report
        return [Path(place)]


def _figures(options: CompareOptions) -> Iterable[Path]:
    from align_uniform import figures

    return figures.paths(Path(str(options.figure)))


OF_NUMBERS = ("positives", "names", "accuracy", "t", "alpha", "device")
"""Options of the embeddings and of their numbers, next to the embeddings themselves."""


@dataclass(frozen=True, kw_only=True)
class EncodersOptions(PromptOptions):
    """Encoders of texts or images, in place of EMBEDDING."""

    files: ClassVar[tuple[Reads | Writes, ...]] = (
        Reads(("encoder",), files_of_encoder, within=is_of_an_encoder),
    )
    encoder: tuple[str, ...] = field(default=(), metadata={"metavar": "ENCODER", "repeats": True})
    """Encoders as `measure --encoder` takes them, all of texts or all of images."""


@dataclass(frozen=True, kw_only=True)
class CompareOptions(ScoredPairsOptions, EncodersOptions):
    """Options of comparing."""

    rules: ClassVar[tuple[Belongs, ...]] = (
        Belongs((*SCORED, "prompt_name", "prompt"), to=("encodes_texts",), words="encoders of --texts"),
        Belongs(("inclusive", "score"), to=("--threshold",)),
        Belongs(("all_pairs",), against=("--threshold",)),
        Belongs(("positives", "paired"), against=("--encoder",)),
        Belongs(("t", "alpha", "device"), to=("has_rows",), words="an embedding that is a file of rows"),
        Belongs(("force",), to=("--figure", "--report")),
        Belongs(("map",), to=("--report",)),
        Belongs(("texts", "images"), to=("--report", "--encoder")),
    )
    files: ClassVar[tuple[Reads | Writes, ...]] = (
        Reads(("embeddings",), _embedding),
        Reads(("positives", "texts")),
        Reads(("images",), within=is_picture),
        Writes("figure", _figures),
        Writes("report"),
    )
    embeddings: tuple[str, ...] = field(default=(), metadata={"argument": True, "metavar": "EMBEDDING"})
    """File of rows, or the JSON of a measurement."""
    positives: tuple[str, ...] = field(default=(), metadata={"metavar": "FILE"})
    """File of a second view for each embedding, in order."""
    paired: bool = False
    """Compute differences item by item: all embeddings are of the same items in the same order."""
    names: tuple[str, ...] = ()
    """Name for each embedding, in order."""
    accuracy: tuple[float, ...] = ()
    """Accuracy of each embedding in some task, for the table and the figure."""
    t: float = 2.0
    """Temperature of uniformity."""
    alpha: float = 2.0
    """Exponent of alignment."""
    device: str = "auto"
    """Device that computes: auto (cuda if there is one, else cpu), cpu, cuda or mps."""
    figure: str | None = field(default=None, metadata={"metavar": "STEM"})
    """Draw the align-uniform plane to STEM.png and STEM.svg."""
    report: str | None = field(default=None, metadata={"metavar": "HTML"})
    """Page to write: what differs, all numbers side by side, the plane, maps, and the same worst pairs."""
    map: Literal["pca", "umap"] = "pca"
    """Places of rows on the report's maps: principal components, or UMAP, which needs the extra `umap`."""
    texts: str | None = field(default=None, metadata={"metavar": "FILE"})
    """File with a text for each row, for the report. For encoders of texts, the table of pairs, or the file
    of texts, that they encode.
    """
    images: str | None = field(default=None, metadata={"metavar": "PATH"})
    """File with the path of an image for each row, for the report. For encoders of images, the folder that
    they encode.
    """
    json: bool = False
    """Print JSON instead of a table."""
    fail_if: tuple[str, ...] = conditions()
    """Exit with 3 if a number of the JSON, named by its path, is such as in "differences.0.uniform > 0.01".
    It may be given several times.
    """
    force: bool = False
    """Replace files that exist."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for each in self.fail_if:
            Condition.read(each)
        if bool(self.embeddings) == bool(self.encoder):
            raise UsageError(
                "give EMBEDDING, files of rows or JSON, or --encoder A --encoder B in place of them"
            )
        self._check_encoders()
        count = len(self.embeddings or self.encoder)
        for name in ("positives", "names", "accuracy"):
            if (given := len(getattr(self, name))) not in (0, count):
                raise ValueError(f"--{name} must be one for each of the {count} embeddings, got {given}.")

    def _check_encoders(self) -> None:
        """Refuse encoders without what they encode, and encoders of both kinds."""
        kinds = {takes_texts(each) for each in self.encoder}
        if len(kinds) > 1:
            raise UsageError("--encoder must be encoders of texts or of images, got both")
        for each, path, other in (("texts", self.texts, self.images), ("images", self.images, self.texts)):
            if kinds == {each == "texts"} and (path is None or other is not None):
                raise UsageError(f"--encoder {self.encoder[0]} needs --{each} alone, which are encoded")

    @property
    def encodes_texts(self) -> bool:
        """Whether encoders of texts are given."""
        return any(takes_texts(each) for each in self.encoder)

    @property
    def has_rows(self) -> bool:
        """Whether an embedding is a file of rows, or made by an encoder, and so is measured."""
        return bool(self.encoder) or not all(path.endswith(".json") for path in self.embeddings)


def run(options: CompareOptions) -> int:
    """Measure or read each embedding, print the table and the differences, and draw the figure."""
    stem = None if options.figure is None else Path(options.figure)
    accuracy = options.accuracy or None
    contents = _checked(stem, options)
    if options.encoder:
        found, contents = _encoded(options)
    else:
        found = _compared(options)
    results = found.measurements
    document = found.to_dict(accuracy)
    if options.json:
        print(json.dumps(document))
    else:
        _print(found, accuracy)
    unwritten = Unwritten()
    if stem is not None:
        with unwritten.writing(f"the figure ({stem})"):
            _draw(results, accuracy, stem)
    if options.report is not None:
        with unwritten.writing(f"the report ({options.report})"):
            _report(found, accuracy, contents, options)
    if not options.json:
        _suggest_pairing(options, found)
    return unwritten.told(failed(failures_of_numbers(document, options.fail_if)))


def _checked(stem: Path | None, options: CompareOptions) -> Contents:
    """Check what will be written, and return what is shown of rows: nothing is measured before."""
    if options.encoder:
        require("sentence-transformers" if options.encodes_texts else "recipes")
    if stem is None and options.report is None:
        return Contents()
    require("report")
    if options.map == "umap":
        require("umap")
    for path in () if stem is None else _figures(options):
        check_replaceable(path, force=options.force)
    if options.report is not None:
        check_replaceable(Path(options.report), force=options.force)
    if options.encoder:
        return Contents()
    if stem is not None:
        _check_plane(options)
    first = options.embeddings[0]
    count = _kept(first, options).n if first.endswith(".json") else counts_of_rows(first)[0]
    return read_contents(ContentFiles(texts=options.texts, images=options.images), [count])


def _check_plane(options: CompareOptions) -> None:
    """Refuse a figure of embeddings without an alignment."""
    from align_uniform.files import open_features

    for path in options.embeddings:
        has_pairs = bool(options.positives) or (
            _kept(path, options).align is not None if path.endswith(".json") else len(open_features(path)) > 1
        )
        if not has_pairs:
            raise ValueError(
                f"the plane of --figure needs an alignment, and {path} has none; give --positives, or leave "
                "--figure out."
            )


def _compared(options: CompareOptions) -> Comparison:
    from align_uniform.measuring.comparison import compare
    from align_uniform.recipes.devices import measuring_device

    embeddings = [_kept(path, options) if path.endswith(".json") else path for path in options.embeddings]
    return compare(
        *embeddings,
        positives=options.positives or None,
        names=options.names or None,
        paired=True if options.paired else None,
        t=options.t,
        alpha=options.alpha,
        device=measuring_device(options.device),
        progress=sys.stderr.isatty(),
    )


def _encoded(options: CompareOptions) -> tuple[Comparison, Contents]:
    """Encode the same items with each encoder, and compare them; return what is shown of the items, too."""
    from align_uniform.measuring.comparison import compare
    from align_uniform.recipes.devices import device, measuring_device

    if options.encodes_texts:
        asked = PairsAsked(
            str(options.texts), options.columns, options.score, options.threshold, all_pairs=options.all_pairs
        )
        items = read_text_items(asked)
        settings = TextSettings(
            options.prompt_name, options.prompt, NetworkOptions.batch_size, options.device
        )
        made = [encoded_texts(items, each, settings) for each in options.encoder]
    else:
        folder, place = Path(str(options.images)), str(device(options.device))
        made = [encoded_images(EncodeOptions(each, folder, device=place)) for each in options.encoder]
    first = made[0].arguments
    found = compare(
        *(each.features for each in made),
        **{name: value for name, value in first.items() if name != "kind"},
        threshold=options.threshold,
        strict=not options.inclusive,
        names=options.names or [each.name for each in made],
        t=options.t,
        alpha=options.alpha,
        device=measuring_device(options.device),
        progress=True,
    )
    both = zip(made, found.measurements, strict=True)
    measured = tuple(each.with_source(result) for each, result in both)
    return replace(found, measurements=measured), made[0].contents


def _kept(path: str, options: CompareOptions) -> Measurement:
    """Read a measurement, with the numbers of each item if their file is at hand."""
    from align_uniform.measuring.measurement import Measurement
    from align_uniform.measuring.results import Details

    if options.positives:
        raise ValueError(
            f"--positives go with files of rows, and {path} is a measurement, which has its own; leave them "
            "out."
        )
    result = Measurement.from_json(Path(path).read_text(encoding="utf-8"), path)
    for place in _files_of_rows(path, result.provenance.get("rows")):
        details = Details.load(place)
        if details.are_of(result):
            return replace(result, details=details)
        sys.stderr.write(f"{place} has the rows of another measurement than {path}, and is not used.\n")
    return replace(result, details=None)


def _files_of_rows(path: str, rows: str | None) -> list[Path]:
    """Return the files of numbers by the name in JSON that are there: in its folder, and here."""
    places = [] if not rows else [folder / rows for folder in (Path(path).parent, Path())]
    return [place for place in dict.fromkeys(places) if place.exists()]


def _print(found: Comparison, accuracy: Sequence[float] | None) -> None:
    """Print the numbers of all embeddings side by side, and the differences from the first below."""
    from align_uniform.measuring import quantities

    results = found.measurements
    rows = [[f"t = {results[0].uniform.t:g}", *(result.name for result in results)]]
    records = [
        record
        for record in quantities.shown_by("compare")
        if any(record.value(result) is not None for result in results)
    ]
    rows += [[record.label, *(record.text(result) for result in results)] for record in records]
    if accuracy is not None:
        rows.append(["accuracy", *(f"{each:g}" for each in accuracy)])
    print(side_by_side(rows, screen.width()))
    if found.differences:
        print(f"\n{found.text_of_differences()}")


def _suggest_pairing(options: CompareOptions, found: Comparison) -> None:
    """Say how to compare item by item, if differences were not, and as many items make it likely."""
    first, *others = found.measurements
    unknown = any(result.items.order is None for result in found.measurements)
    are_paired = all(each.paired for each in found.differences)
    are_alike = len({(each.n, each.items.groups) for each in found.measurements}) == 1
    if unknown and not are_paired and are_alike:
        how = f": {_paired_command(options)}"
        try:
            for other in others:
                other.difference(first, paired=True)
        except ValueError as error:
            how = f", but {error}"
        screen.say(
            "the errors of differences are those of two independent samples. If all embeddings are of the "
            f"same items in the same order, errors item by item are smaller{how}",
            error=True,
        )


def _paired_command(options: CompareOptions) -> str:
    """Return the command that compares the same embeddings item by item, and writes no file."""
    words = ["align-uniform", "compare", *options.embeddings]
    for each in fields(options):
        value = getattr(options, each.name)
        if each.name in OF_NUMBERS and value != each.default:
            words += [spelled(each.name), *map(str, value if isinstance(value, tuple | list) else [value])]
    return shlex.join([*words, "--paired"])


def _report(
    found: Comparison, accuracy: Sequence[float] | None, contents: Contents, options: CompareOptions
) -> None:
    from align_uniform.report import write_comparison

    assert options.report is not None
    path = Path(options.report)
    shown = {"texts": contents.texts, "images": contents.images, "accuracy": accuracy}
    write_comparison(path, found, **shown, map=options.map, force=options.force)
    print(f"report: {path}", file=sys.stderr)


def _draw(results: Sequence[Measurement], accuracy: Sequence[float] | None, stem: Path) -> None:
    from align_uniform import figures

    for path in figures.save(figures.plane_of_measurements(results, accuracy), stem):
        print(f"figure: {path}", file=sys.stderr)
