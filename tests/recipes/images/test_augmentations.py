"""Augmentations: torchvision's pixels, and parameters from the same distributions."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torchvision.transforms.functional as theirs  # type: ignore[import-untyped]  # it is not typed
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageFilter
from torchvision import transforms

from align_uniform.recipes.images import colours
from align_uniform.recipes.images.augmentations import (
    CenterCrop,
    ColorJitter,
    Pixels,
    RandomAffine,
    RandomBlur,
    RandomFlip,
    RandomGrayscale,
    RandomResizedCrop,
    Resize,
    as_image,
    as_planes,
)
from align_uniform.recipes.images.colours import Planes
from align_uniform.recipes.images.views import generator
from tests.recipes.images.small_sets import picture


def equal(ours: Pixels, reference: Image.Image) -> None:
    image = as_image(ours)
    assert image.mode == reference.mode
    np.testing.assert_array_equal(np.asarray(image), np.asarray(reference))


def changed(image: Image.Image, change: Callable[[Planes, Any], None], by: float) -> Planes:
    planes = as_planes(image)
    change(planes, by)
    return planes


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
    equal(changed(image, colours.brighten, factor), theirs.adjust_brightness(image, factor))
    equal(changed(image, colours.change_contrast, factor), theirs.adjust_contrast(image, factor))
    equal(changed(image, colours.saturate, factor), theirs.adjust_saturation(image, factor))
    equal(changed(image, colours.turn_hue, colours.hue_steps(turn)), theirs.adjust_hue(image, turn))


def test_colours_of_a_large_image_are_torchvisions() -> None:
    image = Image.fromarray(np.full((300, 300, 3), 253, np.uint8))  # their sum is no float32
    image.paste((255, 254, 250), (0, 0, 300, 20))
    equal(changed(image, colours.change_contrast, 1.5), theirs.adjust_contrast(image, 1.5))


def test_all_hues_are_torchvisions() -> None:
    """A grid of all colours, with grey among them, and its neighbours."""
    levels = np.unique(np.concatenate([np.arange(0, 256, 9), np.arange(1, 256, 17)])).astype(np.uint8)
    grid = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), axis=-1).reshape(len(levels), -1, 3)
    image = Image.fromarray(grid)
    for turn in (-0.5, -0.3, -0.1, 0.0, 0.004, 0.2, 0.5):
        equal(changed(image, colours.turn_hue, colours.hue_steps(turn)), theirs.adjust_hue(image, turn))


@given(
    seed=st.integers(0, 2**32), width=st.integers(8, 60), height=st.integers(8, 60), size=st.integers(8, 40)
)
def test_a_crop_and_its_resizing_are_torchvisions(seed: int, width: int, height: int, size: int) -> None:
    image, crop = picture(width, height), RandomResizedCrop(size, (0.08, 1.0))
    left, top, w, h = crop.draw((width, height), random.Random(seed))
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
    planes = as_planes(image)
    equal(RandomFlip()(planes, Fixed(0.49)), theirs.hflip(image))
    equal(RandomBlur()(planes, Fixed(0.4, 0.5)), image.filter(ImageFilter.GaussianBlur(1.05)))
    assert ColorJitter(0.4, p=0.8)(image, Fixed(0.81)) is image
    equal(ColorJitter(0.4, p=0.8)(image, Fixed(0.79, 0, 1)), theirs.adjust_brightness(image, 1.4))


@given(st.floats(-30, 30), st.floats(-5, 5), st.floats(-5, 5), st.floats(0.8, 1.2), st.floats(-15, 15))
def test_an_affine_change_is_torchvisions(
    angle: float, dx: float, dy: float, scale: float, shear: float
) -> None:
    image = picture(24, 20, "L")
    # theirs shifts by whole pixels in its own interface, but takes any number
    reference = theirs.affine(image, angle, [dx, dy], scale, [shear, 0.0], theirs.InterpolationMode.BILINEAR)
    ours = RandomAffine(0, 0, (1, 1), 0).apply(image, (angle, dx, dy, scale, shear))
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
    boxes = np.array([RandomResizedCrop(64, scale).draw((96, 64), generator(0, 0, i)) for i in range(4000)])
    reference = [transforms.RandomResizedCrop.get_params(image, scale, (3 / 4, 4 / 3)) for _ in range(3000)]
    top, left, height, width = np.array(reference).T
    for mine, other in zip(boxes.T, (left, top, width, height), strict=True):
        assert furthest(mine.tolist(), other.tolist()) < 1


def test_a_very_long_image_is_cropped_as_torchvision_does() -> None:
    for width, height in ((400, 4), (4, 400)):
        top, left, h, w = transforms.RandomResizedCrop.get_params(
            Image.new("L", (width, height)), (0.9, 1.0), (3 / 4, 4 / 3)
        )
        assert RandomResizedCrop(8, (0.9, 1.0)).draw((width, height), random.Random(0)) == (
            left,
            top,
            w,
            h,
        )


def test_colour_jitter_draws_factors_as_torchvision_does_and_every_order() -> None:
    jitter = ColorJitter(0.4, 0.4, 1.4, 0.1)
    drawn = np.array([jitter.draw((1, 1), generator(0, 0, index)) for index in range(2000)])
    torch.manual_seed(0)
    reference = transforms.ColorJitter(0.4, 0.4, 1.4, 0.1)
    limits = reference.brightness, reference.contrast, reference.saturation, reference.hue
    rest = np.array([reference.get_params(*limits)[1:] for _ in range(2000)])
    for which in range(4):
        assert furthest(drawn[:, 2 * which + 1].tolist(), rest[:, which].tolist()) < 1, which
    orders, counts = np.unique(drawn[:, ::2].argsort(axis=1), axis=0, return_counts=True)
    assert len(orders) == 24
    assert min(counts) > 45  # 83 are expected


def test_colours_change_in_the_order_that_was_drawn_and_those_without_a_place_do_not() -> None:
    image = picture(20, 20)
    expected = theirs.adjust_brightness(theirs.adjust_contrast(theirs.adjust_hue(image, 0.3), 1.3), 1.4)
    drawn = (0.9, 1.4, 0.5, 1.3, -1.0, 0.0, 0.1, 0.3)
    equal(ColorJitter().apply(image, drawn), expected)
    assert ColorJitter().apply(image, (-1.0, 0.0) * 4) is image
    assert ColorJitter(0.4).draw((1, 1), Fixed(0.2, 0.5))[2:] == (-1.0, 0.0) * 3


def test_the_affine_change_stays_within_its_limits() -> None:
    change = RandomAffine(15, 0.1, (0.8, 1.2), 12)
    columns = np.array([change.draw((20, 10), generator(0, 0, index)) for index in range(500)]).T
    for values, (low, high) in zip(
        columns, [(-15, 15), (-2, 2), (-1, 1), (0.8, 1.2), (-12, 12)], strict=True
    ):
        assert low <= min(values) < low + 0.05 * (high - low)
        assert high - 0.05 * (high - low) < max(values) <= high
