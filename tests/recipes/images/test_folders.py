"""Folders of images: each real folder once, what is left out is counted, and splits are known by any name."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from align_uniform.recipes.images.folders import class_folders, find_pictures, split_folder, split_of
from tests.recipes.images.small_sets import write_folder

PLAIN = ["cat/1.png", "dog/1.png", "dog/2.png", "dog/deep/3.png"]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of four pictures, with nothing odd in it."""
    write_folder(tmp_path / "photos", PLAIN)
    return tmp_path / "photos"


def found_in(folder: Path) -> list[str]:
    return [os.path.relpath(path, folder) for path in find_pictures(folder).paths]


@pytest.mark.parametrize(
    "links",
    [
        {"latest": "."},
        {"latest": ".", "dog/again": "."},
        {"up": ".."},
        {"a": "dog"},
        {"a": "dog/deep", "b": "dog/deep"},
        {"self": "self"},
        {"one": "two", "two": "one"},
        {"cat/elsewhere": "../dog"},
    ],
    ids=str,
)
def test_each_real_folder_is_read_once_and_loops_end(links: dict[str, str], photos: Path) -> None:
    for name, target in links.items():
        (photos / name).symlink_to(target)
    assert found_in(photos) == PLAIN
    assert sum(find_pictures(photos).left_out.values()) == len(links)


@pytest.mark.parametrize("target", [".", "..", "dog", "self"])
def test_links_that_only_repeat_are_no_classes(target: str, photos: Path) -> None:
    (photos / "self").symlink_to(target)
    assert class_folders(photos) == ["cat", "dog"]


def test_links_to_other_places_are_followed_once(photos: Path, tmp_path: Path) -> None:
    write_folder(tmp_path, ["elsewhere/9.png"])
    (tmp_path / "elsewhere/back").symlink_to(photos)
    for name in ("one", "two"):
        (photos / name).symlink_to("../elsewhere")
    assert found_in(photos) == [*PLAIN, "one/9.png"]
    assert find_pictures(photos).left_out == {"links to folders that are read already": 2}
    assert class_folders(photos) == ["cat", "dog", "one"]


def test_what_is_left_out_is_counted(photos: Path) -> None:
    write_folder(photos, [".ipynb_checkpoints/1.png", "__MACOSX/1.png", "dog/@eaDir/1.png", "cat/._1.png"])
    for name in ("a.gif", "b.GIF", "c.heic", "Thumbs.db", "README"):
        (photos / "cat" / name).write_text("x")
    (photos / "gone.png").symlink_to("nowhere")
    os.mkfifo(photos / "cat/pipe.png")
    (note,) = find_pictures(photos).notes
    assert note == (
        f"{photos}: left out .db files (1), .gif files (2), .heic files (1), files without an ending (1), "
        "hidden files (1), hidden folders (3), links to nothing (1), special files (1); pictures end in "
        ".bmp, .jpeg, .jpg, .pgm, .png, .ppm, .tif, .tiff, .webp."
    )
    assert found_in(photos) == PLAIN


def test_nothing_is_said_of_a_folder_of_pictures_alone(photos: Path) -> None:
    assert find_pictures(photos).notes == ()


def test_a_folder_that_cannot_be_read_is_named(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scan = os.scandir

    def refuse(place: str) -> object:
        if str(place).endswith("deep"):
            raise PermissionError(13, "Permission denied", place)
        return scan(place)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(PermissionError, match=r"deep cannot be read \(Permission denied\); make it readable"):
        find_pictures(photos)


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train", "train"), ("Train", "train"), ("TRAINING", "train"), ("val", "val"), ("valid", "val"),
        ("Validation", "val"), ("Test", "test"), ("testing", "test"), ("cat", None), ("trains", None),
    ],
)  # fmt: skip
def test_splits_are_known_by_their_common_names(name: str, split: str | None, tmp_path: Path) -> None:
    assert split_of(name) == split
    (tmp_path / name).mkdir()
    (tmp_path / "other.txt").touch()
    for each in ("train", "val", "test"):
        assert split_folder(tmp_path, each) == (tmp_path / name if each == split else None)


def test_two_folders_of_one_split_are_refused_but_not_a_link(tmp_path: Path) -> None:
    (tmp_path / "val").mkdir()
    (tmp_path / "valid").symlink_to("val")
    assert split_folder(tmp_path, "val") == tmp_path / "val"
    (tmp_path / "Validation").mkdir()
    with pytest.raises(ValueError, match=r"has Validation, val, valid, of which only one can be .*; rename"):
        split_folder(tmp_path, "val")
    assert split_folder(tmp_path / "nowhere", "val") is None
