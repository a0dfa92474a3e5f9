"""Fashion-MNIST is written, small, and read back; missing and damaged files are told."""

from __future__ import annotations

import gzip
import hashlib
from pathlib import Path

import numpy as np
import pytest
from torchvision import datasets as torchvision_datasets  # type: ignore[import-untyped]  # it is not typed

from align_uniform.recipes.images.datasets import load
from tests.recipes.images.small_sets import idx, pixels_of, random_images, write_fashion_mnist


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("place", ["data/FashionMNIST/raw", "data", "debian"])
def test_fashion_mnist_is_found_packed_or_not_in_each_of_its_places(
    tmp_path: Path, place: str, packed: bool
) -> None:
    written = write_fashion_mnist(tmp_path / place, packed)
    for split, prefix in (("train", "train"), ("test", "t10k")):
        images = load("fashion-mnist", tmp_path / "data", split)
        np.testing.assert_array_equal(pixels_of(images), written[prefix])
        assert images.labels.tolist() == [i % 10 for i in range(len(images))]
        assert images[0].mode == "L"
    assert images.classes[9] == "Ankle boot"


def test_fashion_mnist_is_read_as_torchvision_reads_it(tmp_path: Path) -> None:
    write_fashion_mnist(tmp_path / "FashionMNIST" / "raw", packed=False)
    theirs, ours = (
        torchvision_datasets.FashionMNIST(tmp_path, train=False),
        load("fashion-mnist", tmp_path, "test"),
    )
    assert list(ours.classes) == theirs.classes
    assert [label for _, label in theirs] == ours.labels.tolist()
    assert [image.tobytes() for image, _ in theirs] == [ours[i].tobytes() for i in range(len(ours))]


def test_fashion_mnist_is_downloaded(
    tmp_path: Path, server: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    written = write_fashion_mnist(server[0], packed=True)
    md5 = {path.name: hashlib.md5(path.read_bytes()).hexdigest() for path in server[0].iterdir()}
    monkeypatch.setattr(torchvision_datasets.FashionMNIST, "mirrors", [server[1]])
    monkeypatch.setattr(torchvision_datasets.FashionMNIST, "resources", list(md5.items()))
    images = load("fashion-mnist", tmp_path / "here", "train", download=True)
    np.testing.assert_array_equal(pixels_of(images), written["train"])
    assert not list((tmp_path / "here" / "FashionMNIST" / "raw").glob(".*"))


def test_damaged_fashion_mnist_files_are_told(tmp_path: Path) -> None:
    write_fashion_mnist(tmp_path, packed=True)
    images, labels = tmp_path / "train-images-idx3-ubyte.gz", tmp_path / "train-labels-idx1-ubyte.gz"
    labels.write_bytes(gzip.compress(idx(np.zeros(3, np.uint8))))
    with pytest.raises(
        ValueError, match=r"train-labels-idx1-ubyte.gz is damaged: it has 3 labels for 12 images"
    ):
        load("fashion-mnist", tmp_path, "train")
    images.write_bytes(images.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"train-images-idx3-ubyte.gz is damaged: "):
        load("fashion-mnist", tmp_path, "train")
    images.write_bytes(gzip.compress(idx(random_images(12, 28, 28))[:-1]))
    with pytest.raises(
        ValueError,
        match="not 3-dimensional IDX of bytes, or not all of it is there; remove it and fetch it again",
    ):
        load("fashion-mnist", tmp_path, "train")
    images.write_bytes(gzip.compress(idx(random_images(12, 28, 28))[:9]))
    with pytest.raises(ValueError, match="damaged: it has 9 bytes, less than its header"):
        load("fashion-mnist", tmp_path, "train")
    packed = bytearray(gzip.compress(idx(random_images(12, 28, 28))))
    packed[20:40] = bytes(20)
    images.write_bytes(packed)
    with pytest.raises(ValueError, match=r"train-images-idx3-ubyte.gz is damaged: "):
        load("fashion-mnist", tmp_path, "train")
