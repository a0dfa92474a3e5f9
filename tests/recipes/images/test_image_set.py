"""Sets of images: cut, sent, read, and their statistics."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from align_uniform.recipes.images.datasets import load
from align_uniform.recipes.images.image_set import ImageSet, drawn_evenly, measure_statistics
from tests.recipes.images.small_sets import write_folder, write_stl10


def test_a_set_can_be_sent_to_another_process_and_cut(tmp_path: Path) -> None:
    write_stl10(tmp_path)
    images = load("stl10", tmp_path, "train+unlabeled")
    sent = pickle.dumps(images)
    assert len(sent) < 10_000  # no pixels in it
    part = pickle.loads(sent).subset([6, 1])
    assert part.labels.tolist() == [-1, 1]
    assert [part[i].tobytes() for i in (0, 1)] == [images[i].tobytes() for i in (6, 1)]


def test_a_set_needs_as_many_labels_as_images() -> None:
    with pytest.raises(ValueError, match="x has 1 image and 2 labels"):
        ImageSet("x", [Image.new("L", (1, 1))], torch.zeros(2, dtype=torch.int64), ())


def test_a_file_that_is_no_image_is_named(tmp_path: Path) -> None:
    write_folder(tmp_path, ["train/ant/1.png"])
    (tmp_path / "train" / "ant" / "2.png").write_text("no image")
    with pytest.raises(ValueError, match=r"2\.png cannot be read as an image"):
        load("imagefolder", tmp_path, "train")[1]


def test_statistics_are_those_of_all_pixels_for_images_of_one_size(tmp_path: Path) -> None:
    written = write_stl10(tmp_path)
    pixels = written["train"].reshape(-1, 3) / 255
    mean, std = measure_statistics(load("stl10", tmp_path, "train"))
    np.testing.assert_allclose(mean, pixels.mean(0))
    np.testing.assert_allclose(std, pixels.std(0))


def test_images_count_the_same_in_the_statistics_whatever_their_size() -> None:
    pictures = [Image.new("L", (20, 20), 255), Image.new("L", (2, 3), 0)]
    images = ImageSet("x", pictures, torch.zeros(2, dtype=torch.int64), ())
    assert measure_statistics(images) == ((0.5,), (0.5,))
    with pytest.raises(ValueError, match="A channel of x has one value in all 1 image read"):
        measure_statistics(images, at_most=1)
    with pytest.raises(ValueError, match="x has no image"):
        measure_statistics(images.subset([]))


def labelled(*labels: int) -> ImageSet:
    """A set of images whose numbers are their widths."""
    pictures = [Image.new("L", (width + 1, 1)) for width in range(len(labels))]
    return ImageSet("x", pictures, torch.tensor(labels), tuple("abcdefghij"))


def widths_of(images: ImageSet) -> list[int]:
    return [images[row].width for row in range(len(images))]


@pytest.mark.parametrize("limit", [10, 20, 30])
def test_a_limit_is_drawn_evenly_over_sorted_classes(limit: int) -> None:
    images = labelled(*[label for label in range(10) for _ in range(5)])
    drawn = drawn_evenly(images, limit, seed=0)
    assert torch.bincount(drawn.labels).tolist() == [limit // 10] * 10
    widths = widths_of(drawn)
    assert widths == sorted(set(widths))


def test_a_limit_takes_what_small_classes_have_and_the_rest_of_others() -> None:
    images = labelled(*[0] * 50, *[1] * 10, *[2] * 2)
    assert torch.bincount(drawn_evenly(images, 30, seed=0).labels).tolist() == [18, 10, 2]
    assert torch.bincount(drawn_evenly(images, 2, seed=0).labels).max() == 1
    assert drawn_evenly(images, 62, seed=0) is images


def test_images_without_a_label_keep_their_share() -> None:
    images = labelled(*[0] * 10, *[1] * 10, *[-1] * 80)
    labels = drawn_evenly(images, 20, seed=0).labels
    assert [(labels == label).sum() for label in (-1, 0, 1)] == [16, 2, 2]


def test_a_draw_is_of_its_seed() -> None:
    images = labelled(*[label for label in range(10) for _ in range(5)])
    first, again, other = (widths_of(drawn_evenly(images, 20, seed)) for seed in (0, 0, 1))
    assert first == again != other


def test_an_image_is_described_by_its_file_or_else_by_its_class(tmp_path: Path) -> None:
    write_folder(tmp_path, ["train/ant/1.png", "train/bee/1.png"])
    files = load("imagefolder", tmp_path, "train").subset([1]).subset([0])
    assert files.described(0) == f"{tmp_path}/train/bee/1.png"
    assert [labelled(1, -1).described(row) for row in (0, 1)] == ["b", ""]
