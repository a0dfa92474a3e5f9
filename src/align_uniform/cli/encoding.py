"""The items that a command has an encoder encode: images, in two views, or the texts of a table."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from align_uniform._messages import counted
from align_uniform.cli.contents import Contents
from align_uniform.cli.pairs import PairsAsked, scores_of
from align_uniform.recipes.encoders.options import SENTENCE_TRANSFORMERS, TIMM, EncodeOptions

if TYPE_CHECKING:
    from align_uniform.measuring.measurement import Measurement
    from align_uniform.recipes.encoders.text_tables import TextTable


@dataclass(frozen=True)
class Encoded:
    """Features of items, and everything that `measure` and a report are told about them."""

    features: Any
    """The features: [2, N, m] of two views of images, [N, m] of texts."""
    name: str
    """The name of the encoder."""
    arguments: dict[str, Any]
    """Further arguments of `measure`."""
    contents: Contents
    """The texts or the pictures of the rows."""
    source: dict[str, Any] = field(default_factory=dict)
    """The encoder and its items, for the provenance."""
    warnings: tuple[str, ...] = ()

    def asked(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments of `measure`: those that the options give, else the items' own."""
        chosen = {name: value for name, value in given.items() if value is not None}
        return {**given, "name": self.name, **self.arguments, **chosen}

    def with_source(self, result: Measurement) -> Measurement:
        """Return a measurement of the features that says what they are of."""
        return replace(
            result,
            provenance={**self.source, **result.provenance},
            warnings=(*result.warnings, *self.warnings),
        )


# ------------------------------------------------------------------------------------------------------ texts


@dataclass(frozen=True)
class TextItems:
    """The different texts of a table, and the pairs among them."""

    table: TextTable
    pairs: list[tuple[int, int]] | None
    """The numbers of the two texts of each pair; None for one column of texts."""
    scores: list[float] | None
    """The score of each pair."""
    words: tuple[str, ...]
    """Sentences about what was read, and what was left out."""

    def column(self, name: str, path: str | None) -> list[Any] | None:
        """Return the value of each different text, from a file with one for each row of the table.

        Raises:
            ValueError: the table has pairs, or the file has another number of values.
        """
        from align_uniform.files import read_column

        if path is None:
            return None
        if self.pairs is not None:
            raise ValueError(
                f"--{name} has one value for each text, and {self.table.path} has pairs of texts; leave it "
                f"out, or measure one column: --texts {self.table.path}::{self.table.names[0]}."
            )
        found, (texts,) = read_column(path), self.table.sides
        if len(found) != len(texts):
            raise ValueError(
                f"{path} must have one value for each of {counted(len(texts), 'text')}, got {len(found):,}."
            )
        first = dict(zip(reversed(texts), reversed(found), strict=True))
        return [first[text] for text in self.table.texts]


def read_text_items(asked: PairsAsked) -> TextItems:
    """Read the texts of a table, and the pairs among them with their scores.

    Pairs of a text with itself are left out: any encoder has them at distance 0.

    Raises:
        ValueError: the table has no such columns, or scores that nothing is said about; or it has no pairs.
        OSError: the table cannot be read.
    """
    from align_uniform.recipes.encoders.text_tables import read_texts

    table = read_texts(asked.path, asked.columns)
    if not table.are_pairs:
        if asked.threshold is not None or asked.all_pairs:
            raise ValueError(
                f"{asked.path} has one column of texts, and so no pairs; leave "
                f"{'--all-pairs' if asked.all_pairs else '--threshold'} out, or give a table of pairs."
            )
        return TextItems(table, None, None, (f"{table.words}.",))
    scores, of_scores = scores_of(asked, table.table, table.names)
    numbers, (x, y) = table.numbers, table.sides
    kept = [row for row in range(len(x)) if x[row] != y[row]]
    pairs = [(numbers[x[row]], numbers[y[row]]) for row in kept]
    words = [f"{table.words}{f', scores from the column {of_scores[0]}' if of_scores else ''}."]
    if (same := len(x) - len(kept)) > 0:
        words.append(f"{asked.path}: {counted(same, 'pair')} of a text with itself left out.")
    if not pairs:
        raise ValueError(
            f"{asked.path} must have a pair of two different texts, got none; give other columns."
        )
    return TextItems(table, pairs, None if scores is None else [scores[row] for row in kept], tuple(words))


@dataclass(frozen=True)
class TextSettings:
    """The options by which texts are encoded."""

    prompt_name: str | None
    prompt: str | None
    batch_size: int
    device: str


def encoded_texts(items: TextItems, encoder: str, settings: TextSettings) -> Encoded:
    """Encode each different text once, and say on stderr how many are longer than what the model reads.

    Raises:
        OSError: the model cannot be fetched or read.
        ValueError: the model has no such prompt.
    """
    from align_uniform import _ranks as ranks
    from align_uniform.recipes.devices import device
    from align_uniform.recipes.encoders.sentences import load_on_all_ranks

    chosen = load_on_all_ranks(encoder.removeprefix(SENTENCE_TRANSFORMERS), device(settings.device))
    prompts = {"prompt_name": settings.prompt_name, "prompt": settings.prompt}
    chosen.check_prompt(**prompts)
    texts, path = items.table.texts, items.table.path
    rows = chosen.encode(texts, **prompts, batch_size=settings.batch_size, progress=True, distributed=True)
    cut = chosen.cut(texts, **prompts)
    warning = chosen.of_cut(cut, len(texts))
    if ranks.rank() == 0:
        sys.stderr.write("".join(f"{line}\n" for line in items.words))
    source: dict[str, Any] = {"encoder": encoder, "texts": path, "columns": ", ".join(items.table.names)}
    source |= {"kind": "sentences", **prompts, "texts_cut": cut, "max_seq_length": chosen.max_length}
    return Encoded(
        rows,
        name_of(encoder),
        {"pairs": items.pairs, "scores": items.scores, "items": texts, "kind": "sentences"},
        Contents(texts=texts),
        {key: value for key, value in source.items() if value not in (None, "")},
        (warning,) if warning else (),
    )


# ----------------------------------------------------------------------------------------------------- images


def encoded_images(asked: EncodeOptions) -> Encoded:
    """Encode two random views of each image of a folder, which is its class if there are several."""
    from align_uniform.recipes.encoders.encode import encode

    found = encode(asked, progress=sys.stderr.isatty())
    names = ("encoder", "weights", "layer", "images")
    source = {name: str(getattr(asked, name)) for name in names if getattr(asked, name) is not None}
    return Encoded(
        found.views,
        name_of(asked.encoder),
        {"items": _names(found.paths, asked.images), "labels": found.labels, "kind": "images"},
        Contents(images=found.paths),
        source | {"kind": "images", "views": f"{found.preset}, {found.size} pixels"},
    )


def name_of(encoder: str) -> str:
    """Return the name of an encoder: of the folder of a run, which may have dots, or of a file or network."""
    from align_uniform.recipes.encoders.weights import CARD

    if prefix := next((each for each in (SENTENCE_TRANSFORMERS, TIMM) if encoder.startswith(each)), None):
        path = Path(encoder.removeprefix(prefix)).expanduser()
        return path.resolve().name if path.is_dir() else path.name
    path = Path(encoder)
    if path.is_dir():
        return path.resolve().name
    is_of_a_run = path.name in ("encoder.pth", "encoder.safetensors") and path.with_name(CARD).exists()
    return path.resolve().parent.name if is_of_a_run else path.stem


def _names(paths: Sequence[Path], folder: Path) -> list[str]:
    """Return the names of images, which are the same wherever their folder is."""
    return [path.relative_to(folder).as_posix() for path in paths]
