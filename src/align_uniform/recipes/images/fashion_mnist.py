"""Fashion-MNIST: grey images of 28x28 pixels, 60,000 for training and 10,000 to test on.

The files are read here, and not by torchvision's `FashionMNIST`: that one reads neither `.gz` nor any folder
but its own, and reports a damaged file by a bare AssertionError.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from align_uniform._messages import counted
from align_uniform.recipes.images.downloads import damaged, fetch
from align_uniform.recipes.images.image_set import Arrays, ImageSet

CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
DEBIAN = Path("/usr/share/datasets/fashion-mnist")
"""The folder of Debian's package dataset-fashion-mnist."""


def load(root: Path, split: str, download: bool) -> ImageSet:
    """Return a split in `root/FashionMNIST/raw`, `root` or Debian's folder; see `datasets.load`."""
    raw = root / "FashionMNIST" / "raw"
    prefix = "train" if split == "train" else "t10k"
    names = (f"{prefix}-images-idx3-ubyte", f"{prefix}-labels-idx1-ubyte")
    found = next((paths for folder in (raw, root, DEBIAN) if (paths := _files(folder, names))), None)
    if found is None and download:
        _download(raw)
        found = _files(raw, names)
    if found is None:
        raise FileNotFoundError(
            f"Fashion-MNIST is not in {raw} (nor in {root}, nor in {DEBIAN}): {' and '.join(names)} are "
            "expected there, or as .gz"
        )
    pixels, labels = _read_idx(found[0], 3), _read_idx(found[1], 1)
    if len(pixels) != len(labels):
        raise damaged(found[1], f"it has {counted(len(labels), 'label')} for {counted(len(pixels), 'image')}")
    return ImageSet("fashion-mnist", Arrays(pixels), torch.from_numpy(labels).long(), CLASSES)


def _files(folder: Path, names: Sequence[str]) -> list[Path] | None:
    """Return the paths of files, plain or .gz, or None unless all are there."""
    paths = [next((p for p in (folder / name, folder / f"{name}.gz") if p.is_file()), None) for name in names]
    return None if None in paths else [path for path in paths if path is not None]


def _read_idx(path: Path, dims: int) -> NDArray[np.uint8]:
    """Read an array of bytes in the IDX format.

    That is: the bytes 0, 0, 8, the number of dimensions, each dimension in 4 bytes, the values.
    """
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (EOFError, OSError, zlib.error) as error:
        raise damaged(path, str(error)) from error
    header = 4 + 4 * dims
    if len(content) < header:
        raise damaged(path, f"it has {counted(len(content), 'byte')}, less than its header")
    shape = [int(size) for size in np.frombuffer(content[4:header], ">u4")]
    if content[:4] != bytes((0, 0, 8, dims)) or len(content) - header != np.prod(shape):
        raise damaged(path, f"it is not {dims}-dimensional IDX of bytes, or not all of it is there")
    return np.frombuffer(bytearray(content), np.uint8, offset=header).reshape(shape)


def _download(raw: Path) -> None:
    from torchvision.datasets import FashionMNIST  # type: ignore[import-untyped]  # it is not typed; takes seconds to import

    for file, md5 in FashionMNIST.resources:
        fetch(FashionMNIST.mirrors[0] + file, raw / file, md5)
