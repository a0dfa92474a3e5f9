"""From a folder of images and an encoder to features of two views of each image, which is what `measure`
takes.

The encoder is that of a file, one that was published, or one of torchvision. Under torchrun each process
encodes its share.
"""

from __future__ import annotations

import contextlib
import os
import random
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader

from align_uniform import _checks as checks
from align_uniform import _ranks as ranks
from align_uniform._progress import progress_bar
from align_uniform.recipes.encoders import published
from align_uniform.recipes.encoders.features import features
from align_uniform.recipes.encoders.options import TORCHVISION, EncodeOptions
from align_uniform.recipes.encoders.weights import EncoderCard, check_fits, encoder_state, load_encoder
from align_uniform.recipes.images.datasets import Statistics
from align_uniform.recipes.images.image_set import ImageFiles, ImageSet
from align_uniform.recipes.images.imagefolder import image_paths
from align_uniform.recipes.images.sampler import EvalSampler
from align_uniform.recipes.images.views import Transform, TwoViews, training_transform
from align_uniform.recipes.images.workers import reason

SPLITS = {"train", "val", "test"}
"""Folders of these names hold the folders of the classes, and are no classes themselves."""


class Encoded(NamedTuple):
    """The features, and what they are of."""

    views: Tensor
    """[2, N, m]: rows i are of two random views of image i"""
    paths: list[Path]
    """[N], sorted"""
    labels: list[str] | None
    """[N], the folder of each, if there is a folder for each class"""
    size: int
    """height and width of the views"""
    preset: str
    """how they were made"""


def encode(options: EncodeOptions, *, progress: bool = False) -> Encoded:
    """Return the features of two random views of each image of a folder.

    Args:
        options: see `EncodeOptions`.
        progress: draw a bar on stderr.

    Raises:
        OSError: a file is not there, or weights cannot be fetched.
        ValueError: the folder has no image, or an image, the encoder or an option is not as it should be.
    """
    device = checks.usable_device(options.device)
    paths, labels = images_of(options.images)
    network, transform = _encoder(options)
    images = _image_set(paths, transform)
    size = transform(images[0], random.Random(0)).shape[-1]
    if network is None:
        network = load_encoder(
            Path(options.encoder), arch=options.arch, dim=options.dim,
            size=size, channels=len(transform.statistics.mean), head=options.head,
        )  # fmt: skip
    own = EvalSampler(len(images), rank=ranks.rank(), world=ranks.world_size())
    loader = DataLoader(
        TwoViews(images, transform, options.seed),
        batch_size=options.batch_size, sampler=own, num_workers=options.workers, collate_fn=_side_by_side,
    )  # fmt: skip
    try:
        with progress_bar("views", 2 * len(own), shown=progress and ranks.rank() == 0) as advance:
            gather = ranks.world_size() > 1
            rows, places = features(
                network, loader, options.layer, device=device, gather=gather, on_batch=advance
            )
    except ValueError as error:
        raise ValueError(reason(error)) from error
    in_order = torch.empty_like(rows)
    in_order[places] = rows
    views = in_order.view(len(images), 2, -1).transpose(0, 1).contiguous()
    return Encoded(views, paths, labels, size, _preset(options))


def images_of(folder: Path) -> tuple[list[Path], list[str] | None]:
    """Return the paths of all images in a folder, and the class of each if every image lies in a folder for
    its class.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: it has no image, or holds splits instead of classes.
    """
    if not folder.is_dir():
        raise FileNotFoundError(
            f"There is no folder {folder}; give one of images, or of a folder of images for each class."
        )
    paths = [Path(path) for path in image_paths(folder)]
    if not paths:
        raise ValueError(f"{folder} has no image in it.")
    parts = [path.relative_to(folder).parts for path in paths]
    classes = {part[0] for part in parts if len(part) > 1}
    if classes and classes <= SPLITS:
        raise ValueError(
            f"{folder} holds splits, not classes; give one of them, as in {folder / min(classes)}."
        )
    is_sorted_out = len(classes) > 1 and all(len(part) > 1 for part in parts)
    return paths, [part[0] for part in parts] if is_sorted_out else None


# ----------------------------------------------------------------------------------------------- the encoders


def _preset(options: EncodeOptions) -> str:
    is_small = options.is_file and (options.arch or "small-alexnet").startswith("small")
    return options.views_preset or ("stl10" if is_small else "moco-v2")


def _encoder(options: EncodeOptions) -> tuple[nn.Module | None, Transform]:
    """The network, None if it is that of a file, and what makes its views."""
    preset = _preset(options)
    if options.encoder.startswith(TORCHVISION):
        network, size, statistics = _torchvision(options.encoder.removeprefix(TORCHVISION), options.weights)
        return network, training_transform(preset, size=options.size or size, statistics=statistics)
    if options.is_file:
        card = EncoderCard.read_beside(options.encoder)
        beside = card.statistics if card is not None else None
        return None, training_transform(preset, size=options.size, statistics=beside)
    if ranks.rank() == 0:  # one fetches the file for all
        published.weights_file(options.weights or published.RELEASE + published.ENCODER)
    ranks.barrier()
    return published.imagenet_resnet50_encoder(weights=options.weights), training_transform(
        preset, size=options.size
    )


def _torchvision(name: str, weights: str | None) -> tuple[nn.Module, int, Statistics]:
    """A network without its last linear layer, and the size and the statistics of its images."""
    from torchvision import models  # type: ignore[import-untyped]  # it is not typed, and the other encoders need not load it

    names = models.list_models(module=models)
    if name not in names:
        raise ValueError(f"torchvision has no classifier {name!r}; choose from {', '.join(names)}.")
    released = models.get_model_weights(name).DEFAULT
    try:
        with contextlib.redirect_stdout(sys.stderr):  # torch tells on stdout what it fetches
            network: nn.Module = models.get_model(name, weights=released if weights is None else None)
    except (OSError, RuntimeError) as error:  # RuntimeError: another checksum than torchvision's
        raise OSError(
            f"{released.url} could not be fetched ({error}); fetch it in another way and pass its path as "
            "weights."
        ) from error
    linear = [path for path, module in network.named_modules() if isinstance(module, nn.Linear)]
    last = linear[-1] if linear else ""
    if not linear or list(network.modules())[-1] is not network.get_submodule(last):
        raise ValueError(
            f"{name} does not end in a linear layer, what that takes cannot be measured; choose another "
            "network."
        )
    parent, _, child = last.rpartition(".")
    setattr(network.get_submodule(parent), child, nn.Identity())
    if weights is not None:
        _load(network, Path(weights), name, but=f"{last}.")
    transforms = released.transforms()
    return network, transforms.crop_size[0], Statistics(tuple(transforms.mean), tuple(transforms.std))


def _load(network: nn.Module, path: Path, name: str, *, but: str) -> None:
    """Load the weights of a file, all but those of the layer that the network has lost."""
    state = {key: value for key, value in encoder_state(path).items() if not key.startswith(but)}
    check_fits(path, network.state_dict(), state, f"Give weights of torchvision's {name}.")
    network.load_state_dict(state)
    if hasattr(network, "transform_input"):  # as with the released weights of GoogLeNet and Inception
        setattr(network, "transform_input", True)  # noqa: B010  # mypy takes it for a tensor or module


# ------------------------------------------------------------------------------------------------- the images


@dataclass(frozen=True)
class _Grey:
    pictures: ImageFiles

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: int) -> Image.Image:
        return self.pictures[index].convert("L")


def _image_set(paths: list[Path], transform: Transform) -> ImageSet:
    """RGB, or grey if the statistics are."""
    colour = ImageFiles([os.fspath(path) for path in paths])
    pictures = _Grey(colour) if len(transform.statistics.mean) == 1 else colour
    return ImageSet("images", pictures, torch.full((len(paths),), -1), ())


def _side_by_side(items: list[tuple[Tensor, Tensor, int]]) -> tuple[Tensor, Tensor]:
    """[B] x two views -> [2 B, channels, height, width], and for each of these twice its image's number plus
    its view's.
    """
    views = torch.stack([view for one, two, _ in items for view in (one, two)])
    return views, torch.tensor([2 * index + view for *_, index in items for view in (0, 1)])
