"""Features of two random views of each image in a folder, which `measure` takes.

The encoder is one of a file, a published one, or one of torchvision. Under torchrun each process encodes its
share of the images.
"""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, get_args

import torch
from PIL import Image
from torch import Tensor, nn

from align_uniform import _ranks as ranks
from align_uniform._messages import listed
from align_uniform._progress import progress_bar
from align_uniform.recipes.devices import device
from align_uniform.recipes.encoders import published
from align_uniform.recipes.encoders.features import features
from align_uniform.recipes.encoders.options import (
    TIMM,
    TORCHVISION,
    ChosenEncoder,
    EncodeOptions,
    ViewsPreset,
    takes_texts,
)
from align_uniform.recipes.encoders.timm_networks import timm_encoder
from align_uniform.recipes.encoders.weights import EncoderFile
from align_uniform.recipes.images.folders import find_pictures, split_of
from align_uniform.recipes.images.image_set import ImageFiles, ImageSet
from align_uniform.recipes.images.loader import ImageLoader
from align_uniform.recipes.images.sampler import EvalSampler
from align_uniform.recipes.images.statistics import Statistics, given_statistics
from align_uniform.recipes.images.views import Transform, TwoViews, training_transform
from align_uniform.recipes.images.workers import reason


class Encoded(NamedTuple):
    """Features of images, and the images that they belong to."""

    views: Tensor
    """[2, N, m], the features of two random views of each image."""
    paths: list[Path]
    """The paths of the N images, sorted."""
    labels: list[str] | None
    """The folders of the N images, if there is a folder for each class."""
    size: int
    """Height and width of the views."""
    preset: str
    """The augmentation that made the views."""


def encode(options: EncodeOptions, *, progress: bool = False) -> Encoded:
    """Return the features of two random views of each image in a folder.

    Args:
        options: the encoder, the images and the views.
        progress: whether to draw a bar on stderr.

    Raises:
        OSError: a file is not there, or weights cannot be fetched.
        ValueError: the folder has no image; or an image, the encoder or an option is invalid.
    """
    place = device(options.device)
    paths, labels, notes = images_of(options.images)
    if ranks.rank() == 0:
        sys.stderr.write("".join(f"{note}\n" for note in notes))
    encoder = encoder_of(options, lambda known: _views(options, known))
    images = image_set(paths, encoder.transform)
    own = EvalSampler(len(images), rank=ranks.rank(), world=ranks.world_size())
    loader = ImageLoader(
        TwoViews(images, encoder.transform, options.seed),
        batch_size=options.batch_size, sampler=own, num_workers=options.loading_processes,
        collate_fn=_side_by_side,
    )  # fmt: skip
    try:
        with progress_bar("views", 2 * len(own), shown=progress and ranks.rank() == 0) as advance:
            gather = ranks.world_size() > 1
            rows, places = features(
                encoder.network, loader, options.layer, device=place, gather=gather, on_batch=advance
            )
    except ValueError as error:
        raise ValueError(reason(error)) from error
    in_order = torch.empty_like(rows)
    in_order[places] = rows
    views = in_order.view(len(images), 2, -1).transpose(0, 1).contiguous()
    return Encoded(views, paths, labels, size_of(encoder.transform), encoder.preset)


class Photos(NamedTuple):
    """The images in a folder."""

    paths: list[Path]
    """The paths of all images, sorted."""
    labels: list[str] | None
    """The class of each image, if there is a folder for each class."""
    notes: tuple[str, ...]
    """Sentences about what was left out."""


def images_of(folder: Path) -> Photos:
    """Return the paths of all images in a folder, and their classes if there is a folder for each class.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: the folder has no image, or holds splits instead of classes.
    """
    if not folder.is_dir():
        raise FileNotFoundError(
            f"There is no folder {folder}; give a folder of images, or of one folder for each class."
        )
    found = find_pictures(folder)
    paths, notes = [Path(path) for path in found.paths], found.notes
    if not paths:
        raise ValueError(f"{folder} has no image in it; give a folder of images. {' '.join(notes)}".strip())
    parts = [path.relative_to(folder).parts for path in paths]
    classes = {part[0] for part in parts if len(part) > 1}
    splits = {name for name in classes if split_of(name)}
    if splits and (splits == classes or len({split_of(name) for name in splits}) > 1):
        raise ValueError(
            f"{folder} holds splits, not classes; give one of them, such as {folder / min(splits)}."
        )
    strays = [part[0] for part in parts if len(part) == 1]
    if strays and len(classes) > 1:
        notes = (
            *notes,
            f"{folder}: pictures in no folder ({len(strays):,}): {listed(strays, 5)}; therefore the folders "
            "are not taken as classes. Move these pictures to have labels.",
        )
    is_sorted_out = len(classes) > 1 and not strays
    return Photos(paths, [part[0] for part in parts] if is_sorted_out else None, notes)


# ----------------------------------------------------------------------------------------------- the encoders


class Known(NamedTuple):
    """The data set and the statistics of an encoder's images, as far as they are known."""

    data: str
    """The data set that it was trained on, or an empty text."""
    arch: str
    size: int | None
    """Height and width of its images, None for those of the preset."""
    statistics: Statistics | None
    """The statistics of its images, None for those of the preset."""
    plain: Transform | None = None
    """The transform of images as they are, where its own library has one."""


class Chosen(NamedTuple):
    """An encoder with the transform of its images."""

    network: nn.Module
    transform: Transform
    preset: str
    """Name of the preset of the transform."""
    known: Known


Maker = Callable[[Known], tuple[str, Transform]]
"""A function that returns the name of a preset and its transform, for images of an encoder."""


def encoder_of(options: ChosenEncoder, make: Maker) -> Chosen:
    """Return the encoder that options name, with the transform that a function makes for its images.

    Raises:
        OSError: there is no such file, or weights cannot be fetched.
        ValueError: the encoder or an option is invalid.
    """
    if options.is_file:
        return _encoder_of_a_file(options, make)
    if takes_texts(options.encoder):
        raise ValueError(f"{options.encoder} encodes texts; give an encoder of images, or texts.")
    size, statistics, plain = options.size, None, None
    weights = None if options.weights is None else Path(options.weights)
    if options.encoder.startswith(TIMM):
        network, size, plain = timm_encoder(options.encoder.removeprefix(TIMM), weights, size)
        statistics = plain.statistics
    elif options.encoder.startswith(TORCHVISION):
        name = options.encoder.removeprefix(TORCHVISION)
        network, own_size, statistics = published.torchvision_encoder(name, weights)
        size = size or own_size
    else:
        if ranks.rank() == 0:  # one process fetches the file for all
            published.weights_file(
                options.weights or published.RELEASE + published.ENCODER, options.weights_sha256
            )
        ranks.barrier()
        network = published.imagenet_resnet50_encoder(weights=options.weights, sha256=options.weights_sha256)
    known = Known("", options.encoder, size, statistics, plain)
    preset, transform = make(known)
    return Chosen(network, transform, preset, known)


def _encoder_of_a_file(options: ChosenEncoder, make: Maker) -> Chosen:
    """Return the encoder of a file or folder; what encoder.json says holds unless an option overrides it."""
    file = EncoderFile.read(options.encoder)
    size, statistics = options.size, given_statistics(options.mean, options.std)
    data = ""
    if file.card is not None:
        if ranks.rank() == 0:
            deviations = file.card.deviations(size=size, mean=options.mean, std=options.std)
            sys.stderr.write("".join(f"{line}\n" for line in deviations))
        data, size, statistics = file.card.data, size or file.card.size, statistics or file.card.statistics
    known = Known(data, file.chosen("arch", options.arch, "small-alexnet"), size, statistics)
    preset, transform = make(known)
    network = file.encoder(
        arch=options.arch, dim=options.dim, head=options.head,
        size=size_of(transform), channels=len(transform.statistics.mean),
    )  # fmt: skip
    return Chosen(network, transform, preset, known)


def _views(options: EncodeOptions, known: Known) -> tuple[str, Transform]:
    """Return the preset of random views of an encoder's images, and its transform."""
    usual = "stl10" if known.arch.startswith("small") else "moco-v2"
    preset = options.views_preset or (known.data if known.data in get_args(ViewsPreset) else usual)
    return preset, training_transform(preset, size=known.size, statistics=known.statistics)


def size_of(transform: Transform) -> int:
    """Return the height and width of the images that a transform makes."""
    blank = Image.new("L" if len(transform.statistics.mean) == 1 else "RGB", (64, 64))
    return transform(blank, random.Random(0)).shape[-1]


# ------------------------------------------------------------------------------------------------- the images


@dataclass(frozen=True)
class _Grey:
    pictures: ImageFiles

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: int) -> Image.Image:
        return self.pictures[index].convert("L")


def image_set(paths: list[Path], transform: Transform) -> ImageSet:
    """Return the images in colour, or in grey if there are statistics of one channel."""
    colour = ImageFiles([os.fspath(path) for path in paths])
    pictures = _Grey(colour) if len(transform.statistics.mean) == 1 else colour
    return ImageSet("images", pictures, torch.full((len(paths),), -1), ())


def _side_by_side(items: list[tuple[Tensor, Tensor, int]]) -> tuple[Tensor, Tensor]:
    """Stack the two views of B images to [2 B, channels, height, width].

    The second tensor has, for each of them, twice the number of its image plus the number of its view.
    """
    views = torch.stack([view for one, two, _ in items for view in (one, two)])
    return views, torch.tensor([2 * index + view for *_, index in items for view in (0, 1)])
