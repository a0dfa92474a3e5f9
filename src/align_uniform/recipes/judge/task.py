"""An encoder with the images that it is judged on."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch.utils.data import DataLoader

from align_uniform import _ranks as ranks
from align_uniform._messages import counted
from align_uniform.recipes.devices import device
from align_uniform.recipes.encoders.features import check_layer
from align_uniform.recipes.encoders.networks import Encoder
from align_uniform.recipes.encoders.weights import CARD, EncoderCard, read_encoder, weights_in
from align_uniform.recipes.images import datasets
from align_uniform.recipes.images.image_set import ImageSet
from align_uniform.recipes.images.loader import ImageLoader
from align_uniform.recipes.images.sampler import EvalSampler
from align_uniform.recipes.images.statistics import Statistics, given_statistics
from align_uniform.recipes.images.views import LabelledViews, evaluation_transform
from align_uniform.recipes.judge.options import EvaluateOptions, LinearOptions


@dataclass(frozen=True)
class Task:
    """An encoder and its images: what encoder.json says of them, unless an option says otherwise."""

    options: EvaluateOptions
    path: Path
    """The encoder's file or folder."""
    card: EncoderCard | None
    data: datasets.DataSet

    @classmethod
    def of(cls, options: EvaluateOptions) -> Task:
        """Return the task of options that name an encoder."""
        assert options.encoder is not None
        card = EncoderCard.read_beside(options.encoder)
        data = options.data or ("stl10" if card is None else card.data)
        return cls(options, options.encoder, card, datasets.data_set(data))

    @property
    def size(self) -> int:
        """Height and width of the images."""
        return self.options.size or (self.data.size if self.card is None else self.card.size)

    @property
    def statistics(self) -> Statistics | None:
        """The statistics that images are normalised by; None for ImageNet's, where nothing else is known."""
        known = self.data.statistics if self.card is None else self.card.statistics
        return given_statistics(self.options.mean, self.options.std) or known

    def images(self, *, train: bool) -> ImageSet:
        """Return the images to learn from, or the images to judge by."""
        weights_in(self.path)  # a path with a typing error is told before any images are looked for
        split = self.data.labelled if train else self.data.judging
        return datasets.load_on_all_ranks(
            self.data.name, self.options.root, split, download=self.options.download
        )

    def encoder(self, images: ImageSet) -> Encoder:
        """Return the encoder, on its device, for images whose number of channels must fit it."""
        options, channels = self.options, images.channels
        if self.card is not None and self.card.channels != channels:
            raise ValueError(
                f"the encoder takes images of {counted(self.card.channels, 'channel')}, as {CARD} next to it "
                f"says, and {self.data.name} has {channels}; choose other data."
            )
        if self.card is not None and ranks.rank() == 0:
            deviations = self.card.deviations(size=options.size, mean=options.mean, std=options.std)
            sys.stderr.write("".join(f"{line}\n" for line in deviations))
        encoder = read_encoder(
            self.path,
            arch=options.arch,
            dim=options.dim,
            head=options.head,
            size=self.size,
            channels=channels,
        )
        check_layer(encoder, options.layer)
        return encoder.to(device(options.device))

    def views(self, images: ImageSet, *, train: bool) -> LabelledViews:
        """Return images as the encoder takes them: random crops to train a classifier on, or whole images."""
        transform = evaluation_transform(
            self.data.evaluation, train=train, size=self.size, statistics=self.statistics
        )
        seed = self.options.seed if train and isinstance(self.options, LinearOptions) else 0
        return LabelledViews(images, transform, seed)

    def loader(self, images: ImageSet) -> DataLoader[Any]:
        """Return batches of this process's share of whole images."""
        own = EvalSampler(len(images), rank=ranks.rank(), world=ranks.world_size())
        return ImageLoader(
            self.views(images, train=False),
            batch_size=self.options.batch_size,
            sampler=own,
            num_workers=self.options.loading_processes,
        )

    def show(self, encoder: Encoder, protocol: str, test: ImageSet, train: ImageSet | None = None) -> None:
        """Print what is judged, on which images, and how."""
        known = "" if self.card is None else f", trained on {self.card.data}"
        counts = [] if train is None else [counted(len(train), "training image")]
        counts.append(counted(len(test), "test image"))
        show_heading(
            encoder=f"{self.path} ({encoder.architecture.arch}{known})",
            layer=self.options.layer,
            data=f"{self.data.name}, {' and '.join(counts)} of {self.size}x{self.size} pixels",
            protocol=protocol,
        )


def show_heading(**lines: str) -> None:
    """Print a few lines that each begin with their name."""
    if ranks.rank() == 0:
        width = max(map(len, lines))
        sys.stdout.write("".join(f"{name:<{width}}  {text}\n" for name, text in lines.items()) + "\n")
        sys.stdout.flush()
