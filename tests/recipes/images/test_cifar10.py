"""CIFAR-10 is written, small, and read back; folders of pictures are read, and damaged files are told."""

from __future__ import annotations

import hashlib
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from torchvision.datasets import CIFAR10  # type: ignore[import-untyped]  # it is not typed

from align_uniform.recipes.images.cifar10 import CLASSES
from align_uniform.recipes.images.datasets import load
from align_uniform.recipes.images.image_set import path_of
from tests.recipes.images.small_sets import pixels_of, write_cifar10, write_folder


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, NDArray[np.uint8]]:
    """The pictures of a small CIFAR-10, whose checksums are those that torchvision expects."""
    found = write_cifar10(tmp_path)
    expect_these(tmp_path / "cifar-10-batches-py", monkeypatch)
    return found


def expect_these(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    md5 = {path.name: hashlib.md5(path.read_bytes()).hexdigest() for path in folder.iterdir()}
    for files in ("train_list", "test_list"):
        monkeypatch.setattr(CIFAR10, files, [[name, md5[name]] for name, _ in getattr(CIFAR10, files)])
    monkeypatch.setattr(CIFAR10, "meta", {**CIFAR10.meta, "md5": md5["batches.meta"]})


def test_cifar10_gives_the_pixels_and_labels_that_were_written(
    tmp_path: Path, written: dict[str, NDArray[np.uint8]]
) -> None:
    train, test = load("cifar10", tmp_path, "train"), load("cifar10", tmp_path, "test")
    np.testing.assert_array_equal(pixels_of(train), written["train"])
    np.testing.assert_array_equal(pixels_of(test), written["test"])
    assert train.labels.tolist() == [0, 1] * 5
    assert train.classes == CLASSES
    assert train[0].mode == "RGB"


def test_cifar10_is_downloaded(
    tmp_path: Path, server: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, url = server
    written = write_cifar10(folder)
    expect_these(folder / "cifar-10-batches-py", monkeypatch)
    archive = folder / CIFAR10.filename
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(folder / "cifar-10-batches-py", "cifar-10-batches-py")
    monkeypatch.setattr(CIFAR10, "url", url + archive.name)
    monkeypatch.setattr(CIFAR10, "tgz_md5", hashlib.md5(archive.read_bytes()).hexdigest())
    images = load("cifar10", tmp_path / "here", "test", download=True)
    np.testing.assert_array_equal(pixels_of(images), written["test"])
    archive.unlink()  # nothing can be fetched again
    again = load("cifar10", tmp_path / "here", "test", download=True)  # of which nothing is missing
    np.testing.assert_array_equal(pixels_of(again), written["test"])
    pictures = tmp_path / "pictures"
    write_folder(pictures, [f"{split}/{name}/1.png" for split in ("train", "test") for name in CLASSES])
    assert len(load("cifar10", pictures, "test", download=True)) == 10


def test_a_file_of_another_checksum_is_never_unpickled(
    tmp_path: Path, written: dict[str, NDArray[np.uint8]]
) -> None:
    assert set(written) == {"train", "test"}
    trap = tmp_path / "ran"
    command = b"cos\nmkdir\n(S'" + os.fsencode(trap) + b"'\ntR."
    (tmp_path / "cifar-10-batches-py" / "data_batch_1").write_bytes(command)
    with pytest.raises(ValueError, match=r"cifar-10-batches-py is damaged: .* checksums .*fetch it again"):
        load("cifar10", tmp_path, "train")
    assert not trap.exists()


def test_folders_of_pictures_are_cifar10_if_the_classes_are(tmp_path: Path) -> None:
    write_folder(tmp_path, [f"{split}/{name}/1.png" for split in ("train", "test") for name in CLASSES])
    images = load("cifar10", tmp_path, "test")
    assert (images.name, images.classes, images.labels.tolist()) == ("cifar10", CLASSES, list(range(10)))
    assert path_of(images.pictures, 3) == str(tmp_path / "test" / "cat" / "1.png")
    (tmp_path / "train" / "truck").rename(tmp_path / "train" / "lorry")
    (tmp_path / "test" / "truck").rename(tmp_path / "test" / "lorry")
    with pytest.raises(
        ValueError, match=r"must have the classes airplane, .* got .*lorry, ship; name the folders so"
    ):
        load("cifar10", tmp_path, "test")
    with pytest.raises(FileNotFoundError, match=r"CIFAR-10 \(test\) is not in .*nowhere: neither"):
        load("cifar10", tmp_path / "nowhere", "test")
