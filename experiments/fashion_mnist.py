"""Training on Fashion-MNIST without labels: align + uniform next to the contrastive loss.

    python -m experiments.fashion_mnist --root FOLDER [--out FOLDER] [--parts two-view moco plane]
                                        [--images 20000] [--epochs 48]

There are three parts. `two-view` and `moco` train an encoder for each objective and seed, and compare it with
the same encoder untrained and with the pixels themselves. `plane` is the paper's figure 5: shorter runs over
weights and t, in the align-uniform plane, coloured by accuracy. Epochs were fixed beforehand. Every encoder
is judged on 10,000 test images, by logistic regression and by 5 nearest neighbours on the features that come
before the head; both learn from the labels of the images that the encoder was trained on.

See `experiments.runs` for what all experiments have in common.
"""

from __future__ import annotations

import argparse
import sys

from experiments.runs import Experiment, Job, carry_out, draw_plane, parser, show, spelled

Weights = dict[str, float]
TWO_VIEW: dict[str, Weights] = {
    "align + uniform": {},
    "contrastive, tau = 0.5": {"align_weight": 0, "uniform_weight": 0, "contrastive_weight": 1},
}
MOCO: dict[str, Weights] = {
    "moco, 3 align + uniform(t = 3)": {},
    "moco, contrastive, tau = 0.2": {
        "align_weight": 0,
        "uniform_weight": 0,
        "contrastive_weight": 1,
        "contrastive_tau": 0.2,
    },
}
PLANE: list[Weights] = [
    *(
        {"align_weight": a, "uniform_weight": u, "uniform_t": t}
        for t in (1, 2, 4)
        for a, u in ((1, 0.2), (1, 1), (0.3, 1))
    ),
    *(
        {"align_weight": 0, "uniform_weight": 0, "contrastive_weight": 1, "contrastive_tau": tau}
        for tau in (0.1, 0.3, 1)
    ),
]
"""The twelve mixtures of the plane."""


def main() -> int:
    """Train, judge, print, draw and write; return 130 after Ctrl-C or SIGTERM."""
    found = parser("fashion_mnist", __doc__ or "")
    found.add_argument(
        "--parts", nargs="+", default=["two-view", "moco", "plane"], choices=["two-view", "moco", "plane"]
    )
    found.add_argument("--images", type=int, default=20_000, help="number of training images")
    found.add_argument("--epochs", type=int, default=48, help="epochs of each run")
    found.add_argument("--plane-epochs", type=int, default=3, help="epochs of each run of the plane")
    options = found.parse_args()
    experiment = Experiment("fashion-mnist", dict.fromkeys(("two-view", "moco"), "fashion-mnist"), options)
    outcomes, code = carry_out(jobs(options), experiment, images=options.images)
    show(outcomes, "Fashion-MNIST, 10,000 test images")
    draw_plane([each for each in outcomes if each.part == "plane"], options.out / "plane")
    return code


def jobs(options: argparse.Namespace) -> list[Job]:
    """Return the jobs of the requested parts, with pixels and untrained encoders before them."""
    n = options.images
    found = [
        Job("baseline", "raw pixels", 0, 0, images=n),
        *(Job("baseline", "random init", seed, 0, images=n) for seed in options.seeds),
    ]
    for part, objectives in (("two-view", TWO_VIEW), ("moco", MOCO)):
        if part in options.parts:
            found += [
                Job(part, name, seed, options.epochs, settings=objectives[name], recipe=part, images=n)
                for seed in options.seeds
                for name in objectives
            ]
    if "plane" in options.parts:
        found += [
            Job("plane", spelled(weights), 0, options.plane_epochs, settings=weights, images=n)
            for weights in PLANE
        ]
    return found


if __name__ == "__main__":
    sys.exit(main())
