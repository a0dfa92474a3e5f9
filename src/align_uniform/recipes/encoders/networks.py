"""Networks from images to points on the unit sphere.

Each of them is an `Encoder`: its layers have names, and `forward(images, layer)` stops after the given one.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import NamedTuple, get_args

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from align_uniform._extras import needs
from align_uniform.recipes.encoders.features import features
from align_uniform.recipes.encoders.options import Head, Stem
from align_uniform.recipes.encoders.preparation import Picture, Preparation


class Architecture(NamedTuple):
    """The arguments that `build` made an encoder with, by which it can be made again."""

    arch: str
    dim: int
    head: str
    size: int
    channels: int
    stem: str = "imagenet"


class Encoder(nn.Module, ABC):
    """The base of all encoders: layers with names, the last of which, `output`, is on the unit sphere.

    Example:
        >>> import torch
        >>> from align_uniform.recipes.encoders.networks import build
        >>> encoder = build("small-conv", dim=8, size=16, channels=1).eval()
        >>> encoder.layers
        ('features', 'output')
        >>> encoder(torch.rand(2, 1, 16, 16)).norm(dim=1).allclose(torch.ones(2))
        True
    """

    layers: tuple[str, ...]
    """Names of the layers whose features can be taken, from first to last."""
    architecture: Architecture
    """The arguments of `build`, which sets this attribute."""
    transform: Preparation | None = None
    """The transform from a picture to a tensor that the encoder takes, which `load_encoder` sets; None where
    nothing is known of its pictures.
    """

    @abstractmethod
    def forward(self, images: Tensor, layer: str = "output") -> Tensor:
        """Return the features of a layer: [N, features], or a map [N, channels, height, width]."""

    def encode(self, pictures: Iterable[Picture], layer: str = "output", *, batch_size: int = 64) -> Tensor:
        """Return the features of pictures at a layer, [N, m], on the CPU.

        Args:
            pictures: paths of pictures, or pictures of PIL.
            layer: one of `layers`; maps are flattened.
            batch_size: number of pictures that are encoded at a time.

        Raises:
            ValueError: a file is no picture, there is no such layer, or nothing is known of the pictures.
        """
        if self.transform is None:
            raise ValueError(
                "the encoder's transform is not known, since no encoder.json lies next to its weights; set "
                "encoder.transform to a function from a picture to a tensor."
            )
        if isinstance(pictures, str | os.PathLike | Image.Image):
            raise ValueError(f"pictures must be a list of pictures, got {pictures!r}; write [picture].")
        chosen, prepare = list(pictures), self.transform
        parts = [chosen[start : start + batch_size] for start in range(0, len(chosen), batch_size)]
        batches = ((torch.stack([prepare(each) for each in part]), torch.zeros(len(part))) for part in parts)
        return features(self, batches, layer)[0]

    def _check_layer(self, layer: object) -> None:
        if layer not in self.layers:
            raise ValueError(f"There is no layer {layer!r}; choose from {', '.join(self.layers)}.")


def build(
    arch: str,
    dim: int,
    *,
    size: int = 64,
    channels: int = 3,
    head: str = "linear",
    stem: str = "imagenet",
) -> Encoder:
    """Return an untrained encoder.

    Args:
        arch: small-alexnet, small-conv, or the name of a ResNet of torchvision.
        dim: number of output features.
        size: height and width of the images, on which the weights of small-alexnet alone depend.
        channels: number of channels of the images.
        head: projection head of a ResNet, linear or mlp; the small encoders have a head of their own.
        stem: first layers of a ResNet, imagenet or small; see `ResNetEncoder`.

    Raises:
        ValueError: there is no such encoder, head or stem, or a number is out of range.
    """
    if dim < 1 or channels < 1:
        raise ValueError(f"dim and channels must be at least 1, got {dim} and {channels}.")
    encoder: Encoder
    if arch == "small-alexnet":
        encoder = SmallAlexNet(dim, size, channels)
    elif arch == "small-conv":
        encoder = SmallConvNet(dim, channels)
    else:
        encoder = ResNetEncoder(arch, dim, head, channels, stem)
    encoder.architecture = Architecture(arch, dim, head, size, channels, stem)
    return encoder


def _on_sphere(features: Tensor) -> Tensor:
    """Divide rows by their norm, in float32 at least, since half precision is too narrow for norms."""
    return F.normalize(features.to(torch.promote_types(features.dtype, torch.float32)), dim=-1)


class SmallAlexNet(Encoder):
    """The small AlexNet of the STL-10 experiments, in blocks: five convolutions, two wide layers, the output.

    Parameters are named `blocks.<i>.<j>.<param>`. With 64x64 images and 128 features there are 58,678,368.

    Args:
        feat_dim: number of output features.
        size: height and width of the images, at least 15.
        channels: number of channels of the images.

    Reference:
        Wang & Isola, ICML 2020, arXiv 2005.10242, appendix B.
    """

    layers = ("conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "output")

    def __init__(self, feat_dim: int = 128, size: int = 64, channels: int = 3) -> None:
        super().__init__()
        if size < 15:
            raise ValueError(
                "SmallAlexNet halves its images three times, and so needs at least 15x15 pixels, got "
                f"{size}x{size}; enlarge the images, or choose small-conv."
            )
        blocks: list[nn.Module] = []
        for width, pooled in ((96, True), (192, True), (384, False), (384, False), (192, True)):
            convolution = nn.Conv2d(channels, width, 3, padding=1, bias=False)
            pool = [nn.MaxPool2d(3, 2)] if pooled else []
            blocks.append(nn.Sequential(convolution, nn.BatchNorm2d(width), nn.ReLU(inplace=True), *pool))
            channels, size = width, (size - 3) // 2 + 1 if pooled else size
        blocks.append(nn.Sequential(nn.Flatten(), *_wide(channels * size * size)))
        blocks.append(nn.Sequential(*_wide(4096)))
        blocks.append(nn.Sequential(nn.Linear(4096, feat_dim)))
        self.blocks = nn.ModuleList(blocks)
        self.apply(_init_narrow)

    def forward(
        self, images: Tensor, layer: str | int = "output", *, layer_index: int | None = None
    ) -> Tensor:
        """Return the features of a layer, which are those after its block.

        Args:
            images: [N, channels, size, size].
            layer: a name in `layers`, or the number of a block.
            layer_index: the number of a block, in place of `layer`; -1 is the output, -2 is fc7.

        Returns:
            [N, channels, height, width] after a convolution, else [N, features]; rows of the output have unit
            norm.
        """
        last = self._number(layer if layer_index is None else layer_index)
        features = images
        for block in self.blocks[: last + 1]:
            features = block(features)
        return _on_sphere(features) if last == len(self.blocks) - 1 else features

    def _number(self, layer: str | int) -> int:
        if isinstance(layer, int) and -len(self.layers) <= layer < len(self.layers):
            return layer % len(self.layers)
        self._check_layer(layer)
        return self.layers.index(str(layer))


def _wide(inputs: int) -> tuple[nn.Module, ...]:
    """Return the modules of a wide layer of SmallAlexNet."""
    return nn.Linear(inputs, 4096, bias=False), nn.BatchNorm1d(4096), nn.ReLU(inplace=True)


def _init_narrow(module: nn.Module) -> None:
    """Draw weights from N(0, .02) and set biases to 0; a BatchNorm is the identity from the start."""
    if isinstance(module, (nn.Conv2d, nn.Linear)):
        nn.init.normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


class SmallConvNet(Encoder):
    """Three convolutions and a head of three layers, for images of about 16x16 to 32x32.

    `forward` returns the output on the unit sphere, on which the objective is computed. `features` returns
    the layer before the head, to use in other tasks: the head may discard what the objective does not need.

    Args:
        dim: number of output features.
        channels: number of channels of the images.
    """

    layers = ("features", "output")

    FEATURES = 512
    """The number of features before the head."""

    def __init__(self, dim: int, channels: int = 1) -> None:
        super().__init__()
        self.trunk = nn.Sequential(
            _convolution(channels, 32, stride=2),
            _convolution(32, 64, stride=2),
            _convolution(64, 128),
            nn.AdaptiveAvgPool2d(4),
            nn.Flatten(),
            nn.Linear(128 * 4 * 4, self.FEATURES, bias=False),
            nn.BatchNorm1d(self.FEATURES),
            nn.ReLU(inplace=True),
        )
        self.head = nn.Sequential(
            nn.Linear(self.FEATURES, 128, bias=False),
            nn.BatchNorm1d(128),
            nn.ReLU(inplace=True),
            nn.Linear(128, dim),
        )

    def features(self, images: Tensor) -> Tensor:
        """Return the features before the head: [N, channels, height, width] -> [N, 512]."""
        features: Tensor = self.trunk(images)
        return features

    def forward(self, images: Tensor, layer: str = "output") -> Tensor:
        """Return the output, [N, dim] with rows of unit norm, or the layer `features`, [N, 512]."""
        self._check_layer(layer)
        features = self.features(images)
        return features if layer == "features" else _on_sphere(self.head(features))


def _convolution(channels_in: int, channels_out: int, stride: int = 1) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, 3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(channels_out),
        nn.ReLU(inplace=True),
    )


class ResNetEncoder(Encoder):
    """A ResNet of torchvision with a projection head in place of its classifier, and outputs of unit norm.

    Parameters have torchvision's names. The parameters of the head are `fc.*` (linear), or `fc.0.*` and
    `fc.2.*` (mlp), as in MoCo.

    Args:
        name: resnet18, resnet50 or another network of torchvision's module `models.resnet`.
        dim: number of output features.
        head: linear; or mlp, a linear layer that keeps the number of features, a ReLU and a linear layer.
        in_channels: number of channels of the images.
        stem: imagenet, a convolution of 7x7 and a pool, which leave a quarter of the height and width; or
            small, for images of about 32x32, a convolution of 3x3, which leaves all of it.

    Raises:
        ValueError: there is no such encoder, head or stem.

    Reference:
        Chen et al., arXiv 2003.04297 (the MLP head); Chen et al., ICML 2020, arXiv 2002.05709, appendix B.9
        (the small stem).
    """

    layers = ("backbone", "output")

    def __init__(
        self,
        name: str,
        dim: int = 128,
        head: str = "linear",
        in_channels: int = 3,
        stem: str = "imagenet",
    ) -> None:
        super().__init__()
        with needs("recipes"):
            from torchvision import models  # type: ignore[import-untyped]  # it is not typed; the other encoders do not need it

        names = [
            each
            for each in models.list_models(module=models)
            if "resnet" in models.get_model_builder(each).__module__
        ]
        if name not in names:
            raise ValueError(
                f"There is no encoder {name!r}; choose from "
                f"{', '.join(('small-alexnet', 'small-conv', *names))}."
            )
        for what, given, known in (("head", head, get_args(Head)), ("stem", stem, get_args(Stem))):
            if given not in known:
                raise ValueError(f"There is no {what} {given!r}; choose from {', '.join(known)}.")
        network = models.get_model(name, weights=None)
        width: int = network.fc.in_features
        if in_channels != 3 or stem == "small":
            kernel, stride, padding = (3, 1, 1) if stem == "small" else (7, 2, 3)
            network.conv1 = nn.Conv2d(in_channels, 64, kernel, stride, padding, bias=False)
            nn.init.kaiming_normal_(network.conv1.weight, mode="fan_out", nonlinearity="relu")
        if stem == "small":
            network.maxpool = nn.Identity()
        projection = nn.Linear(width, dim)
        network.fc = (
            projection
            if head == "linear"
            else nn.Sequential(nn.Linear(width, width), nn.ReLU(inplace=True), projection)
        )
        for child_name, child in network.named_children():
            self.add_module(child_name, child)

    def forward(self, images: Tensor, layer: str = "output") -> Tensor:
        """Return the output, [N, dim] with rows of unit norm, or the backbone's features after pooling."""
        self._check_layer(layer)
        features = images
        for name, child in self.named_children():
            if name != "fc":
                features = child(features)
        features = features.flatten(1)
        return features if layer == "backbone" else _on_sphere(self.get_submodule("fc")(features))
