"""Sets of images: cut, sent, read, and their statistics."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from align_uniform.recipes.images.datasets import load
from align_uniform.recipes.images.image_set import ImageSet, measure_statistics
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
    with pytest.raises(ValueError, match="x has 1 images and 2 labels"):
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
    with pytest.raises(ValueError, match="A channel of x has one value in all 1 images read"):
        measure_statistics(images, at_most=1)
    with pytest.raises(ValueError, match="x has no image"):
        measure_statistics(images.subset([]))
