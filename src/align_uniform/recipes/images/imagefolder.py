"""ImageFolder: your own images, in a folder for each class in a folder for each split.

The folders are read here, and not by torchvision's `ImageFolder`: that one numbers the classes of each split
on its own, takes hidden folders for classes, follows links in circles, and does not name a file that cannot
be read.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import torch

from align_uniform._messages import listed
from align_uniform.recipes.images.folders import (
    SUFFIXES,
    class_folders,
    find_pictures,
    split_folder,
)
from align_uniform.recipes.images.image_set import ImageFiles, ImageSet


def load(root: Path, split: str, download: bool) -> ImageSet:
    """Return the images of `root/split`; see `datasets.load`."""
    if download:
        raise ValueError("An ImageFolder is your own and cannot be downloaded; leave out --download.")
    other = {"val": "test", "test": "val"}.get(split, split)
    training, folder = split_folder(root, "train"), split_folder(root, split) or split_folder(root, other)
    classes = [] if training is None else class_folders(training)
    if folder is None or not classes:
        expected = "train" if split == "train" or not classes else f"{split}, or {other},"
        raise FileNotFoundError(f"{root} has no folder {expected} with a folder of images for each class")
    # labels are places in the list of training classes, so that a class without test images shifts no label
    if strangers := sorted(set(class_folders(folder)) - set(classes)):
        raise ValueError(
            f"{folder} has classes that {training} lacks: {listed(strangers, 5)}; every class needs a folder "
            "there."
        )
    return _image_set(folder, classes, needs_all=split == "train")


def _image_set(folder: Path, classes: list[str], *, needs_all: bool) -> ImageSet:
    """Return the images in a folder of classes; the numbers of the classes are their places in the list."""
    pictures = find_pictures(folder)
    by_class: defaultdict[str, list[str]] = defaultdict(list)
    for path in pictures.paths:
        place = Path(path).relative_to(folder).parts
        by_class[place[0] if len(place) > 1 else ""].append(path)
    strays, empty = by_class.pop("", []), [name for name in classes if not by_class[name]]
    if empty and needs_all:
        raise ValueError(
            f"{folder / empty[0]} has no image of its own ({', '.join(SUFFIXES)}); add some or remove the "
            "folder."
        )
    if len(empty) == len(classes):
        raise ValueError(
            f"{folder} has no picture in a folder of a class; move each into that of its class, such as "
            f"{folder / classes[0]}."
        )
    notes = list(pictures.notes)
    if strays:
        names = listed((Path(path).name for path in strays), 5)
        notes.append(f"{folder}: left out pictures in no folder of a class ({len(strays):,}): {names}.")
    if empty:
        notes.append(
            f"{folder}: classes without a picture ({len(empty)} of {len(classes)}): {listed(empty, 5)}."
        )
    paths = [path for name in classes for path in by_class[name]]
    labels = [label for label, name in enumerate(classes) for _ in by_class[name]]
    return ImageSet(
        "imagefolder",
        ImageFiles(paths),
        torch.tensor(labels, dtype=torch.int64),
        tuple(classes),
        tuple(notes),
    )
