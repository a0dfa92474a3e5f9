"""Alignment and uniformity of sentence embeddings, as the trainer of sentence-transformers evaluates them."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from align_uniform import _checks as checks
from align_uniform._extras import needs
from align_uniform._messages import listed
from align_uniform.measuring.measure import measure
from align_uniform.measuring.measurement import Measurement

with needs("sentence-transformers"):
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.evaluation import BaseEvaluator

METRICS = (
    "negative_objective",
    "negative_align",
    "negative_relative",
    "negative_uniform",
    "negative_gap",
    "align_stderr",
    "uniform_stderr",
    "rankme",
)
"""The names of the numbers that the evaluator returns."""


class AlignUniformEvaluator(BaseEvaluator):
    """Alignment and uniformity of the embeddings of pairs of sentences, as `measure` finds them.

    Every different sentence is embedded once. Uniformity is that of all of them, alignment that of the
    positive pairs: those with a score above the threshold, or all pairs without scores. Pairs of a sentence
    with itself are left out. The result has the numbers of which less is better negated:

    ======================  ==================================================================
    `negative_objective`    minus alignment and uniformity, added up: what the losses minimise
    `negative_align`        minus the alignment
    `negative_relative`     minus the relative alignment: 0 is perfect, -1 is chance
    `negative_uniform`      minus the uniformity; the best that can be is minus the optimum
    `negative_gap`          minus the distance to the optimum, which other dimensions do not change
    `align_stderr`          standard error of the alignment
    `uniform_stderr`        standard error of the uniformity
    `rankme`                RankMe, the number of dimensions in use
    ======================  ==================================================================

    The attribute `measurement` has everything else after a call: print it, or write its report.

    Args:
        sentences1: the first sentence of each pair.
        sentences2: the second sentence of each pair.
        scores: the score of each pair; None if all are positive.
        threshold: the score above which a pair is positive; STS-B is read with 4, or 0.8 if it is scaled.
        name: a prefix for the names of the numbers.
        primary_metric: the number by which checkpoints are compared, one of those above.
        t: the inverse squared width of the Gaussian.
        alpha: the exponent of the distance.
        batch_size: how many sentences are embedded at once.
        truncate_dim: the number of features to keep; None for those of the model.
        show_progress_bar: whether to draw a bar while embedding.
        write_csv: whether to add a line to a table in the folder that the trainer names.
        encode: more arguments of `model.encode`, such as {"prompt_name": "query"}.

    Raises:
        ValueError: the lists differ in length, scores come without a threshold, or a choice is not there.

    Example:
        >>> from align_uniform.integrations.sentence_transformers import AlignUniformEvaluator
        >>> evaluator = AlignUniformEvaluator(
        ...     stsb["sentence1"], stsb["sentence2"], stsb["score"], threshold=0.8, name="stsb"
        ... )  # doctest: +SKIP
        >>> evaluator(model)[evaluator.primary_metric]  # doctest: +SKIP
        2.91

    Reference:
        Wang & Isola, ICML 2020, arXiv 2005.10242; pairs of STS-B with a score above 4 are those of SimCSE,
        EMNLP 2021, arXiv 2104.08821.
    """

    def __init__(
        self,
        sentences1: Sequence[str],
        sentences2: Sequence[str],
        scores: Sequence[float] | None = None,
        threshold: float | None = None,
        *,
        name: str = "",
        primary_metric: str = "negative_objective",
        t: float = 2,
        alpha: float = 2,
        batch_size: int = 32,
        truncate_dim: int | None = None,
        show_progress_bar: bool = False,
        write_csv: bool = True,
        encode: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        checks.check_choice("primary_metric", primary_metric, METRICS)
        kept = _different(sentences1, sentences2, scores, threshold)
        number = {text: place for place, text in enumerate(dict.fromkeys([*sentences1, *sentences2]))}
        self.sentences = list(number)
        self.asked: dict[str, Any] = {
            "pairs": [[number[row[0]], number[row[1]]] for row in kept],
            "scores": None if scores is None else [row[2] for row in kept],
            "threshold": threshold,
            "t": checks.check_positive("t", t),
            "alpha": checks.check_positive("alpha", alpha),
        }
        self.name = name
        self.greater_is_better = True
        self.primary_metric = primary_metric
        self.truncate_dim = truncate_dim
        self.write_csv = write_csv
        self.csv_file = f"align_uniform_evaluation{f'_{name}' if name else ''}_results.csv"
        self.encode = {"batch_size": batch_size, "show_progress_bar": show_progress_bar, **(encode or {})}
        self.measurement: Measurement | None = None
        """The measurement of the last call."""

    def __call__(
        self, model: SentenceTransformer, output_path: str | None = None, epoch: float = -1, steps: int = -1
    ) -> dict[str, float]:
        """Return the numbers of a model, by their names with the prefix.

        Args:
            model: the model to evaluate.
            output_path: the folder of the table of all evaluations; None for none.
            epoch: the epoch, for the table and the model card.
            steps: the steps, likewise.
        """
        embeddings = model.encode(
            self.sentences, convert_to_tensor=True, truncate_dim=self.truncate_dim, **self.encode
        )
        found = self.measurement = measure(embeddings, **self.asked, name=self.name or None, kind="sentences")
        metrics = _metrics(found)
        if output_path is not None and self.write_csv:
            self._add_line(Path(output_path), {"epoch": epoch, "steps": steps, **metrics})
        prefixed: dict[str, float] = self.prefix_name_to_metrics(metrics, self.name)
        self.store_metrics_in_model_card_data(model, prefixed, epoch, steps)
        return prefixed

    def _add_line(self, folder: Path, line: dict[str, float]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        is_new = not (folder / self.csv_file).exists()
        with (folder / self.csv_file).open("a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, line)
            if is_new:
                writer.writeheader()
            writer.writerow(line)

    @property
    def description(self) -> str:
        """The heading in the model card."""
        return "Alignment and Uniformity"

    def get_config_dict(self) -> dict[str, Any]:
        """Return the settings, as the model card shows them."""
        settings = {name: self.asked[name] for name in ("threshold", "t", "alpha")}
        settings["truncate_dim"] = self.truncate_dim
        return {name: value for name, value in settings.items() if value is not None}


def _different(
    sentences1: Sequence[str],
    sentences2: Sequence[str],
    scores: Sequence[float] | None,
    threshold: float | None,
) -> list[tuple[Any, ...]]:
    """Return the pairs of two different sentences, with their scores if there are any.

    Raises:
        ValueError: the lists differ in length, scores come without a threshold, or no pair is positive.
    """
    columns = [list(column) for column in (sentences1, sentences2, scores) if column is not None]
    if len({len(column) for column in columns}) > 1:
        raise ValueError(
            "sentences1, sentences2 and scores must be of one length, got "
            f"{listed(len(column) for column in columns)}."
        )
    if (scores is None) != (threshold is None):
        raise ValueError(
            "scores and threshold go together, since pairs with a score above the threshold are positive; "
            "pass both, or neither."
        )
    kept = [row for row in zip(*columns, strict=True) if row[0] != row[1]]
    if not kept:
        raise ValueError(
            "sentences1 and sentences2 must have at least one pair of two different sentences, got none; "
            "pass the partner of each sentence."
        )
    if threshold is not None and not any(row[2] > threshold for row in kept):
        found = [row[2] for row in kept]
        raise ValueError(
            f"at least one pair must have a score above the threshold of {threshold:g}, got scores from "
            f"{min(found):g} to {max(found):g}; pass a lower threshold: STS-B is read with 4, or 0.8 if it "
            "is scaled."
        )
    return kept


def _metrics(found: Measurement) -> dict[str, float]:
    """Return the numbers of a measurement, of which more is better, by `METRICS`; NaN for those it lacks."""
    assert found.align is not None
    values = (
        -found.align.value - found.uniform.value,
        -found.align.value,
        None if found.align.relative is None else -found.align.relative,
        -found.uniform.value,
        -found.uniform.gap,
        found.align.stderr,
        found.uniform.stderr,
        found.rankme,
    )
    return {name: math.nan if value is None else value for name, value in zip(METRICS, values, strict=True)}
