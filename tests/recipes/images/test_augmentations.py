"""Augmentations: torchvision's pixels, and parameters from the same distributions."""

from __future__ import annotations

import functools
import random

import numpy as np
import pytest
import torch
import torchvision.transforms.functional as theirs  # type: ignore[import-untyped]  # it is not typed
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageFilter
from torchvision import transforms

from align_uniform.recipes.images import augmentations
from align_uniform.recipes.images.augmentations import (
    CenterCrop,
    ColorJitter,
    RandomAffine,
    RandomBlur,
    RandomFlip,
    RandomGrayscale,
    RandomResizedCrop,
    Resize,
)
from align_uniform.recipes.images.views import generator
from tests.recipes.images.small_sets import picture


def equal(ours: Image.Image, reference: Image.Image) -> None:
    assert ours.mode == reference.mode
    np.testing.assert_array_equal(np.asarray(ours), np.asarray(reference))


class Fixed(random.Random):
    """A generator whose next numbers are given."""

    def __init__(self, *values: float) -> None:
        self.values = list(values)

    def random(self) -> float:
        return self.values.pop(0)


FACTORS = st.floats(0, 2)


@given(factor=FACTORS, turn=st.floats(-0.5, 0.5), mode=st.sampled_from(["RGB", "L"]))
def test_colours_change_as_torchvision_changes_them(factor: float, turn: float, mode: str) -> None:
    image = picture(40, 30, mode)
    equal(augmentations.adjust_brightness(image, factor), theirs.adjust_brightness(image, factor))
    equal(augmentations.adjust_contrast(image, factor), theirs.adjust_contrast(image, factor))
    equal(augmentations.adjust_saturation(image, factor), theirs.adjust_saturation(image, factor))
    equal(augmentations.adjust_hue(image, turn), theirs.adjust_hue(image, turn))


@given(
    seed=st.integers(0, 2**32), width=st.integers(8, 60), height=st.integers(8, 60), size=st.integers(8, 40)
)
def test_a_crop_and_its_resizing_are_torchvisions(seed: int, width: int, height: int, size: int) -> None:
    image, crop = picture(width, height), RandomResizedCrop(size, (0.08, 1.0))
    left, top, w, h = crop.box(width, height, random.Random(seed))
    assert 0 <= left <= width - w
    assert 0 <= top <= height - h
    equal(crop(image, random.Random(seed)), theirs.resized_crop(image, top, left, h, w, [size, size]))
    equal(Resize(size)(image, random.Random()), theirs.resize(image, size))
    equal(CenterCrop(8)(image, random.Random()), theirs.center_crop(image, 8))


def test_flip_grey_and_blur_are_done_in_their_share_of_the_images_and_are_torchvisions_and_pillows() -> None:
    image = picture()
    equal(RandomFlip()(image, Fixed(0.49)), theirs.hflip(image))
    assert RandomFlip()(image, Fixed(0.51)) is image
    equal(RandomGrayscale(0.2)(image, Fixed(0.19)), theirs.to_grayscale(image, 3))
    assert RandomGrayscale(0.2)(image, Fixed(0.21)) is image
    equal(RandomBlur((0.1, 2.0), 0.5)(image, Fixed(0.4, 0.5)), image.filter(ImageFilter.GaussianBlur(1.05)))
    assert RandomBlur()(image, Fixed(0.51)) is image
    assert ColorJitter(0.4, p=0.8)(image, Fixed(0.81)) is image
    equal(ColorJitter(0.4, p=0.8)(image, Fixed(0.79, 0, 1)), theirs.adjust_brightness(image, 1.4))


@given(st.floats(-30, 30), st.floats(-5, 5), st.floats(-5, 5), st.floats(0.8, 1.2), st.floats(-15, 15))
def test_an_affine_change_is_torchvisions(
    angle: float, dx: float, dy: float, scale: float, shear: float
) -> None:
    image = picture(24, 20, "L")
    # theirs shifts by whole pixels in its own interface, but takes any number
    reference = theirs.affine(image, angle, [dx, dy], scale, [shear, 0.0], theirs.InterpolationMode.BILINEAR)
    ours = augmentations.affine(image, angle=angle, shift=(dx, dy), scale=scale, shear=shear)
    difference = np.abs(np.asarray(ours, int) - np.asarray(reference, int))
    assert (difference > 1).mean() < 0.01  # a rounding of the coefficients moves a place over the edge


def furthest(ours: list[float], reference: list[float]) -> float:
    """Kolmogorov and Smirnov's distance over its 0.1% bound."""
    points = np.sort(np.concatenate([ours, reference]))
    one, two = (
        np.searchsorted(np.sort(values), points, side="right") / len(values) for values in (ours, reference)
    )
    return float(np.abs(one - two).max() / (1.95 * np.sqrt(1 / len(ours) + 1 / len(reference))))


def test_crops_have_torchvisions_distribution() -> None:
    torch.manual_seed(0)
    image, scale = Image.new("L", (96, 64)), (0.08, 1.0)
    boxes = np.array([RandomResizedCrop(64, scale).box(96, 64, generator(0, 0, i)) for i in range(4000)])
    reference = [transforms.RandomResizedCrop.get_params(image, scale, (3 / 4, 4 / 3)) for _ in range(3000)]
    top, left, height, width = np.array(reference).T
    for mine, other in zip(boxes.T, (left, top, width, height), strict=True):
        assert furthest(mine.tolist(), other.tolist()) < 1


def test_a_very_long_image_is_cropped_as_torchvision_does() -> None:
    for width, height in ((400, 4), (4, 400)):
        top, left, h, w = transforms.RandomResizedCrop.get_params(
            Image.new("L", (width, height)), (0.9, 1.0), (3 / 4, 4 / 3)
        )
        assert RandomResizedCrop(8, (0.9, 1.0)).box(width, height, random.Random(0)) == (left, top, w, h)


def test_colour_jitter_draws_factors_as_torchvision_does_and_every_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    drawn: list[tuple[str, float]] = []

    def noted(image: Image.Image, factor: float, name: str) -> Image.Image:
        drawn.append((name, factor))
        return image

    for name in ("brightness", "contrast", "saturation", "hue"):
        monkeypatch.setattr(augmentations, f"adjust_{name}", functools.partial(noted, name=name))
    for index in range(2000):
        ColorJitter(0.4, 0.4, 1.4, 0.1)(picture(1, 1), generator(0, 0, index))
    torch.manual_seed(0)
    jitter = transforms.ColorJitter(0.4, 0.4, 1.4, 0.1)
    rest = [
        jitter.get_params(jitter.brightness, jitter.contrast, jitter.saturation, jitter.hue)[1:]
        for _ in range(2000)
    ]
    for name, reference in zip(
        ("brightness", "contrast", "saturation", "hue"), zip(*rest, strict=True), strict=True
    ):
        assert furthest([factor for other, factor in drawn if other == name], list(reference)) < 1, name
    orders = [tuple(name for name, _ in drawn[i : i + 4]) for i in range(0, len(drawn), 4)]
    counts = [orders.count(order) for order in set(orders)]
    assert len(counts) == 24
    assert min(counts) > 45  # 83 are expected


def test_the_affine_change_stays_within_its_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[tuple[float, ...]] = []

    def noted(
        image: Image.Image, *, angle: float, shift: tuple[float, float], scale: float, shear: float
    ) -> Image.Image:
        drawn.append((angle, *shift, scale, shear))
        return image

    monkeypatch.setattr(augmentations, "affine", noted)
    for index in range(500):
        RandomAffine(15, 0.1, (0.8, 1.2), 12)(Image.new("L", (20, 10)), generator(0, 0, index))
    columns = zip(*drawn, strict=True)
    for values, (low, high) in zip(
        columns, [(-15, 15), (-2, 2), (-1, 1), (0.8, 1.2), (-12, 12)], strict=True
    ):
        assert low <= min(values) < low + 0.05 * (high - low)
        assert high - 0.05 * (high - low) < max(values) <= high
