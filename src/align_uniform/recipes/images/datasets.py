"""Image data sets: pictures one at a time, their labels, and the statistics that normalise them."""

from __future__ import annotations

import gzip
import json
import os
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from align_uniform import _ranks as ranks
from align_uniform._options import check_statistics
from align_uniform._writing import written_whole


class Statistics(NamedTuple):
    """Mean and standard deviation of each channel, of values in [0, 1]."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


STATISTICS = {
    "stl10": Statistics(
        (0.44087801806139126, 0.42790631331699347, 0.3867879370752931),
        (0.26826768628079806, 0.2610450402318512, 0.26866836876860795),
    ),
    "imagenet": Statistics((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "fashion-mnist": Statistics((0.2860405969887955,), (0.3530242445149223,)),
    "digits": Statistics((0.30538230688935286,), (0.31860230836127507,)),
}
"""Of the training images; STL-10's of those with and without labels, digits' at 16x16."""


class Pictures(Protocol):
    """A sequence of images of mode RGB or L."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Image.Image: ...


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images with their labels; an image is read when it is asked for, and a set can be sent to another
    process.
    """

    name: str
    pictures: Pictures
    labels: Tensor
    """[N], int64; -1 for an image without label"""
    classes: tuple[str, ...]
    """What label i is called."""

    def __post_init__(self) -> None:
        if len(self.labels) != len(self.pictures):
            raise ValueError(
                f"{self.name} has {len(self.pictures)} images and {len(self.labels)} labels; give one label "
                "an image."
            )

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: int) -> Image.Image:
        return self.pictures[index]

    @property
    def channels(self) -> int:
        """3 of colour images, 1 of grey ones."""
        return len(self[0].getbands())

    def subset(self, rows: Sequence[int]) -> ImageSet:
        """Return the images of these rows, in this order."""
        rows = list(rows)
        return ImageSet(self.name, _Chosen(self.pictures, rows), self.labels[rows], self.classes)


def load(name: str, root: str | Path, split: str, *, download: bool = False) -> ImageSet:
    """Return one split of a data set.

    | name | splits | files |
    | --- | --- | --- |
    | stl10 | train, test, train+unlabeled | `root/stl10_binary/train_X.bin` ... |
    | fashion-mnist | train, test | `root/FashionMNIST/raw/train-images-idx3-ubyte` ..., also as .gz |
    | imagefolder | train, val, test | `root/train/CLASS/IMAGE` ... |
    | digits | train, test | none: they come with scikit-learn |

    Fashion-MNIST is also found in `root` itself, and where Debian's package dataset-fashion-mnist puts it. Of
    an ImageFolder's val and test, one stands for the other where only one is there.

    Args:
        name: one of the table.
        root: folder that holds the data set.
        split: one of the table.
        download: fetch what is missing into `root` first. Only then are checksums compared: otherwise the
            sizes of the files must fit each other. With several processes, see `load_on_all_ranks`.

    Raises:
        FileNotFoundError: the data set is not there.
        ValueError: there is no such name or split, or the files are damaged.
    """
    if name not in _LOADERS:
        raise ValueError(f"There is no data set {name!r}; choose from {', '.join(_LOADERS)}.")
    splits, loader = _LOADERS[name]
    if split not in splits:
        raise ValueError(f"{name} has no split {split!r}; choose from {', '.join(splits)}.")
    return loader(Path(root), split, download)


def load_on_all_ranks(name: str, root: str | Path, split: str, *, download: bool = False) -> ImageSet:
    """Return one split of a data set on every process; the first alone fetches what is not there."""
    if download and ranks.rank() == 0:
        load(name, root, split, download=True)
    ranks.barrier()
    return load(name, root, split)


def evenly_spaced(images: ImageSet, at_most: int) -> ImageSet:
    """Return all images, or so many from all over the set."""
    count = min(at_most, len(images))
    return images.subset(np.linspace(0, len(images) - 1, count).round().astype(int).tolist())


def measure_statistics(images: ImageSet, at_most: int = 10_000) -> Statistics:
    """Return mean and standard deviation of each channel, every image counting the same whatever its size.

    Args:
        images: all RGB or all grey.
        at_most: evenly spaced images to read where there are more.
    """
    if not len(images):
        raise ValueError(f"{images.name} has no image to measure the statistics of.")
    chosen = evenly_spaced(images, at_most)
    moments = []
    for row in range(len(chosen)):
        values = np.asarray(chosen[row], dtype=np.float64)
        pixels = values.reshape(values.shape[0] * values.shape[1], -1) / 255
        moments.append((pixels.mean(0), np.square(pixels).mean(0)))
    mean, square = (np.mean(moment, axis=0) for moment in zip(*moments, strict=True))
    std = np.sqrt(np.maximum(square - mean**2, 0))
    if not (std > 0).all():
        raise ValueError(
            f"A channel of {images.name} has one value in all {len(chosen)} images read; there is nothing to "
            "normalise by."
        )
    return Statistics(tuple(mean.tolist()), tuple(std.tolist()))


SAVED_STATISTICS = "statistics.json"
"""Beside an encoder: what its images were normalised by."""


def save_statistics(statistics: Statistics, folder: Path) -> None:
    """Write what the images of a run are normalised by into its folder."""
    with written_whole(folder / SAVED_STATISTICS) as partial:
        partial.write_text(json.dumps(statistics._asdict()) + "\n", encoding="utf-8")


def statistics_beside(encoder: Path) -> Statistics | None:
    """Return what the images of an encoder's run were normalised by, or None if its folder does not say.

    Raises:
        ValueError: the file beside it does not hold a mean and a deviation of each channel.
    """
    path = encoder.parent / SAVED_STATISTICS
    if not path.exists():
        return None
    try:
        held = json.loads(path.read_text(encoding="utf-8"))
        return given_statistics(
            [float(value) for value in held["mean"]], [float(value) for value in held["std"]]
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path} must hold mean and std, a number for each channel ({error}); remove or mend it."
        ) from error


def given_statistics(mean: Sequence[float], std: Sequence[float]) -> Statistics | None:
    """Return statistics that were given, or None for two empty sequences.

    Raises:
        ValueError: there are not as many of either, or a deviation is not above 0.
    """
    check_statistics(mean, std)
    return Statistics(tuple(mean), tuple(std)) if mean else None


# ----------------------------------------------------------------------------------- where pictures come from


@dataclass(frozen=True)
class _Arrays:
    pixels: NDArray[np.uint8]
    """[N, height, width]"""

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, index: int) -> Image.Image:
        return Image.fromarray(self.pixels[index])


@dataclass(frozen=True)
class ImageFiles:
    """Pictures in files, in RGB."""

    paths: list[str]

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Image.Image:
        path = self.paths[index]
        try:
            with Image.open(path) as image:
                return image.convert("RGB")
        except OSError as error:
            raise ValueError(f"{path} cannot be read as an image ({error}); remove or replace it.") from error


@dataclass(frozen=True)
class _Chosen:
    pictures: Pictures
    rows: list[int]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Image.Image:
        return self.pictures[self.rows[index]]


# ----------------------------------------------------------------------------------------------------- STL-10

_STL10_SHAPE = (3, 96, 96)  # channel, column, row
_STL10_BYTES = 3 * 96 * 96
_STL10_PARTS = {"train": ("train",), "test": ("test",), "train+unlabeled": ("train", "unlabeled")}
_STL10_CLASSES = ["airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck"]


@dataclass(frozen=True)
class _Stl10Records:
    """Images of several files on end; each is read from its place, since all of them take 2.9 GB."""

    files: list[tuple[Path, int]]
    """Path and number of images."""

    def __len__(self) -> int:
        return sum(count for _, count in self.files)

    def __getitem__(self, index: int) -> Image.Image:
        place = index + len(self) if index < 0 else index
        for path, count in self.files:
            if 0 <= place < count:
                record = np.fromfile(path, np.uint8, _STL10_BYTES, offset=place * _STL10_BYTES)
                return Image.fromarray(np.ascontiguousarray(record.reshape(_STL10_SHAPE).transpose(2, 1, 0)))
            place -= count
        raise IndexError(f"There is no image {index} of {len(self)}.")


def _stl10(root: Path, split: str, download: bool) -> ImageSet:
    folder = root / "stl10_binary"
    parts = _STL10_PARTS[split]
    wanted = [
        f"{part}_{kind}.bin" for part in parts for kind in ("X", "y") if (part, kind) != ("unlabeled", "y")
    ]
    missing = [file for file in wanted if not (folder / file).is_file()]
    if missing and download:
        _download_stl10(root)
    elif missing:
        raise FileNotFoundError(
            f"STL-10 ({split}) is not in {folder}: {', '.join(missing)} missing there; --download fetches "
            "the 2.6 GB, or unpack stl10_binary.tar.gz from https://cs.stanford.edu/~acoates/stl10/ in "
            f"{root}."
        )
    classes = _STL10_CLASSES
    if (folder / "class_names.txt").is_file():
        classes = (folder / "class_names.txt").read_text().split()
    files, labels = [], []
    for part in parts:
        size = (folder / f"{part}_X.bin").stat().st_size
        count = size // _STL10_BYTES
        if size % _STL10_BYTES or not count:
            raise _damaged(
                folder / f"{part}_X.bin", f"its {size:,} bytes are no whole number of images of 96*96*3"
            )
        files.append((folder / f"{part}_X.bin", count))
        unlabelled = part == "unlabeled"
        labels.append(
            torch.full((count,), -1)
            if unlabelled
            else _stl10_labels(folder / f"{part}_y.bin", count, len(classes))
        )
    return ImageSet("stl10", _Stl10Records(files), torch.cat(labels), tuple(classes))


def _stl10_labels(path: Path, count: int, classes: int) -> Tensor:
    labels = torch.from_numpy(np.fromfile(path, np.uint8)).long()
    if len(labels) != count:
        raise _damaged(path, f"it has {len(labels)} labels for {count} images")
    if not ((labels >= 1) & (labels <= classes)).all():
        raise _damaged(
            path, f"its labels are {labels.min()} to {labels.max()} where 1 to {classes} are expected"
        )
    return labels - 1


def _download_stl10(root: Path) -> None:
    """Fetch, unpack beside the place, compare checksums, and only then move the files into place."""
    from torchvision.datasets import STL10  # type: ignore[import-untyped]  # it is not typed; takes seconds to import
    from torchvision.datasets.utils import check_integrity  # type: ignore[import-untyped]  # it is not typed

    _fetch(STL10.url, root / STL10.filename, STL10.tgz_md5)
    with tempfile.TemporaryDirectory(prefix=".stl10-", dir=root) as partial:
        with tarfile.open(root / STL10.filename) as archive:
            archive.extractall(partial, filter="data")
        unpacked = Path(partial) / STL10.base_folder
        for file, md5 in [*STL10.train_list, *STL10.test_list]:
            if not check_integrity(str(unpacked / file), md5):
                raise _damaged(root / STL10.filename, f"{file} in it has not the checksum {md5}")
        (root / STL10.base_folder).mkdir(exist_ok=True)
        for path in unpacked.iterdir():
            path.replace(root / STL10.base_folder / path.name)


def _fetch(url: str, path: Path, md5: str) -> None:
    """Download a file, unless it is there already; it has its name only once its checksum is right."""
    from torchvision.datasets.utils import check_integrity, download_url

    if check_integrity(str(path), md5):
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    try:
        download_url(url, str(path.parent), partial.name, md5)
    except (OSError, RuntimeError) as error:
        raise OSError(
            f"{url} could not be fetched ({error}); fetch it in another way and put it at {path}."
        ) from error
    partial.replace(path)


# ---------------------------------------------------------------------------------------------- Fashion-MNIST

_FASHION_CLASSES = (
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
_DEBIAN_FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")


def _fashion_mnist(root: Path, split: str, download: bool) -> ImageSet:
    raw = root / "FashionMNIST" / "raw"
    prefix = "train" if split == "train" else "t10k"
    names = (f"{prefix}-images-idx3-ubyte", f"{prefix}-labels-idx1-ubyte")
    folders = (raw, root, _DEBIAN_FASHION_MNIST)
    found = next((paths for folder in folders if (paths := _idx_files(folder, names))), None)
    if found is None and download:
        _download_fashion_mnist(raw)
        found = _idx_files(raw, names)
    if found is None:
        raise FileNotFoundError(
            f"Fashion-MNIST is not in {raw} (nor in {root}, nor in {_DEBIAN_FASHION_MNIST}): "
            f"{' and '.join(names)} are expected there, or as .gz; --download fetches the 30 MB, or apt "
            "install dataset-fashion-mnist, or see https://github.com/zalandoresearch/fashion-mnist."
        )
    pixels, labels = _read_idx(found[0], 3), _read_idx(found[1], 1)
    if len(pixels) != len(labels):
        raise _damaged(found[1], f"it has {len(labels)} labels for {len(pixels)} images")
    return ImageSet("fashion-mnist", _Arrays(pixels), torch.from_numpy(labels).long(), _FASHION_CLASSES)


def _idx_files(folder: Path, names: Sequence[str]) -> list[Path] | None:
    """The files of these names, plain or .gz; None unless all are there."""
    paths = [next((p for p in (folder / name, folder / f"{name}.gz") if p.is_file()), None) for name in names]
    return None if None in paths else [path for path in paths if path is not None]


def _read_idx(path: Path, dims: int) -> NDArray[np.uint8]:
    """Read an array of bytes in the IDX format: 0, 0, 8, number of dimensions, each of them as 4 bytes, the
    values.
    """
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (EOFError, OSError, zlib.error) as error:
        raise _damaged(path, str(error)) from error
    header = 4 + 4 * dims
    if len(content) < header:
        raise _damaged(path, f"it has {len(content)} bytes, less than its header")
    shape = [int(size) for size in np.frombuffer(content[4:header], ">u4")]
    if content[:4] != bytes((0, 0, 8, dims)) or len(content) - header != np.prod(shape):
        raise _damaged(path, f"it is not {dims}-dimensional IDX of bytes, or not all of it is there")
    return np.frombuffer(bytearray(content), np.uint8, offset=header).reshape(shape)


def _download_fashion_mnist(raw: Path) -> None:
    from torchvision.datasets import FashionMNIST  # takes seconds to import, and a download alone needs it

    for file, md5 in FashionMNIST.resources:
        _fetch(FashionMNIST.mirrors[0] + file, raw / file, md5)


# ------------------------------------------------------------------------------------------------ ImageFolder

_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")


def _imagefolder(root: Path, split: str, download: bool) -> ImageSet:
    if download:
        raise ValueError("An ImageFolder is your own and cannot be downloaded; leave out --download.")
    other = {"val": "test", "test": "val"}.get(split, split)
    folder = next((root / name for name in (split, other) if (root / name).is_dir()), None)
    classes = _class_folders(root / "train")
    if folder is None or not classes:
        expected = "train" if split == "train" or not classes else f"{split}, or {other},"
        raise FileNotFoundError(
            f"{root} has no folder {expected} with a folder of images for each class, as in train/cat/1.jpg."
        )
    # labels are places in the list of the training classes, so that a class without test images moves no
    # other
    if strangers := sorted(set(_class_folders(folder)) - set(classes)):
        raise ValueError(
            f"{folder} has classes that {root / 'train'} lacks: {', '.join(strangers[:5])}; every class "
            "needs a folder there."
        )
    paths, labels = [], []
    for label, name in enumerate(classes):
        images = image_paths(folder / name)
        if not images and split == "train":
            raise ValueError(
                f"{folder / name} has no image ({', '.join(_SUFFIXES)}); add some or remove the folder."
            )
        paths += images
        labels += [label] * len(images)
    return ImageSet("imagefolder", ImageFiles(paths), torch.tensor(labels, dtype=torch.int64), tuple(classes))


def _class_folders(folder: Path) -> list[str]:
    if not folder.is_dir():
        return []
    return sorted(
        entry.name for entry in os.scandir(folder) if entry.is_dir() and not entry.name.startswith(".")
    )


def image_paths(folder: Path) -> list[str]:
    """Return the paths of all pictures in a folder and the folders in it, in their order."""
    walk = os.walk(folder, followlinks=True)
    return sorted(
        os.path.join(place, file)
        for place, _, files in walk
        for file in files
        if file.lower().endswith(_SUFFIXES)
    )


# ----------------------------------------------------------------------------------------------------- digits


class Labelled(NamedTuple):
    """Images with their classes."""

    images: Tensor
    """[N, channels, height, width], float32 in [0, 1]"""
    labels: Tensor
    """[N], int64"""


class Split(NamedTuple):
    """What encoders learn from, and what they are judged on."""

    train: Labelled
    test: Labelled
    classes: list[str]


def digits(size: int = 16) -> Split:
    """Return scikit-learn's digits: 1,797 grey 8x8 scans of ten classes, always split the same way, 1,437 to
    360.

    Args:
        size: the images are enlarged to this height and width, bilinearly, so that they can be shifted by
            parts of a pixel.
    """
    from sklearn.datasets import load_digits  # nothing else here needs scikit-learn
    from sklearn.model_selection import train_test_split

    scans = load_digits()
    images = torch.from_numpy(scans.images).float().unsqueeze(1) / 16
    images = F.interpolate(images, size=(size, size), mode="bilinear", align_corners=False)
    labels = torch.from_numpy(scans.target).long()
    train, test = (
        torch.as_tensor(rows)
        for rows in train_test_split(range(len(labels)), test_size=0.2, stratify=scans.target, random_state=0)
    )
    return Split(
        Labelled(images[train], labels[train]),
        Labelled(images[test], labels[test]),
        [str(name) for name in scans.target_names],
    )


def _digits(root: Path, split: str, download: bool) -> ImageSet:
    parts = digits()
    part = parts.train if split == "train" else parts.test
    pixels = (part.images.squeeze(1) * 255).round().to(torch.uint8).numpy()
    return ImageSet("digits", _Arrays(pixels), part.labels, tuple(parts.classes))


def _damaged(path: Path, why: str) -> ValueError:
    return ValueError(f"{path} is damaged: {why}; remove it and fetch it again.")


_LOADERS: dict[str, tuple[tuple[str, ...], Callable[[Path, str, bool], ImageSet]]] = {
    "stl10": (tuple(_STL10_PARTS), _stl10),
    "fashion-mnist": (("train", "test"), _fashion_mnist),
    "imagefolder": (("train", "val", "test"), _imagefolder),
    "digits": (("train", "test"), _digits),
}
