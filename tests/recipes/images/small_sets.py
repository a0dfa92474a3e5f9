"""Small data sets, written in the formats that are read, and what they hold."""

from __future__ import annotations

import gzip
import pickle
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from align_uniform.recipes.images import cifar10, stl10
from align_uniform.recipes.images.image_set import ImageSet

RNG = np.random.default_rng(0)


def random_images(count: int, *shape: int) -> NDArray[np.uint8]:
    return RNG.integers(0, 256, (count, *shape), np.uint8)


def write_stl10(root: Path, names: bool = True) -> dict[str, NDArray[np.uint8]]:
    """Write a small STL-10 in the binary format: column-major planes; labels from 1. Return the images as [N,
    96, 96, 3].
    """
    folder = root / "stl10_binary"
    folder.mkdir(parents=True)
    images = {
        part: random_images(count, 96, 96, 3) for part, count in (("train", 5), ("test", 4), ("unlabeled", 3))
    }
    for part, pixels in images.items():
        pixels.transpose(0, 3, 2, 1).tofile(folder / f"{part}_X.bin")
        if part != "unlabeled":
            (np.arange(len(pixels), dtype=np.uint8) % 10 + 1).tofile(folder / f"{part}_y.bin")
    if names:
        (folder / "class_names.txt").write_text("\n".join(stl10.CLASSES) + "\n")
    return images


def idx(values: NDArray[np.uint8]) -> bytes:
    return bytes((0, 0, 8, values.ndim)) + np.array(values.shape, ">u4").tobytes() + values.tobytes()


def write_fashion_mnist(folder: Path, packed: bool) -> dict[str, NDArray[np.uint8]]:
    folder.mkdir(parents=True, exist_ok=True)
    images = {"train": random_images(12, 28, 28), "t10k": random_images(6, 28, 28)}
    for prefix, pixels in images.items():
        labels = np.arange(len(pixels), dtype=np.uint8) % 10
        for name, content in (
            (f"{prefix}-images-idx3-ubyte", idx(pixels)),
            (f"{prefix}-labels-idx1-ubyte", idx(labels)),
        ):
            if packed:
                (folder / f"{name}.gz").write_bytes(gzip.compress(content))
            else:
                (folder / name).write_bytes(content)
    return images


def write_cifar10(root: Path) -> dict[str, NDArray[np.uint8]]:
    """Write a small CIFAR-10, two pictures a file: rows of planes. Return the images as [N, 32, 32, 3]."""
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    images = {"train": random_images(10, 32, 32, 3), "test": random_images(2, 32, 32, 3)}
    rows = {part: pixels.transpose(0, 3, 1, 2).reshape(-1, 3072) for part, pixels in images.items()}
    batches = {f"data_batch_{i + 1}": rows["train"][2 * i : 2 * i + 2] for i in range(5)}
    for name, data in {**batches, "test_batch": rows["test"]}.items():
        (folder / name).write_bytes(pickle.dumps({"data": data, "labels": [0, 1]}))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": list(cifar10.CLASSES)}))
    return images


def write_folder(root: Path, files: list[str]) -> None:
    for number, name in enumerate(files):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L" if name.endswith("png") else "RGB", (4, 3), number).save(root / name)


def pixels_of(images: ImageSet) -> NDArray[np.uint8]:
    return np.stack([np.asarray(images[i]) for i in range(len(images))])


def picture(width: int = 96, height: int = 96, mode: str = "RGB") -> Image.Image:
    """Blocks of colour with noise on them."""
    blocks = RNG.random((height // 8 + 1, width // 8 + 1, 3)).repeat(8, 0).repeat(8, 1)[:height, :width]
    return Image.fromarray((blocks * 200 + RNG.random((height, width, 3)) * 55).astype(np.uint8)).convert(
        mode
    )
