"""The digits: one split, as images and as tensors, and views of the tensors."""

from __future__ import annotations

import pytest
import torch
import torchvision.transforms.functional as theirs  # type: ignore[import-untyped]  # it is not typed

from align_uniform.recipes.images import digits
from align_uniform.recipes.images.datasets import load
from align_uniform.recipes.images.digits import load_tensors, random_views
from tests.recipes.images.small_sets import pixels_of


def test_digits_are_those_of_the_demo() -> None:
    images, tensors = load("digits", "", "test"), load_tensors().test
    torch.testing.assert_close(
        torch.from_numpy(pixels_of(images)) / 255, tensors.images.squeeze(1), atol=0.501 / 255, rtol=0
    )
    assert torch.equal(images.labels, tensors.labels)
    assert images[0].mode == "L"
    assert (len(load("digits", "", "train")), len(images)) == (1437, 360)


def test_the_digits_are_split_the_same_way_every_time_and_no_image_is_in_both() -> None:
    one, two = load_tensors(), load_tensors()
    assert one.train.images.shape == (1437, 1, 16, 16)
    assert one.test.images.shape == (360, 1, 16, 16)
    assert torch.equal(one.test.images, two.test.images)
    assert one.train.images.min() == 0
    assert one.train.images.max() == 1
    assert torch.bincount(one.test.labels).min() >= 34  # every class is among the test images alike
    train, test = (
        {tuple(image.flatten().tolist()) for image in part.images} for part in (one.train, one.test)
    )
    assert not train & test


def test_views_differ_between_images_and_between_calls_and_repeat_with_the_seed() -> None:
    images = load_tensors().train.images[:1].expand(4, -1, -1, -1)
    torch.manual_seed(0)
    first, second = random_views(images), random_views(images)
    torch.manual_seed(0)
    assert torch.equal(random_views(images), first)
    assert not torch.allclose(first, second)
    assert not torch.allclose(first[0], first[1])
    assert first.shape == images.shape


def test_tensors_are_changed_as_torchvision_changes_them() -> None:
    torch.manual_seed(0)
    images = torch.rand(20, 2, 16, 24)
    angle, shear, x, y = torch.rand(4, 20) * 30 - 15
    scale = torch.rand(20) * 0.4 + 0.8
    ours = digits.affine(images, angle=angle, shift=torch.stack([x, y]) / 4, scale=scale, shear=shear)
    for i in range(20):
        reference = theirs.affine(
            images[i], float(angle[i]), [float(x[i]) / 4, float(y[i]) / 4], float(scale[i]),
            [float(shear[i]), 0.0], theirs.InterpolationMode.BILINEAR,
        )  # fmt: skip
        torch.testing.assert_close(ours[i], reference, atol=2e-4, rtol=0)


def test_random_views_stay_within_their_limits_and_reach_them(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: dict[str, torch.Tensor] = {}

    def noted(images: torch.Tensor, **parameters: torch.Tensor) -> torch.Tensor:
        drawn.update(parameters)
        return images

    monkeypatch.setattr(digits, "affine", noted)
    torch.manual_seed(0)
    flat = random_views(torch.full((2000, 1, 10, 20), 0.5)).flatten(1)
    x, y = drawn["shift"]
    light = flat.mean(1) - 0.5
    for values, limit, centre in (
        (drawn["angle"], 15, 0), (drawn["shear"], 12, 0), (drawn["scale"], 0.2, 1),
        (x, 2.4, 0), (y, 1.2, 0), (light, 0.3, 0),
    ):  # fmt: skip
        assert 0.97 * limit < (values - centre).abs().max() < 1.05 * limit
        assert abs(values.mean() - centre) < 0.05 * limit
    assert flat.std(1).mean() == pytest.approx(0.05, rel=0.02)


def test_views_of_half_precision_are_of_half_precision() -> None:
    assert random_views(torch.rand(3, 1, 8, 8).bfloat16()).dtype == torch.bfloat16
