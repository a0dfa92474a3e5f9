"""STL-10 is written, small, and read back; missing and damaged files are told."""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torchvision import datasets as torchvision_datasets  # type: ignore[import-untyped]  # it is not typed

from align_uniform.recipes.images.datasets import load
from tests.recipes.images.small_sets import pixels_of, write_stl10


@pytest.mark.parametrize("names", [True, False])
def test_stl10_gives_the_pixels_and_labels_that_were_written(tmp_path: Path, names: bool) -> None:
    written = write_stl10(tmp_path, names)
    train, test, everything = (
        load("stl10", tmp_path, split) for split in ("train", "test", "train+unlabeled")
    )
    np.testing.assert_array_equal(pixels_of(train), written["train"])
    np.testing.assert_array_equal(pixels_of(test), written["test"])
    np.testing.assert_array_equal(
        pixels_of(everything), np.concatenate([written["train"], written["unlabeled"]])
    )
    np.testing.assert_array_equal(np.asarray(everything[-1]), written["unlabeled"][-1])
    assert everything.labels.tolist() == [0, 1, 2, 3, 4, -1, -1, -1]
    assert everything.labels.dtype == torch.int64
    assert train.classes[::9] == ("airplane", "truck")
    assert train[0].mode == "RGB"
    with pytest.raises(IndexError, match="no image 8 of 8"):
        everything[8]


def test_stl10_is_read_as_torchvision_reads_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_stl10(tmp_path)
    monkeypatch.setattr(torchvision_datasets.STL10, "_check_integrity", lambda _: True)
    theirs, ours = (
        torchvision_datasets.STL10(tmp_path, "train+unlabeled"),
        load("stl10", tmp_path, "train+unlabeled"),
    )
    assert [label for _, label in theirs] == ours.labels.tolist()
    assert list(ours.classes) == theirs.classes
    for (image, _), index in zip(theirs, range(len(ours)), strict=True):
        assert image.tobytes() == ours[index].tobytes()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            lambda f: (f / "train_X.bin").write_bytes(b"0" * 1000),
            r"train_X.bin is damaged: its 1,000 bytes .* 96\*96\*3",
        ),
        (lambda f: (f / "train_X.bin").write_bytes(b""), "train_X.bin is damaged: its 0 bytes"),
        (
            lambda f: (f / "train_y.bin").write_bytes(b"\1" * 4),
            "train_y.bin is damaged: it has 4 labels for 5 images",
        ),
        (
            lambda f: (f / "train_y.bin").write_bytes(b"\0" * 5),
            "its labels are 0 to 0 where 1 to 10 are expected",
        ),
        (
            lambda f: (f / "unlabeled_X.bin").write_bytes(b"0" * 27_649),
            "unlabeled_X.bin is damaged: its 27,649 bytes",
        ),
    ],
)
def test_damaged_stl10_files_are_told(tmp_path: Path, damage: Callable[[Path], object], message: str) -> None:
    write_stl10(tmp_path)
    damage(tmp_path / "stl10_binary")
    with pytest.raises(ValueError, match=message):
        load("stl10", tmp_path, "train+unlabeled")


TRAPS = ("../trap", "stl10_binary/../trap", "stl10_binary/inner/trap")
"""Names outside of the folder, or deeper in it than STL-10's files are."""


def serve_stl10(folder: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, NDArray[np.uint8]]:
    """Make an archive of a small STL-10, and torchvision's address and checksums those of it."""
    written = write_stl10(folder)
    (folder / "stl10_binary" / "test_X.bin").chmod(0o750)
    archive = folder / "served.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(folder / "stl10_binary", "stl10_binary")
        for name in TRAPS:
            tar.add(folder / "stl10_binary" / "test_y.bin", name)
        link = tarfile.TarInfo("stl10_binary/link")
        link.type, link.linkname = tarfile.SYMTYPE, "../.."
        tar.addfile(link)
    md5 = {
        path.name: hashlib.md5(path.read_bytes()).hexdigest() for path in (folder / "stl10_binary").iterdir()
    }
    monkeypatch.setattr(torchvision_datasets.STL10, "url", url + archive.name)
    monkeypatch.setattr(torchvision_datasets.STL10, "tgz_md5", hashlib.md5(archive.read_bytes()).hexdigest())
    for files in ("train_list", "test_list"):
        monkeypatch.setattr(
            torchvision_datasets.STL10,
            files,
            [[name, md5[name]] for name, _ in getattr(torchvision_datasets.STL10, files)],
        )
    return written


def test_stl10_is_downloaded_once_and_what_else_is_in_the_folder_stays(
    tmp_path: Path, server: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    written = serve_stl10(*server, monkeypatch)
    monkeypatch.delattr(tarfile, "data_filter")  # as in Python 3.10.11
    root = tmp_path / "here"
    (root / "stl10_binary").mkdir(parents=True)
    (root / "stl10_binary" / "notes").write_text("mine")
    np.testing.assert_array_equal(pixels_of(load("stl10", root, "test", download=True)), written["test"])
    assert (root / "stl10_binary" / "notes").read_text() == "mine"
    modes = {path.name: path.stat().st_mode for path in (root / "stl10_binary").iterdir()}
    assert set(modes.values()) == {modes["notes"]}, "not those that the umask gives"
    assert not list(root.glob(".*"))
    assert not [*tmp_path.rglob("trap"), *tmp_path.rglob("link")]
    monkeypatch.setattr(torchvision_datasets.STL10, "url", "http://127.0.0.1:1/")
    assert len(load("stl10", root, "train", download=True)) == 5


def test_a_download_of_other_content_is_refused_and_leaves_no_data(
    tmp_path: Path, server: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    serve_stl10(*server, monkeypatch)
    monkeypatch.setattr(torchvision_datasets.STL10, "test_list", [["test_X.bin", "0" * 32]])
    with pytest.raises(ValueError, match=r"test_X.bin in it does not have the checksum 0000"):
        load("stl10", tmp_path, "test", download=True)
    monkeypatch.setattr(torchvision_datasets.STL10, "tgz_md5", "0" * 32)
    (tmp_path / torchvision_datasets.STL10.filename).unlink()
    with pytest.raises(
        OSError, match=r"served.tar.gz could not be fetched \(.*\); fetch it in another way and put it at"
    ):
        load("stl10", tmp_path, "test", download=True)
    assert not (tmp_path / "stl10_binary").exists()
