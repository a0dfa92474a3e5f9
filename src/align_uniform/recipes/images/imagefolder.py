"""ImageFolder: your own images, in a folder for each class in a folder for each split.

The folders are read here, and not by torchvision's `ImageFolder`: that one numbers the classes of each split
on its own, takes hidden folders for classes, and does not name a file that cannot be read.
"""

from __future__ import annotations

import os
from pathlib import Path

import torch

from align_uniform.recipes.images.image_set import ImageFiles, ImageSet

SUFFIXES = (".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")


def load(root: Path, split: str, download: bool) -> ImageSet:
    """Return the images of `root/split`; see `datasets.load`."""
    if download:
        raise ValueError("An ImageFolder is your own and cannot be downloaded; leave out --download.")
    other = {"val": "test", "test": "val"}.get(split, split)
    folder = next((root / name for name in (split, other) if (root / name).is_dir()), None)
    classes = _class_folders(root / "train")
    if folder is None or not classes:
        expected = "train" if split == "train" or not classes else f"{split}, or {other},"
        raise FileNotFoundError(f"{root} has no folder {expected} with a folder of images for each class")
    # labels are places in the list of training classes, so that a class without test images shifts no label
    if strangers := sorted(set(_class_folders(folder)) - set(classes)):
        raise ValueError(
            f"{folder} has classes that {root / 'train'} lacks: {', '.join(strangers[:5])}; every class "
            "needs a folder there."
        )
    paths, labels = [], []
    for label, name in enumerate(classes):
        images = image_paths(folder / name)
        if not images and split == "train":
            raise ValueError(
                f"{folder / name} has no image ({', '.join(SUFFIXES)}); add some or remove the folder."
            )
        paths += images
        labels += [label] * len(images)
    return ImageSet("imagefolder", ImageFiles(paths), torch.tensor(labels, dtype=torch.int64), tuple(classes))


def _class_folders(folder: Path) -> list[str]:
    if not folder.is_dir():
        return []
    return sorted(
        entry.name for entry in os.scandir(folder) if entry.is_dir() and not entry.name.startswith(".")
    )


def image_paths(folder: Path) -> list[str]:
    """Return the sorted paths of all images in a folder and its subfolders."""
    walk = os.walk(folder, followlinks=True)
    return sorted(
        os.path.join(place, file)
        for place, _, files in walk
        for file in files
        if file.lower().endswith(SUFFIXES)
    )
