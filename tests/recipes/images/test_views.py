"""Views: torchvision's pixels, from the same distributions, and a function of seed, epoch, sample and view
alone.
"""

from __future__ import annotations

import pickle
import random
from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.utils.data import DataLoader
from torchvision import transforms  # type: ignore[import-untyped]  # it is not typed

from align_uniform.recipes.encoders.options import ViewsPreset
from align_uniform.recipes.images.augmentations import (
    ColorJitter,
    RandomBlur,
    RandomFlip,
    RandomGrayscale,
    RandomResizedCrop,
)
from align_uniform.recipes.images.image_set import ImageSet
from align_uniform.recipes.images.sampler import EvalSampler, GlobalBatchSampler
from align_uniform.recipes.images.statistics import STATISTICS, Statistics
from align_uniform.recipes.images.views import (
    LabelledViews,
    Transform,
    TwoViews,
    evaluation_transform,
    generator,
    training_transform,
)
from tests.recipes.images.small_sets import picture


def image_set(count: int = 10, mode: str = "RGB") -> ImageSet:
    return ImageSet("x", [picture(mode=mode) for _ in range(count)], torch.arange(count) % 3, ("a", "b", "c"))


# -------------------------------------------------------------------------------------------- pixels, exactly


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_the_tensor_is_torchvisions_to_the_last_bit(mode: str) -> None:
    statistics = STATISTICS["stl10"] if mode == "RGB" else STATISTICS["digits"]
    image = picture(30, 20, mode)
    reference = transforms.Normalize(*statistics)(transforms.ToTensor()(image))
    ours = Transform((), statistics)(image, random.Random())
    assert torch.equal(ours, reference)
    assert ours.is_contiguous()


# ---------------------------------------------------------------------------------------------------- presets


@pytest.mark.parametrize(
    ("preset", "mode", "shape"),
    [
        ("stl10", "RGB", (3, 64, 64)),
        ("moco-v1", "RGB", (3, 224, 224)),
        ("moco-v2", "RGB", (3, 224, 224)),
        ("fashion-mnist", "L", (1, 28, 28)),
        ("cifar10", "RGB", (3, 32, 32)),
        ("digits", "L", (1, 16, 16)),
    ],
)
def test_every_preset_gives_views_of_its_shape_or_of_the_size_asked_for(
    preset: str, mode: str, shape: tuple[int, int, int]
) -> None:
    image = picture(16, 16, mode) if preset == "digits" else picture(mode=mode)
    view = training_transform(preset)(image, generator(0, 0, 0))
    assert view.shape == shape
    assert view.dtype == torch.float32
    assert training_transform(preset, size=20)(image, generator(0, 0, 0)).shape == (shape[0], 20, 20)
    other = Statistics((0.5,) * shape[0], (0.25,) * shape[0])
    plain = Statistics((0.0,) * shape[0], (1.0,) * shape[0])
    scaled = (training_transform(preset, statistics=plain)(image, generator(0, 0, 0)) - 0.5) / 0.25
    torch.testing.assert_close(
        training_transform(preset, statistics=other)(image, generator(0, 0, 0)), scaled
    )


def test_the_steps_of_the_presets_are_those_of_the_papers() -> None:
    jitter = ColorJitter(0.4, 0.4, 0.4, 0.4)
    assert training_transform("stl10").steps == (
        RandomResizedCrop(64, (0.08, 1.0)),
        RandomFlip(),
        jitter,
        RandomGrayscale(0.2),
    )
    assert training_transform("moco-v1").steps == (
        RandomResizedCrop(224, (0.2, 1.0)),
        RandomGrayscale(0.2),
        jitter,
        RandomFlip(),
    )
    assert training_transform("moco-v2").steps == (
        RandomResizedCrop(224, (0.2, 1.0)),
        ColorJitter(0.4, 0.4, 0.4, 0.1, p=0.8),
        RandomGrayscale(0.2),
        RandomBlur((0.1, 2.0), p=0.5),
        RandomFlip(),
    )
    assert training_transform("stl10").statistics == STATISTICS["stl10"]
    assert training_transform("moco-v2").statistics == STATISTICS["imagenet"]


@pytest.mark.parametrize(("preset", "resized", "size"), [("stl10", 70, 64), ("imagenet", 256, 224)])
def test_evaluation_resizes_and_takes_the_centre_as_torchvision_does(
    preset: str, resized: int, size: int
) -> None:
    image = picture(130, 97)
    pipeline = [transforms.Resize(resized), transforms.CenterCrop(size), transforms.ToTensor()]
    reference = transforms.Compose([*pipeline, transforms.Normalize(*STATISTICS[preset])])
    assert torch.equal(evaluation_transform(preset)(image, random.Random()), reference(image))
    assert evaluation_transform(preset, train=True).steps == (
        RandomResizedCrop(size, (0.08, 1.0)),
        RandomFlip(),
    )
    assert evaluation_transform(preset, size=32)(image, random.Random()).shape == (3, 32, 32)


def test_small_images_are_evaluated_as_they_are() -> None:
    image = picture(28, 28, "L")
    for train in (False, True):
        assert evaluation_transform("fashion-mnist", train=train).steps == ()
        assert evaluation_transform("digits", train=train)(image, random.Random()).shape == (1, 28, 28)
    assert evaluation_transform("fashion-mnist", size=32)(image, random.Random()).shape == (1, 32, 32)


def test_what_cannot_be_is_told() -> None:
    with pytest.raises(
        ValueError,
        match="no augmentation 'x'; choose from stl10, moco-v1, moco-v2, fashion-mnist, cifar10, digits",
    ):
        training_transform("x")
    with pytest.raises(
        ValueError,
        match="no evaluation transform 'x'; choose from stl10, imagenet, fashion-mnist, cifar10, digits",
    ):
        evaluation_transform("x")
    with pytest.raises(ValueError, match="size must be at least 1 pixel, got 0"):
        training_transform("stl10", size=0)
    with pytest.raises(ValueError, match="The image has 1 channel, but the statistics have 3; pass those of"):
        training_transform("stl10")(picture(mode="L"), random.Random())
    with pytest.raises(ValueError, match="must not be negative, got 0, -1, 0, 0"):
        generator(0, -1, 0)
    with pytest.raises(TypeError, match=r"requested by \(epoch, index\), got 3; use a sampler"):
        TwoViews(image_set(), training_transform("stl10"), 0)[3]  # type: ignore[index]  # the mistake that is told


# -------------------------------------------------------------------- a function of seed, epoch, sample, view


def test_a_view_follows_from_seed_epoch_sample_and_view_and_from_each_of_them() -> None:
    images, transform = image_set(), training_transform("stl10", size=16)
    first, second, index = TwoViews(images, transform, seed=1)[2, 3]
    again, _, _ = TwoViews(images, transform, seed=1)[2, 3]
    assert index == 3
    assert torch.equal(again, first)
    alike = ImageSet("x", [images[3]] * 10, images.labels, images.classes)
    for other in (
        second,
        TwoViews(images, transform, seed=2)[2, 3][0],
        TwoViews(images, transform, seed=1)[1, 3][0],
        TwoViews(alike, transform, seed=1)[2, 4][0],
    ):
        assert not torch.equal(other, first)


@given(st.sets(st.tuples(*(st.integers(0, 3) for _ in range(4))), min_size=2, max_size=40))
def test_no_two_views_share_a_generator(keys: set[tuple[int, int, int, int]]) -> None:
    assert len({generator(*key).random() for key in keys}) == len(keys)


def test_the_parameters_of_a_view_are_those_of_earlier_versions() -> None:
    """A run resumes with the views that it began with, whatever changes in how they are made."""
    crop, flip, jitter, grey = training_transform("stl10").draw((96, 96), generator(1, 2, 3, 1))
    assert (crop, flip, grey) == ((1, 12, 95, 81), (True,), (False,))
    assert jitter == pytest.approx(
        (0.378743, 1.165508, 0.798297, 1.169621, 0.188608, 1.291644, 0.739311, 0.065940),
        abs=1e-6,
    )


def seen(
    images: ImageSet, workers: int, order_seed: int, world: int = 1
) -> dict[tuple[int, int], tuple[Tensor, Tensor]]:
    """Two epochs of views by (epoch, index), of all ranks, through a loader whose workers stay."""
    found: dict[tuple[int, int], tuple[Tensor, Tensor]] = {}
    dataset = TwoViews(images, training_transform("fashion-mnist"), seed=5)
    for rank in range(world):
        sampler = GlobalBatchSampler(len(images), 6, rank=rank, world=world, seed=order_seed)
        loader = DataLoader(
            dataset, batch_sampler=sampler, num_workers=workers, persistent_workers=workers > 0
        )
        for epoch in range(2):
            sampler.set_epoch(epoch)
            for one, two, indices in loader:
                for row, index in enumerate(indices.tolist()):
                    found[epoch, index] = one[row], two[row]
    return found


def test_views_are_the_same_whatever_the_workers_the_order_and_the_ranks() -> None:
    images = image_set(12, "L")
    expected = seen(images, workers=0, order_seed=0)
    assert len(expected) == 24
    assert not torch.equal(expected[0, 0][0], expected[1, 0][0])
    for workers, order_seed, world in ((1, 0, 1), (2, 1, 1), (0, 2, 3)):
        found = seen(images, workers, order_seed, world)
        assert found.keys() == expected.keys()
        for key, pair in expected.items():
            assert torch.equal(torch.stack(pair), torch.stack(found[key])), (workers, key)


def test_the_callers_generators_are_left_alone_and_have_no_say() -> None:
    dataset = TwoViews(image_set(), training_transform("moco-v2", size=16), seed=0)
    torch.manual_seed(1)
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002  # the global generator is what must stay as it is

    def states() -> list[object]:
        return [torch.get_rng_state().tolist(), random.getstate(), str(np.random.get_state())]  # noqa: NPY002  # as above

    before = states()
    view = dataset[0, 0][0]
    assert states() == before
    torch.rand(3), random.random()
    assert torch.equal(dataset[0, 0][0], view)


def test_labelled_views_give_each_image_once_with_its_label() -> None:
    images = image_set(5)
    dataset = LabelledViews(images, evaluation_transform("stl10"))
    batches = list(DataLoader(dataset, batch_size=2, sampler=EvalSampler(5)))
    assert torch.cat([labels for _, labels, _ in batches]).tolist() == images.labels.tolist()
    assert torch.cat([indices for *_, indices in batches]).tolist() == list(range(5))
    assert torch.equal(batches[0][0][1], evaluation_transform("stl10")(images[1], random.Random()))
    cropped = LabelledViews(images, evaluation_transform("stl10", train=True), seed=3)
    assert torch.equal(cropped[1, 2][0], cropped[1, 2][0])
    assert not torch.equal(cropped[1, 2][0], cropped[2, 2][0])


def test_data_sets_can_be_sent_to_another_process() -> None:
    dataset = TwoViews(image_set(2), training_transform("stl10", size=16), seed=0)
    assert torch.equal(pickle.loads(pickle.dumps(dataset))[0, 1][0], dataset[0, 1][0])


@pytest.mark.parametrize("preset", get_args(ViewsPreset))
def test_every_preset_that_an_encoder_may_choose_is_there(preset: str) -> None:
    assert training_transform(preset, size=20).steps
