"""Features of each image of a folder or a data set as it is, in a file: the command `encode`.

    align-uniform encode results/RUN photos --out features.npz
    align-uniform encode torchvision:resnet18 cifar10 --root data --out features.npy

Under torchrun each process encodes its share of the images.
"""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import NamedTuple

import torch

from align_uniform import _ranks as ranks
from align_uniform._messages import counted
from align_uniform._progress import progress_bar
from align_uniform._writing import check_replaceable
from align_uniform.files.feature_files import WITH_COLUMNS, check_feature_file, write_features
from align_uniform.recipes.devices import device
from align_uniform.recipes.encoders.encode import (
    Chosen,
    Known,
    encoder_of,
    image_set,
    images_of,
)
from align_uniform.recipes.encoders.features import check_layer, features
from align_uniform.recipes.encoders.options import ToEncodeOptions
from align_uniform.recipes.encoders.preparation import plain_transform
from align_uniform.recipes.images import datasets
from align_uniform.recipes.images.image_set import ImageSet, path_of
from align_uniform.recipes.images.loader import ImageLoader
from align_uniform.recipes.images.sampler import EvalSampler
from align_uniform.recipes.images.views import LabelledViews, Transform
from align_uniform.recipes.images.workers import reason


class Items(NamedTuple):
    """The images to encode, with the columns of the file that describe them."""

    images: ImageSet
    columns: dict[str, list[str]]
    """The path of each image below the folder, and the class of each image, as far as they are known."""


def run(options: ToEncodeOptions) -> int:
    """Encode, write the file, and say what it holds; return 0."""
    check_feature_file(options.out)
    check_replaceable(options.out, force=options.force)
    place = device(options.device)
    chosen = encoder_of(options, _plain)
    check_layer(chosen.network, options.layer)
    items = _items(options, chosen.transform)
    rows = _rows(options, chosen, items.images, place)
    if ranks.rank() == 0:
        write_features(options.out, rows.numpy(), items.columns)
        sys.stderr.write(_closing(options, rows, items, place))
    return 0


def _plain(known: Known) -> tuple[str, Transform]:
    if known.plain is not None:
        return "timm", known.plain
    return plain_transform(known.data, known.arch, known.size, known.statistics)


def _items(options: ToEncodeOptions, transform: Transform) -> Items:
    """Return the images of a folder or a data set."""
    if not options.is_data_set:
        folder = Path(options.items)
        paths, labels, notes = images_of(folder)
        if ranks.rank() == 0:
            sys.stderr.write("".join(f"{note}\n" for note in notes))
        columns = {"paths": [path.relative_to(folder).as_posix() for path in paths]}
        return Items(image_set(paths, transform), columns | ({} if labels is None else {"labels": labels}))
    split = options.split or datasets.data_set(options.items).judging
    images = datasets.load_on_all_ranks(
        options.items, options.root or Path("data"), split, download=options.download
    )
    if (channels := len(transform.statistics.mean)) != images.channels:
        raise ValueError(
            f"the encoder takes images of {counted(channels, 'channel')}, and {images.name} has "
            f"{images.channels}; choose other data."
        )
    known = [path_of(images.pictures, row) for row in range(len(images))]
    paths_of_files = [path for path in known if path is not None]
    columns = {"paths": paths_of_files} if len(paths_of_files) == len(images) else {}
    if bool((images.labels >= 0).all()):
        columns["labels"] = [images.classes[label] for label in images.labels.tolist()]
    return Items(images, columns)


def _rows(options: ToEncodeOptions, chosen: Chosen, images: ImageSet, place: torch.device) -> torch.Tensor:
    """Return the features of all images, in their order."""
    loader = ImageLoader(
        LabelledViews(images, chosen.transform),
        batch_size=options.batch_size,
        sampler=(own := EvalSampler(len(images), rank=ranks.rank(), world=ranks.world_size())),
        num_workers=options.loading_processes,
    )
    shown, gather = sys.stderr.isatty() and ranks.rank() == 0, ranks.world_size() > 1
    try:
        with progress_bar("images", len(own), shown=shown) as advance:
            return features(
                chosen.network, loader, options.layer, device=place, gather=gather, on_batch=advance
            )[0]
    except ValueError as error:
        raise ValueError(reason(error)) from error


def _closing(options: ToEncodeOptions, rows: torch.Tensor, items: Items, place: torch.device) -> str:
    """Return what the file holds, and the command that measures it."""
    out, is_whole = str(options.out), options.out.suffix in WITH_COLUMNS
    held = "".join(f", {name}" for name in items.columns) if is_whole else ""
    has_labels = is_whole and "labels" in items.columns
    features_in = f"{out}::features" if is_whole else out
    command = [
        "align-uniform",
        "measure",
        features_in,
        *(["--labels", f"{out}::labels"] if has_labels else []),
    ]
    return (
        f"{out}: {counted(len(rows), 'image')}, {counted(rows.shape[1], 'feature')} each "
        f"({options.layer}, on {place}){held}\n"
        f"  next       {shlex.join(command)}\n"
    )
