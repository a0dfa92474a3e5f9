"""Training on CIFAR-10 without labels: the paper's figure 3 on its own data set, and the plane of figure 5.

    python -m experiments.cifar10 --root FOLDER [--out FOLDER] [--parts circle objectives plane]

`circle` trains encoders with two outputs, by align + uniform and by the contrastive loss, and draws them next
to an untrained one: the paper's figure 3. `objectives` does the same with 64 outputs and three seeds, and
compares the accuracies image by image, also with the untrained encoder and with the pixels themselves.
`plane` has shorter runs over weights, t and tau, two seeds each, and the rank correlation of their accuracy
with either quantity and with the sum of both.

Every encoder is a small convolutional one (preset cifar10-cpu), judged on the 10,000 test images by logistic
regression and by 5 nearest neighbours on the features that come before the head; both learn from the labels
of the images that the encoder was trained on. The learning rate and the epochs were fixed beforehand: the
epochs so that a run takes at most 20 minutes of one core, and one of the plane at most 5.

See `experiments.runs` for what all experiments have in common.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr  # type: ignore[import-untyped]  # it is not typed

from align_uniform import figures
from align_uniform.measuring.accuracies import compare_accuracies
from align_uniform.recipes.images import datasets
from align_uniform.recipes.images.views import evaluation_transform, training_transform
from experiments.runs import (
    Experiment,
    Job,
    Outcome,
    carry_out,
    draw_plane,
    encoder_of,
    hits_of,
    parser,
    rows,
    show,
    spelled,
)

ALL, FEW = 50_000, 20_000
"""The numbers of training images: ALL, and FEW for the runs of the plane."""

EPOCHS, EPOCHS_OF_THE_PLANE = 6, 3

RATE = {"lr": 0.12}
"""The learning rate, chosen with a seed that is not among the runs: 2 epochs of 25,000 images had a linear
accuracy of 53.1%; 51.6% at half of it, and 51.0% at twice as much. These pilot runs were not kept.
"""

CONTRASTIVE: dict[str, float] = {"align_weight": 0, "uniform_weight": 0, "contrastive_weight": 1}
OBJECTIVES: dict[str, dict[str, float]] = {
    "align + uniform": {},
    "contrastive, tau = 0.5": CONTRASTIVE,
}
PLANE: list[dict[str, float]] = [
    *(
        {"align_weight": a, "uniform_weight": u, "uniform_t": t}
        for t in (1, 2, 4)
        for a, u in ((1, 0.2), (1, 1), (0.3, 1))
    ),
    *({**CONTRASTIVE, "contrastive_tau": tau} for tau in (0.1, 0.3, 1)),
]
"""The twelve mixtures of the plane."""

RESAMPLES = 10_000
"""The number of bootstrap samples of the mixtures."""


def main() -> int:
    """Train, judge, print, draw and write; return 130 after Ctrl-C or SIGTERM."""
    found = parser("cifar10", __doc__ or "")
    parts = ["circle", "objectives", "plane"]
    found.add_argument("--parts", nargs="+", default=parts, choices=parts)
    options = found.parse_args()
    experiment = Experiment("cifar10", {"two-view": "cifar10-cpu"}, options)
    listed = jobs(options)
    outcomes, code = carry_out(listed, experiment)
    show(outcomes, "CIFAR-10, 10,000 test images")
    plane = [each for each in outcomes if each.part == "plane"]
    draw_plane(plane, options.out / "plane")
    print_differences([each for each in outcomes if each.dim != 2 and each.part != "plane"])
    print_correlations(plane)
    if not code and "circle" in options.parts:
        draw_circle([job for job in listed if job.dim == 2], experiment)
    return code


def jobs(options: argparse.Namespace) -> list[Job]:
    """Return the jobs of the requested parts, with pixels and untrained encoders before them."""
    found = [Job("baseline", "raw pixels", 0, 0, dim=3 * 32 * 32, images=ALL)]
    if "circle" in options.parts:
        found.append(Job("baseline", "random init", 0, 0, dim=2, images=ALL))
        found += [
            Job("circle", name, 0, EPOCHS, dim=2, settings=settings | RATE, images=ALL)
            for name, settings in OBJECTIVES.items()
        ]
    if "objectives" in options.parts:
        found += [Job("baseline", "random init", seed, 0, images=ALL) for seed in options.seeds]
        found += [
            Job("objectives", name, seed, EPOCHS, settings=settings | RATE, images=ALL)
            for seed in options.seeds
            for name, settings in OBJECTIVES.items()
        ]
    if "plane" in options.parts:
        found += [
            Job("plane", spelled(weights), seed, EPOCHS_OF_THE_PLANE, settings=weights | RATE, images=FEW)
            for seed in options.seeds[:2]
            for weights in PLANE
        ]
    return found


def draw_circle(jobs: Sequence[Job], experiment: Experiment) -> None:
    """Draw the paper's figure 3: the encoders whose outputs lie on the circle."""
    test = datasets.load(experiment.data, experiment.options.root, "test")
    plain, random = evaluation_transform(experiment.data), training_transform(experiment.data)
    drawn = []
    for job in jobs:
        encoder = encoder_of(job, experiment)
        x, y = (rows(encoder, test, random, "output", seed=view).numpy() for view in (1, 2))
        features = rows(encoder, test, plain, "output").numpy()
        drawn.append(
            figures.CircleFeatures(job.name, np.linalg.norm(x - y, axis=1), features, test.labels.numpy())
        )
    figures.save(figures.circle_figure(drawn, test.classes), experiment.options.out / "figure3")


def print_differences(outcomes: Sequence[Outcome]) -> None:
    """Print the differences of accuracies from align + uniform, over all seeds, image by image."""
    hits = {
        (name, judge): np.stack([hits_of(each, judge).numpy() for each in outcomes if each.name == name])
        for name in dict.fromkeys(each.name for each in outcomes)
        for judge in ("linear", "knn")
    }
    first = next(iter(OBJECTIVES))
    for (name, judge), others in hits.items():
        if name != first and (first, judge) in hits:
            found = compare_accuracies(hits[first, judge], others, names=(first, name))
            sys.stdout.write(f"{judge}: {found}\n")


def print_correlations(plane: Sequence[Outcome]) -> None:
    """Print the rank correlations of accuracy with either quantity and with their sum, with 95% intervals."""
    if not plane:
        return
    table = np.array([[each.align, each.uniform, each.linear, each.knn] for each in plane])
    names = [each.name for each in plane]
    for judge, column in (("linear", 2), ("5-NN", 3)):
        for quantity, weights in (("align", (1, 0)), ("uniform", (0, 1)), ("align + uniform", (1, 1))):
            values = table[:, :2] @ np.array(weights, float)
            rho, low, high = correlation(values, table[:, column], names)
            sys.stdout.write(
                f"{judge} accuracy and {quantity}: Spearman's rho {rho:+.2f} [{low:+.2f}, {high:+.2f}]\n"
            )


def correlation(
    values: NDArray[np.float64], accuracies: NDArray[np.float64], names: Sequence[str]
) -> tuple[float, float, float]:
    """Return Spearman's rank correlation and its 95% interval.

    The interval is that of a bootstrap of the mixtures, since two seeds of one mixture are no independent
    runs.
    """
    rng = np.random.default_rng(0)
    members = [np.flatnonzero(np.array(names) == name) for name in dict.fromkeys(names)]
    drawn = [
        np.concatenate([members[each] for each in rng.integers(len(members), size=len(members))])
        for _ in range(RESAMPLES)
    ]
    found = [spearmanr(values[chosen], accuracies[chosen]).statistic for chosen in drawn]
    low, high = np.nanquantile(found, [0.025, 0.975])
    return float(spearmanr(values, accuracies).statistic), float(low), float(high)


if __name__ == "__main__":
    sys.exit(main())
