"""Networks from images to points on the unit sphere.

Each of them is an `Encoder`: its layers have names, and `forward(images, layer)` stops after one.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Encoder(nn.Module):
    """What a recipe asks of a network: layers with names, the last of them `output`, which is on the unit
    sphere.
    """

    _dims: dict[str, int]
    """Number of features of each layer."""

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the layers that can be looked at, from first to last."""
        return tuple(self._dims)

    def feature_dim(self, layer: str = "output") -> int:
        """Return the number of features of a layer, those of all places together where it is a map."""
        self._check_layer(layer)
        return self._dims[layer]

    def forward(self, images: Tensor, layer: str = "output") -> Tensor:
        """[N, channels, height, width] -> [N, feature_dim(layer)], or a map with as many features an
        image.
        """
        raise NotImplementedError

    def _check_layer(self, layer: object) -> None:
        if layer not in self._dims:
            raise ValueError(f"There is no layer {layer!r}; choose from {', '.join(self._dims)}.")


def build(arch: str, dim: int, *, size: int = 64, channels: int = 3, head: str = "linear") -> Encoder:
    """Return an untrained encoder.

    Args:
        arch: small-alexnet, small-conv, or any ResNet of torchvision.
        dim: number of output features.
        size: height and width of the images; only small-alexnet depends on it.
        channels: of the images.
        head: of a ResNet, linear or mlp; the others have one of their own.

    Raises:
        ValueError: there is no such encoder or head, or a number is out of range.
    """
    if dim < 1 or channels < 1:
        raise ValueError(f"dim and channels must be at least 1, got {dim} and {channels}.")
    if arch == "small-alexnet":
        return SmallAlexNet(dim, size, channels)
    if arch == "small-conv":
        return SmallConvNet(dim, channels)
    return ResNetEncoder(arch, dim, head, channels)


def _on_sphere(features: Tensor) -> Tensor:
    """Rows over their norm, which half precision is too narrow for."""
    return F.normalize(features.to(torch.promote_types(features.dtype, torch.float32)), dim=-1)


class SmallAlexNet(Encoder):
    """The small AlexNet of the STL-10 experiments: five convolutions, two wide layers and the output, each a
    block.

    Parameters are named `blocks.<i>.<j>.<param>`, and 64x64 images and 128 features make 58,678,368 of them.

    Args:
        feat_dim: number of output features.
        size: height and width of the images, at least 15.
        channels: of the images.

    Reference:
        Wang & Isola, ICML 2020, arXiv 2005.10242, appendix B.
    """

    def __init__(self, feat_dim: int = 128, size: int = 64, channels: int = 3) -> None:
        super().__init__()
        if size < 15:
            raise ValueError(
                "SmallAlexNet halves its images three times and needs at least 15x15 pixels, got "
                f"{size}x{size}."
            )
        blocks: list[nn.Module] = []
        dims = []
        for width, pooled in ((96, True), (192, True), (384, False), (384, False), (192, True)):
            convolution = nn.Conv2d(channels, width, 3, padding=1, bias=False)
            pool = [nn.MaxPool2d(3, 2)] if pooled else []
            blocks.append(nn.Sequential(convolution, nn.BatchNorm2d(width), nn.ReLU(inplace=True), *pool))
            channels, size = width, (size - 3) // 2 + 1 if pooled else size
            dims.append(width * size * size)
        wide = (nn.Linear(dims[-1], 4096, bias=False), nn.BatchNorm1d(4096), nn.ReLU(inplace=True))
        blocks.append(nn.Sequential(nn.Flatten(), *wide))
        blocks.append(
            nn.Sequential(nn.Linear(4096, 4096, bias=False), nn.BatchNorm1d(4096), nn.ReLU(inplace=True))
        )
        blocks.append(nn.Sequential(nn.Linear(4096, feat_dim)))
        names = ("conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "output")
        self._dims = dict(zip(names, [*dims, 4096, 4096, feat_dim], strict=True))
        self.blocks = nn.ModuleList(blocks)
        self.apply(_init_narrow)

    def forward(
        self, images: Tensor, layer: str | int = "output", *, layer_index: int | None = None
    ) -> Tensor:
        """Return what the block of a layer gives.

        Args:
            images: [N, channels, size, size].
            layer: a name of `layers`, or the place of its block.
            layer_index: the place of the block, instead of `layer`; -1 is the output, -2 is fc7.

        Returns:
            [N, channels, height, width] of a convolution, else [N, features]; the output has rows of unit
            norm.
        """
        last = self._place(layer if layer_index is None else layer_index)
        features = images
        for block in self.blocks[: last + 1]:
            features = block(features)
        return _on_sphere(features) if last == len(self.blocks) - 1 else features

    def _place(self, layer: str | int) -> int:
        if isinstance(layer, int) and -len(self.layers) <= layer < len(self.layers):
            return layer % len(self.layers)
        self._check_layer(layer)
        return self.layers.index(str(layer))


def _init_narrow(module: nn.Module) -> None:
    """Weights from N(0, .02), biases 0; a BatchNorm starts as the identity already."""
    if isinstance(module, (nn.Conv2d, nn.Linear)):
        nn.init.normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


class SmallConvNet(Encoder):
    """Three convolutions and a head of three layers, for images of about 16x16 to 32x32.

    `forward` gives the output on the unit sphere, which the objective sees. `features` gives the layer that
    is kept for other tasks: the head may throw away what the objective has no use for.

    Args:
        dim: number of output features.
        channels: of the images.
    """

    FEATURES = 512

    def __init__(self, dim: int, channels: int = 1) -> None:
        super().__init__()
        self._dims = {"features": self.FEATURES, "output": dim}
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
        """[N, channels, height, width] -> [N, 512]."""
        features: Tensor = self.trunk(images)
        return features

    def forward(self, images: Tensor, layer: str = "output") -> Tensor:
        """[N, channels, height, width] -> [N, dim], of unit norm, or [N, 512]."""
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
    """A ResNet of torchvision with a projection head in place of its classifier, and unit norm.

    Parameters have torchvision's names, the head's are `fc.*` (linear) or `fc.0.*` and `fc.2.*` (mlp), as in
    MoCo.

    Args:
        name: resnet18, resnet50 or another of torchvision's module `models.resnet`.
        dim: number of output features.
        head: linear, or mlp: linear to as many features as the backbone's, ReLU, linear.
        in_channels: of the images.

    Raises:
        ValueError: there is no such encoder or head.

    Reference:
        Chen et al., arXiv 2003.04297 (the MLP head).
    """

    def __init__(self, name: str, dim: int = 128, head: str = "linear", in_channels: int = 3) -> None:
        super().__init__()
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
        if head not in ("linear", "mlp"):
            raise ValueError(f"There is no head {head!r}; choose from linear, mlp.")
        network = models.get_model(name, weights=None)
        width: int = network.fc.in_features
        if in_channels != 3:
            network.conv1 = nn.Conv2d(in_channels, 64, 7, stride=2, padding=3, bias=False)
            nn.init.kaiming_normal_(network.conv1.weight, mode="fan_out", nonlinearity="relu")
        projection = nn.Linear(width, dim)
        network.fc = (
            projection
            if head == "linear"
            else nn.Sequential(nn.Linear(width, width), nn.ReLU(inplace=True), projection)
        )
        for child_name, child in network.named_children():
            self.add_module(child_name, child)
        self._dims = {"backbone": width, "output": dim}

    def forward(self, images: Tensor, layer: str = "output") -> Tensor:
        """[N, channels, height, width] -> [N, dim], of unit norm, or what the backbone gives, its places
        averaged.
        """
        self._check_layer(layer)
        features = images
        for name, child in self.named_children():
            if name != "fc":
                features = child(features)
        features = features.flatten(1)
        return features if layer == "backbone" else _on_sphere(self.get_submodule("fc")(features))


def resnet(name: str, dim: int = 128, head: str = "linear", in_channels: int = 3) -> ResNetEncoder:
    """Return an untrained `ResNetEncoder`."""
    return ResNetEncoder(name, dim, head, in_channels)
