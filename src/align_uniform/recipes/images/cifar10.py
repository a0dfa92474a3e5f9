"""CIFAR-10: colour images of 32x32 pixels in 10 classes, 50,000 for training and 10,000 to test on.

The original files are pickles, which run code when they are read. torchvision's `CIFAR10` compares their
checksums first, and so no other file is read here. Pictures in folders of classes are read as they are.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from align_uniform._extras import needs
from align_uniform.recipes.images import imagefolder
from align_uniform.recipes.images.downloads import damaged, fetch
from align_uniform.recipes.images.folders import split_folder
from align_uniform.recipes.images.image_set import Arrays, ImageSet

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def load(root: Path, split: str, download: bool) -> ImageSet:
    """Return a split of the files in `root/cifar-10-batches-py`, or of pictures; see `datasets.load`."""
    with needs("recipes"):
        from torchvision.datasets import CIFAR10  # type: ignore[import-untyped]  # it is not typed; takes seconds to import

    folder = root / CIFAR10.base_folder
    if not folder.is_dir() and (not download or split_folder(root, split) is not None):
        return _pictures(root, split)
    if missing := not folder.is_dir():
        fetch(CIFAR10.url, root / CIFAR10.filename, CIFAR10.tgz_md5)
    try:
        found = CIFAR10(str(root), train=split == "train", download=missing)
    except RuntimeError as error:
        raise damaged(folder, "its files do not all have the checksums of CIFAR-10's") from error
    return ImageSet("cifar10", Arrays(found.data), torch.tensor(found.targets), tuple(found.classes))


def _pictures(root: Path, split: str) -> ImageSet:
    """Return the pictures in `root/split/CLASS`."""
    if split_folder(root, split) is None:
        raise FileNotFoundError(
            f"CIFAR-10 ({split}) is not in {root}: neither cifar-10-batches-py nor {split} with a folder of "
            "pictures for each class is there"
        )
    found = imagefolder.load(root, split, download=False)
    if found.classes != CLASSES:
        raise ValueError(
            f"{root} must have the classes {', '.join(CLASSES)}, got {', '.join(found.classes)}; name the "
            "folders so, or choose the data set imagefolder."
        )
    return replace(found, name="cifar10")
