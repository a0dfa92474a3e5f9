"""Views of batches: those that are made one by one, and torchvision's in distribution."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader
from torchvision import transforms  # type: ignore[import-untyped]  # it is not typed

from align_uniform.recipes.images import batches
from align_uniform.recipes.images.augmentations import RandomResizedCrop, as_planes
from align_uniform.recipes.images.batches import Drafting, render
from align_uniform.recipes.images.image_set import ImageSet
from align_uniform.recipes.images.imagefolder import load
from align_uniform.recipes.images.sampler import GlobalBatchSampler
from align_uniform.recipes.images.statistics import STATISTICS
from align_uniform.recipes.images.views import TwoViews, training_transform
from tests.recipes.images.small_sets import picture
from tests.recipes.images.test_augmentations import furthest

CPU = torch.device("cpu")
PRESETS = ("stl10", "moco-v1", "moco-v2", "fashion-mnist", "cifar10", "digits")


def two_views(preset: str, count: int = 24) -> TwoViews:
    mode, side = ("L", 24) if preset in ("fashion-mnist", "digits") else ("RGB", 48)
    images = [picture(side, side, mode) for _ in range(count)]
    transform = training_transform(preset, size=32 if preset.startswith("moco") else None)
    return TwoViews(ImageSet("x", images, torch.zeros(count, dtype=torch.int64), ("a",)), transform, seed=3)


def rendered(drafting: Drafting, keys: list[tuple[int, int]]) -> Tensor:
    return torch.stack(
        render(drafting.collate([drafting[key] for key in keys]), drafting.views.transform, CPU)
    )


def one_by_one(views: TwoViews, keys: list[tuple[int, int]]) -> Tensor:
    first, second, _ = zip(*(views[key] for key in keys), strict=True)
    return torch.stack([torch.stack(first), torch.stack(second)])


def same(ours: Tensor, expected: Tensor) -> None:
    """Hold values to be equal, except for a few that another processor's Pillow may round otherwise."""
    assert ours.shape == expected.shape
    assert (ours != expected).double().mean() < 1e-3


@pytest.mark.parametrize("preset", PRESETS)
def test_the_views_of_a_batch_are_those_of_its_images_one_by_one(preset: str) -> None:
    views = two_views(preset)
    keys = [(epoch, index) for epoch in (0, 4) for index in range(24)]
    drafting = Drafting(views)
    drafting.done = 0 if preset == "digits" else 1  # one step is Pillow's, the crop
    same(rendered(drafting, keys), one_by_one(views, keys))
    drafting.done = 0
    whole = rendered(drafting, keys)
    assert (whole - one_by_one(views, keys)).abs().mean() < 0.01  # a grey level is 0.015


@given(
    seed=st.integers(0, 2**32), width=st.integers(8, 60), height=st.integers(8, 60), size=st.integers(8, 40)
)
def test_a_crop_is_pillows_along_rows_and_then_along_columns(
    seed: int, width: int, height: int, size: int
) -> None:
    images = [picture(width, height), picture(width, height)]
    crop = RandomResizedCrop(size, (0.08, 1.0))
    boxes = [crop.draw((width, height), random.Random(seed + row)) for row in (0, 1)]
    planes = torch.from_numpy(np.stack([as_planes(image) for image in images]))
    found = batches._STEPS[RandomResizedCrop](crop, planes, torch.tensor(boxes, dtype=torch.float64))
    for ours, image, (left, top, w, h) in zip(found, images, boxes, strict=True):
        part = image.crop((left, top, left + w, top + h))
        bilinear = Image.Resampling.BILINEAR
        expected = part.resize((size, h), bilinear).resize((size, size), bilinear)
        np.testing.assert_array_equal(ours, as_planes(expected))
        assert (ours - torch.from_numpy(as_planes(part.resize((size, size), bilinear)))).abs().max() <= 1


def test_a_view_depends_neither_on_its_batch_nor_on_the_ranks_nor_on_the_number_made_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    drafting = Drafting(two_views("moco-v2"))
    keys = [(2, index) for index in range(24)]
    whole = rendered(drafting, keys)
    assert torch.equal(rendered(drafting, keys[5:9]), whole[:, 5:9])
    monkeypatch.setattr(batches, "AT_ONCE", 7)
    assert torch.equal(rendered(drafting, keys), whole)
    for rank in range(3):
        sampler = GlobalBatchSampler(24, 12, rank=rank, world=3, seed=1)
        sampler.set_epoch(2)
        for drafts in DataLoader(drafting, batch_sampler=sampler, collate_fn=drafting.collate):
            for row, view in enumerate(render(drafts, drafting.views.transform, CPU)):
                assert torch.equal(view, whole[row][drafts.indices])


def test_the_images_of_a_batch_and_their_two_views_have_parameters_of_their_own() -> None:
    image = picture(48, 48)
    views = two_views("stl10")
    alike = ImageSet("x", [image] * 24, views.images.labels, views.images.classes)
    found = rendered(Drafting(TwoViews(alike, views.transform, 3)), [(0, index) for index in range(24)])
    assert len(found.flatten(0, 1).flatten(1).unique(dim=0)) == 48


def test_views_of_a_batch_have_the_distribution_of_torchvisions() -> None:
    image = picture(48, 48)
    views = two_views("cifar10", count=400)
    alike = ImageSet("x", [image] * 400, views.images.labels, views.images.classes)
    ours = rendered(Drafting(TwoViews(alike, views.transform, 3)), [(0, i) for i in range(400)]).flatten(0, 1)
    torch.manual_seed(0)
    reference = transforms.Compose([
        transforms.RandomResizedCrop(32, scale=(0.2, 1.0)),
        transforms.RandomHorizontalFlip(),
        transforms.RandomApply([transforms.ColorJitter(0.4, 0.4, 0.4, 0.1)], p=0.8),
        transforms.RandomGrayscale(p=0.2),
        transforms.ToTensor(),
        transforms.Normalize(*STATISTICS["cifar10"]),
    ])  # fmt: skip
    theirs = torch.stack([reference(image) for _ in range(400)])

    def grey(batch: Tensor) -> Tensor:
        """The spread over the channels, with pixels scaled to [0, 1]."""
        mean, std = (torch.tensor(moment).view(-1, 1, 1) for moment in STATISTICS["cifar10"])
        pixels = batch * std + mean
        return (pixels.amax(1) - pixels.amin(1)).mean((1, 2))

    statistics = {
        "red": lambda batch: batch[:, 0].mean((1, 2)),
        "blue": lambda batch: batch[:, 2].mean((1, 2)),
        "contrast": lambda batch: batch.std((1, 2, 3)),
        "left less right": lambda batch: (batch[..., :16] - batch[..., 16:]).mean((1, 2, 3)),
        "fine detail": lambda batch: (batch[..., 1:] - batch[..., :-1]).abs().mean((1, 2, 3)),
        "saturation": grey,
    }
    for name, statistic in statistics.items():
        assert furthest(statistic(ours).tolist(), statistic(theirs).tolist()) < 1, name
    assert abs((grey(ours) < 1e-6).double().mean() - 0.2) < 0.05


def test_images_in_files_are_cropped_when_they_are_read(tmp_path: Path) -> None:
    for number, size in enumerate([(40, 30), (50, 60), (33, 47), (90, 20)]):
        (tmp_path / "train" / f"{number % 2}").mkdir(parents=True, exist_ok=True)
        picture(*size).save(tmp_path / "train" / f"{number % 2}" / f"{number}.png")
    views = TwoViews(load(tmp_path, "train", False), training_transform("stl10", size=20), seed=0)
    drafting = Drafting(views)
    keys = [(0, index) for index in range(4)]
    drafts = drafting.collate([drafting[key] for key in keys])
    assert drafts.pixels.shape == (8, 3, 20, 20)
    assert drafts.pixels.dtype == torch.uint8
    same(rendered(drafting, keys), one_by_one(views, keys))


def test_statistics_of_another_number_of_channels_are_refused() -> None:
    views = two_views("fashion-mnist")
    colour = TwoViews(two_views("stl10").images, views.transform, seed=0)
    with pytest.raises(ValueError, match="The image has 3 channels, but the statistics have 1"):
        rendered(Drafting(colour), [(0, 0)])
