"""The data sets that recipes know by name, one record each.

To add one: write a module next to this one whose `load(root, split, download)` returns an `ImageSet`, and add
its record to `DATASETS`. Neither torch nor any other package is imported until a
data set is loaded, so that options can be declared and checked without them.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from align_uniform.recipes.images.folders import is_picture
from align_uniform.recipes.images.statistics import STATISTICS, Statistics

if TYPE_CHECKING:
    from align_uniform.recipes.images.image_set import ImageSet

Loader = Callable[[Path, str, bool], "ImageSet"]
"""Returns a split of the data set in a folder; the last argument asks for a download of missing files."""


def loader_in(module: str) -> Loader:
    """Return the function `load` of a module in this folder, which is imported only when it is called."""

    def load_with(root: Path, split: str, download: bool) -> ImageSet:
        loader: Loader = importlib.import_module(f"align_uniform.recipes.images.{module}").load
        return loader(root, split, download)

    return load_with


@dataclass(frozen=True)
class DataSet:
    """Everything that recipes know about a data set."""

    name: str
    loader: Loader
    splits: tuple[str, ...]
    """The names that `load` takes for `split`."""
    size: int
    """Height and width of the images that an encoder is evaluated on by default."""
    channels: int
    """3 for colour images, 1 for grey ones."""
    views: str
    """Preset of `training_transform` for the views of two-view pretraining."""
    evaluation: str
    """Preset of `evaluation_transform`."""
    statistics: Statistics | None = None
    """Statistics to normalise by; None if they must be measured on the training images."""
    moco_views: tuple[str, ...] = ()
    """Presets of `training_transform` for MoCo, without and with `aug_plus`.

    If there is only one, `aug_plus` is refused; if there is none, MoCo refuses the data set.
    """
    pretraining: str = "train"
    """The split that encoders are trained on."""
    labelled: str = "train"
    """The split whose labels train classifiers, and whose images are the neighbours in kNN."""
    judging: str = "test"
    """The split that accuracy, alignment and uniformity are measured on."""
    may_lack_judging: bool = False
    """Whether a run continues without accuracy if the judging split is missing, instead of failing."""
    remedy: str = ""
    """How to get missing files, for the end of an error message; `{root}` stands for the folder."""


DATASETS: dict[str, DataSet] = {
    record.name: record
    for record in (
        DataSet(
            name="stl10",
            loader=loader_in("stl10"),
            splits=("train", "test", "train+unlabeled"),
            size=64,
            channels=3,
            views="stl10",
            evaluation="stl10",
            statistics=STATISTICS["stl10"],
            pretraining="train+unlabeled",
            remedy="--download fetches the 2.6 GB, or unpack stl10_binary.tar.gz from "
            "https://cs.stanford.edu/~acoates/stl10/ in {root}.",
        ),
        DataSet(
            name="fashion-mnist",
            loader=loader_in("fashion_mnist"),
            splits=("train", "test"),
            size=28,
            channels=1,
            views="fashion-mnist",
            evaluation="fashion-mnist",
            statistics=STATISTICS["fashion-mnist"],
            moco_views=("fashion-mnist",),
            remedy="--download fetches the 30 MB, or apt install dataset-fashion-mnist, or see "
            "https://github.com/zalandoresearch/fashion-mnist.",
        ),
        DataSet(
            name="cifar10",
            loader=loader_in("cifar10"),
            splits=("train", "test"),
            size=32,
            channels=3,
            views="cifar10",
            evaluation="cifar10",
            statistics=STATISTICS["cifar10"],
            moco_views=("cifar10",),
            remedy="--download fetches the 170 MB; pictures in folders are read, too: an airplane, for "
            "example, is {root}/train/airplane/1.png.",
        ),
        DataSet(
            name="imagefolder",
            loader=loader_in("imagefolder"),
            splits=("train", "val", "test"),
            size=224,
            channels=3,
            views="stl10",
            evaluation="imagenet",
            moco_views=("moco-v1", "moco-v2"),
            judging="val",
            may_lack_judging=True,
            remedy="a training image of a cat, for example, is {root}/train/cat/1.jpg.",
        ),
        DataSet(
            name="digits",
            loader=loader_in("digits"),
            splits=("train", "test"),
            size=16,
            channels=1,
            views="digits",
            evaluation="digits",
            statistics=STATISTICS["digits"],
            moco_views=("digits",),
        ),
    )
}
"""All data sets by name."""


FOLDERS = ("stl10_binary", "FashionMNIST", "cifar-10-batches-py")
"""The folders, below the root, of the files that are no pictures."""


def is_of_a_data_set(file: Path) -> bool:
    """Return whether a file below the root of a data set has the name of one with its images or labels."""
    return is_picture(file) or not set(FOLDERS).isdisjoint(file.parts) or "-ubyte" in file.name


def names() -> tuple[str, ...]:
    """Return the names of all data sets."""
    return tuple(DATASETS)


def names_for_moco() -> tuple[str, ...]:
    """Return the names of the data sets that MoCo supports."""
    return tuple(name for name, record in DATASETS.items() if record.moco_views)


def data_set(name: str) -> DataSet:
    """Return the record of a data set.

    Raises:
        ValueError: there is no data set of that name.
    """
    if name not in DATASETS:
        raise ValueError(f"There is no data set {name!r}; choose from {', '.join(DATASETS)}.")
    return DATASETS[name]


def load(name: str, root: str | Path, split: str, *, download: bool = False) -> ImageSet:
    """Return one split of a data set.

    | name | splits | files |
    | --- | --- | --- |
    | stl10 | train, test, train+unlabeled | `root/stl10_binary/train_X.bin` ... |
    | fashion-mnist | train, test | `root/FashionMNIST/raw/train-images-idx3-ubyte` ..., also as .gz |
    | cifar10 | train, test | `root/cifar-10-batches-py/data_batch_1` ..., or `root/train/CLASS/IMAGE` ... |
    | imagefolder | train, val, test | `root/train/CLASS/IMAGE` ... |
    | digits | train, test | none: the images come with scikit-learn |

    Fashion-MNIST is also found in `root` itself, and in the folder of Debian's package dataset-fashion-mnist.
    The folders of an ImageFolder may also be named training, valid, validation and testing, in any case.
    If an ImageFolder has only one of val and test, that one is returned for both.

    Args:
        name: a name in the table.
        root: folder of the data set.
        split: a split in the table.
        download: first fetch missing files into `root`. Checksums are compared only then (those of
            CIFAR-10 always): files that are already there are checked by their sizes. With several
            processes, use `load_on_all_ranks`.

    Raises:
        FileNotFoundError: the data set is not in `root`.
        ValueError: the name or the split is unknown, or the files are damaged.
    """
    record = data_set(name)
    if split not in record.splits:
        raise ValueError(f"{name} has no split {split!r}; choose from {', '.join(record.splits)}.")
    try:
        return record.loader(Path(root), split, download)
    except FileNotFoundError as error:
        if not record.remedy:
            raise
        raise FileNotFoundError(f"{error}; {record.remedy.format(root=root)}") from error


def load_on_all_ranks(name: str, root: str | Path, split: str, *, download: bool = False) -> ImageSet:
    """Return one split of a data set on every process.

    The first process alone fetches missing files, and says on stderr what was left out.
    """
    from align_uniform import _ranks as ranks  # torch, which options can do without

    if download and ranks.rank() == 0:
        load(name, root, split, download=True)
    ranks.barrier()
    images = load(name, root, split)
    if ranks.rank() == 0:
        sys.stderr.write("".join(f"{note}\n" for note in images.notes))
    return images
