"""Networks from images to points on the unit sphere."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class SmallConvNet(nn.Module):
    """Three convolutions and a head of three layers, for grey images of about 16x16.

    `forward` gives the output on the unit sphere, which the objective sees. `features` gives the layer that is kept for other
    tasks: the head may throw away what the objective has no use for.

    Args:
        dim: number of output features.
    """

    FEATURES = 512

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.trunk = nn.Sequential(
            _convolution(1, 32, stride=2),
            _convolution(32, 64, stride=2),
            _convolution(64, 128),
            nn.AdaptiveAvgPool2d(4),
            nn.Flatten(),
            nn.Linear(128 * 4 * 4, self.FEATURES, bias=False),
            nn.BatchNorm1d(self.FEATURES),
            nn.ReLU(inplace=True),
        )
        self.head = nn.Sequential(
            nn.Linear(self.FEATURES, 128, bias=False), nn.BatchNorm1d(128), nn.ReLU(inplace=True), nn.Linear(128, dim)
        )

    def features(self, images: Tensor) -> Tensor:
        """[N, 1, height, width] -> [N, 512]."""
        features: Tensor = self.trunk(images)
        return features

    def forward(self, images: Tensor) -> Tensor:
        """[N, 1, height, width] -> [N, dim], of unit norm."""
        return F.normalize(self.head(self.trunk(images)), dim=-1)


def _convolution(channels_in: int, channels_out: int, stride: int = 1) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, 3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(channels_out),
        nn.ReLU(inplace=True),
    )
