"""Folders of images are read, with labels that test images share; what is missing is told."""

from __future__ import annotations

from pathlib import Path

import pytest
from torchvision import datasets as torchvision_datasets  # type: ignore[import-untyped]  # it is not typed

from align_uniform.recipes.images.datasets import load, load_on_all_ranks
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
    with pytest.raises(ValueError, match=r"bee has no image of its own \(.bmp, "):
        load("imagefolder", tmp_path, "train")
    with pytest.raises(ValueError, match="cannot be downloaded"):
        load("imagefolder", tmp_path, "train", download=True)


@pytest.mark.parametrize("names", [("Train", "Validation"), ("training", "valid"), ("TRAIN", "Test")])
def test_splits_have_any_of_their_common_names(names: tuple[str, str], tmp_path: Path) -> None:
    write_folder(tmp_path, [f"{names[0]}/ant/1.png", f"{names[0]}/bee/1.png", f"{names[1]}/bee/2.png"])
    assert load("imagefolder", tmp_path, "train").labels.tolist() == [0, 1]
    assert load("imagefolder", tmp_path, "val").labels.tolist() == [1]


def test_links_and_folders_of_systems_are_no_classes(tmp_path: Path) -> None:
    write_folder(tmp_path, ["train/ant/1.png", "train/bee/1.png", "train/__MACOSX/1.png"])
    (tmp_path / "train/latest").symlink_to(".")
    (tmp_path / "train/ant/bees").symlink_to("../bee")
    found = load("imagefolder", tmp_path, "train")
    assert (found.classes, found.labels.tolist()) == (("ant", "bee"), [0, 1])


def test_pictures_in_no_folder_of_a_class_are_no_test_images(tmp_path: Path) -> None:
    """As ImageNet's archive of validation images unpacks."""
    write_folder(tmp_path, ["train/ant/1.png", "val/1.png", "val/2.png"])
    with pytest.raises(ValueError, match=r"val has no picture in a folder of a class; move each .*val/ant\."):
        load("imagefolder", tmp_path, "val")


def test_what_is_left_out_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_folder(tmp_path, ["train/ant/1.png", "train/bee/1.png", "train/stray.png", "val/bee/1.png"])
    (tmp_path / "train/ant/2.heic").touch()
    for split in ("train", "val"):
        load_on_all_ranks("imagefolder", tmp_path, split)
    assert capsys.readouterr().err.splitlines() == [
        f"{tmp_path}/train: left out .heic files (1); pictures end in .bmp, .jpeg, .jpg, .pgm, .png, .ppm, "
        ".tif, .tiff, .webp.",
        f"{tmp_path}/train: left out pictures in no folder of a class (1): stray.png.",
        f"{tmp_path}/val: classes without a picture (1 of 2): ant.",
    ]
