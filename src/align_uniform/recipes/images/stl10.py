"""STL-10: colour images of 96x96 pixels; 5,000 to train on, 8,000 to test on, 100,000 without labels."""

from __future__ import annotations

import shutil
import tarfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from align_uniform._extras import needs
from align_uniform._messages import counted
from align_uniform._temporary import temporary_folder
from align_uniform.recipes.images.downloads import damaged, fetch
from align_uniform.recipes.images.image_set import ImageSet

CLASSES = ("airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck")
PARTS = {"train": ("train",), "test": ("test",), "train+unlabeled": ("train", "unlabeled")}
"""The files of each split, in order."""
_SHAPE = (3, 96, 96)  # channel, column, row
_BYTES = 3 * 96 * 96


@dataclass(frozen=True)
class Records:
    """Images of several files, one file after the other; each image is read on demand, as all take 2.9 GB."""

    files: list[tuple[Path, int]]
    """Path and number of images of each file."""

    def __len__(self) -> int:
        return sum(count for _, count in self.files)

    def __getitem__(self, index: int) -> Image.Image:
        place = index + len(self) if index < 0 else index
        for path, count in self.files:
            if 0 <= place < count:
                record = np.fromfile(path, np.uint8, _BYTES, offset=place * _BYTES)
                return Image.fromarray(np.ascontiguousarray(record.reshape(_SHAPE).transpose(2, 1, 0)))
            place -= count
        raise IndexError(f"There is no image {index} of {len(self)}.")


def load(root: Path, split: str, download: bool) -> ImageSet:
    """Return a split of the binary format, in `root/stl10_binary`; see `datasets.load`."""
    folder = root / "stl10_binary"
    parts = PARTS[split]
    kinds = [(part, kind) for part in parts for kind in ("X", "y") if (part, kind) != ("unlabeled", "y")]
    missing = [file for part, kind in kinds if not (folder / (file := f"{part}_{kind}.bin")).is_file()]
    if missing and download:
        _download(root)
    elif missing:
        raise FileNotFoundError(f"STL-10 ({split}) is not in {folder}: {', '.join(missing)} missing there")
    classes: tuple[str, ...] = CLASSES
    if (folder / "class_names.txt").is_file():
        classes = tuple((folder / "class_names.txt").read_text().split())
    files = [(path, _count(path)) for path in (folder / f"{part}_X.bin" for part in parts)]
    labels = [
        torch.full((count,), -1)
        if part == "unlabeled"
        else _labels(folder / f"{part}_y.bin", count, len(classes))
        for part, (_, count) in zip(parts, files, strict=True)
    ]
    return ImageSet("stl10", Records(files), torch.cat(labels), classes)


def _count(path: Path) -> int:
    """Return the number of images in a file."""
    size = path.stat().st_size
    if size % _BYTES or not size:
        raise damaged(path, f"its {counted(size, 'byte')} are no whole number of images of 96*96*3")
    return size // _BYTES


def _labels(path: Path, count: int, classes: int) -> Tensor:
    labels = torch.from_numpy(np.fromfile(path, np.uint8)).long()
    if len(labels) != count:
        raise damaged(path, f"it has {counted(len(labels), 'label')} for {counted(count, 'image')}")
    if not ((labels >= 1) & (labels <= classes)).all():
        raise damaged(
            path, f"its labels are {labels.min()} to {labels.max()} where 1 to {classes} are expected"
        )
    return labels - 1


def _download(root: Path) -> None:
    """Fetch and unpack next to the destination, compare checksums, and only then move the files there."""
    with needs("recipes"):
        from torchvision.datasets import STL10  # type: ignore[import-untyped]  # it is not typed; takes seconds to import
        from torchvision.datasets.utils import check_integrity  # type: ignore[import-untyped]  # it is not typed

    fetch(STL10.url, root / STL10.filename, STL10.tgz_md5)
    with temporary_folder(root) as partial:
        unpacked = partial / STL10.base_folder
        _unpack(root / STL10.filename, unpacked)
        for file, md5 in [*STL10.train_list, *STL10.test_list]:
            if not check_integrity(str(unpacked / file), md5):
                raise damaged(root / STL10.filename, f"{file} in it does not have the checksum {md5}")
        (root / STL10.base_folder).mkdir(exist_ok=True)
        for path in unpacked.iterdir():
            path.replace(root / STL10.base_folder / path.name)


def _unpack(archive: Path, folder: Path) -> None:
    """Write the plain files of the archive's folder of this name, and nothing else that is in the archive.

    Python before 3.10.12 and 3.11.4 has no filter for `extractall`.
    """
    folder.mkdir()
    with tarfile.open(archive) as members:
        for member in members:
            name = PurePosixPath(member.name)
            held = members.extractfile(member) if member.isfile() else None
            if held is not None and name.parts == (folder.name, name.name):
                with held, (folder / name.name).open("wb") as file:
                    shutil.copyfileobj(held, file)
