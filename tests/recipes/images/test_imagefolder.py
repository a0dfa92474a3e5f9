"""Folders of images are read, with labels that test images share; what is missing is told."""

from __future__ import annotations

from pathlib import Path

import pytest
from torchvision import datasets as torchvision_datasets  # type: ignore[import-untyped]  # it is not typed

from align_uniform.recipes.images.datasets import load
from tests.recipes.images.small_sets import write_folder


def test_an_image_folder_is_read_as_torchvision_reads_it(tmp_path: Path) -> None:
    write_folder(
        tmp_path, ["train/dog/b.JPG", "train/dog/deep/a.png", "train/cat/1.bmp", "train/.hidden/x.png"]
    )
    (tmp_path / "train" / "cat" / "notes.txt").write_text("not an image")
    ours = load("imagefolder", tmp_path, "train")
    (tmp_path / "train" / ".hidden" / "x.png").unlink()
    (tmp_path / "train" / ".hidden").rmdir()
    theirs = torchvision_datasets.ImageFolder(tmp_path / "train")
    assert list(ours.classes) == theirs.classes
    assert ours.labels.tolist() == theirs.targets
    assert [image.tobytes() for image, _ in theirs] == [ours[i].tobytes() for i in range(len(ours))]
    assert {ours[i].mode for i in range(len(ours))} == {"RGB"}


@pytest.mark.parametrize(("there", "asked"), [("val", "val"), ("val", "test"), ("test", "val")])
def test_labels_of_test_images_are_those_of_the_training_classes(
    tmp_path: Path, there: str, asked: str
) -> None:
    write_folder(tmp_path, ["train/ant/1.png", "train/bee/1.png", "train/cow/1.png", f"{there}/cow/1.png"])
    assert load("imagefolder", tmp_path, asked).labels.tolist() == [
        2
    ]  # torchvision's ImageFolder alone would say 0
    write_folder(tmp_path, [f"{there}/yak/1.png"])
    with pytest.raises(
        ValueError, match=r"classes that .*train lacks: yak; every class needs a folder there"
    ):
        load("imagefolder", tmp_path, asked)


def test_what_an_image_folder_lacks_is_told(tmp_path: Path) -> None:
    with pytest.raises(
        FileNotFoundError, match=r"has no folder train with a folder of images for each class"
    ):
        load("imagefolder", tmp_path, "val")
    write_folder(tmp_path, ["train/ant/1.png"])
    with pytest.raises(FileNotFoundError, match="has no folder val, or test, with a folder"):
        load("imagefolder", tmp_path, "val")
    (tmp_path / "train" / "bee").mkdir()
    with pytest.raises(ValueError, match=r"bee has no image \(.bmp, "):
        load("imagefolder", tmp_path, "train")
    with pytest.raises(ValueError, match="cannot be downloaded"):
        load("imagefolder", tmp_path, "train", download=True)
