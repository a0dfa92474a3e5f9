"""Data sets: each format is written here, small, and read back; what is missing or damaged is told."""

from __future__ import annotations

import functools
import gzip
import hashlib
import json
import pickle
import subprocess
import sys
import tarfile
import threading
from collections.abc import Callable, Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torchvision import datasets as torchvision_datasets  # type: ignore[import-untyped]  # it is not typed

from align_uniform.recipes.encoders.weights import EncoderCard
from align_uniform.recipes.images import datasets, fashion_mnist, stl10
from align_uniform.recipes.images.datasets import (
    STATISTICS,
    Statistics,
    given_statistics,
    load,
)
from align_uniform.recipes.images.digits import load_tensors
from align_uniform.recipes.images.image_set import GreyArrays, ImageSet, measure_statistics
from align_uniform.recipes.images.views import evaluation_transform, training_transform
from align_uniform.recipes.judge import evaluate
from align_uniform.recipes.judge.options import KnnOptions
from align_uniform.recipes.pretrain import moco, two_view

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


def pixels_of(images: ImageSet) -> NDArray[np.uint8]:
    return np.stack([np.asarray(images[i]) for i in range(len(images))])


@pytest.fixture(autouse=True)
def no_debian_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(fashion_mnist, "DEBIAN", tmp_path / "debian")


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Path, str]]:
    """A folder and the address it is served at, by this machine alone."""
    folder = tmp_path / "far"
    folder.mkdir()
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder))) as http:
        thread = threading.Thread(target=http.serve_forever, args=(0.01,))
        thread.start()
        yield folder, f"http://127.0.0.1:{http.server_address[1]}/"
        http.shutdown()
        thread.join()


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


# ----------------------------------------------------------------------------------------------------- STL-10


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


def serve_stl10(folder: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, NDArray[np.uint8]]:
    """Make an archive of a small STL-10, and torchvision's address and checksums those of it."""
    written = write_stl10(folder)
    (folder / "stl10_binary" / "test_X.bin").chmod(0o750)
    archive = folder / "served.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(folder / "stl10_binary", "stl10_binary")
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
    root = tmp_path / "here"
    (root / "stl10_binary").mkdir(parents=True)
    (root / "stl10_binary" / "notes").write_text("mine")
    np.testing.assert_array_equal(pixels_of(load("stl10", root, "test", download=True)), written["test"])
    assert (root / "stl10_binary" / "notes").read_text() == "mine"
    modes = {path.name: path.stat().st_mode for path in (root / "stl10_binary").iterdir()}
    assert set(modes.values()) == {modes["notes"]}, "not those that the umask gives"
    assert not list(root.glob(".*"))
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


# ---------------------------------------------------------------------------------------------- Fashion-MNIST


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


# ------------------------------------------------------------------------------------------------ ImageFolder


def write_folder(root: Path, files: list[str]) -> None:
    for number, name in enumerate(files):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L" if name.endswith("png") else "RGB", (4, 3), number).save(root / name)


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
    with pytest.raises(ValueError, match=r"bee has no image \(.bmp, "):
        load("imagefolder", tmp_path, "train")
    with pytest.raises(ValueError, match="cannot be downloaded"):
        load("imagefolder", tmp_path, "train", download=True)


def test_a_file_that_is_no_image_is_named(tmp_path: Path) -> None:
    write_folder(tmp_path, ["train/ant/1.png"])
    (tmp_path / "train" / "ant" / "2.png").write_text("no image")
    with pytest.raises(ValueError, match=r"2\.png cannot be read as an image"):
        load("imagefolder", tmp_path, "train")[1]


# -------------------------------------------------------------------------------------------- all, statistics


def test_digits_are_those_of_the_demo() -> None:
    images, tensors = load("digits", "", "test"), load_tensors().test
    torch.testing.assert_close(
        torch.from_numpy(pixels_of(images)) / 255, tensors.images.squeeze(1), atol=0.501 / 255, rtol=0
    )
    assert torch.equal(images.labels, tensors.labels)
    assert images[0].mode == "L"
    assert (len(load("digits", "", "train")), len(images)) == (1437, 360)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "stl10",
            r"STL-10 \(train\) is not in .*stl10_binary: train_X.bin, train_y.bin missing there; --download .*https://",
        ),
        (
            "fashion-mnist",
            r"Fashion-MNIST is not in .*raw .*train-images-idx3-ubyte and .*; --download .*apt install .*https://",
        ),
    ],
)
def test_an_absent_data_set_is_told_in_a_line_with_the_folder_and_how_to_get_it(
    tmp_path: Path, name: str, message: str
) -> None:
    with pytest.raises(FileNotFoundError, match=message) as told:
        load(name, tmp_path, "train")
    assert str(tmp_path) in str(told.value)
    assert "\n" not in str(told.value)


def test_names_and_splits_that_are_not_there_are_told_with_those_that_are() -> None:
    with pytest.raises(
        ValueError, match="no data set 'mnist'; choose from stl10, fashion-mnist, imagefolder, digits"
    ):
        load("mnist", "", "train")
    with pytest.raises(
        ValueError, match="stl10 has no split 'val'; choose from train, test, train\\+unlabeled"
    ):
        load("stl10", "", "val")


def test_a_set_can_be_sent_to_another_process_and_cut(tmp_path: Path) -> None:
    write_stl10(tmp_path)
    images = load("stl10", tmp_path, "train+unlabeled")
    sent = pickle.dumps(images)
    assert len(sent) < 10_000  # no pixels in it
    part = pickle.loads(sent).subset([6, 1])
    assert part.labels.tolist() == [-1, 1]
    assert [part[i].tobytes() for i in (0, 1)] == [images[i].tobytes() for i in (6, 1)]


def test_a_set_needs_as_many_labels_as_images() -> None:
    with pytest.raises(ValueError, match="x has 1 images and 2 labels"):
        ImageSet("x", [Image.new("L", (1, 1))], torch.zeros(2, dtype=torch.int64), ())


def test_statistics_are_those_of_all_pixels_for_images_of_one_size(tmp_path: Path) -> None:
    written = write_stl10(tmp_path)
    pixels = written["train"].reshape(-1, 3) / 255
    mean, std = measure_statistics(load("stl10", tmp_path, "train"))
    np.testing.assert_allclose(mean, pixels.mean(0))
    np.testing.assert_allclose(std, pixels.std(0))


def test_images_count_the_same_in_the_statistics_whatever_their_size() -> None:
    pictures = [Image.new("L", (20, 20), 255), Image.new("L", (2, 3), 0)]
    images = ImageSet("x", pictures, torch.zeros(2, dtype=torch.int64), ())
    assert measure_statistics(images) == ((0.5,), (0.5,))
    with pytest.raises(ValueError, match="A channel of x has one value in all 1 images read"):
        measure_statistics(images, at_most=1)
    with pytest.raises(ValueError, match="x has no image"):
        measure_statistics(images.subset([]))


def test_statistics_of_the_digits_are_as_listed() -> None:
    measured = measure_statistics(load("digits", "", "train"))
    np.testing.assert_allclose(np.array(measured), np.array(STATISTICS["digits"]), rtol=1e-6)


def test_statistics_are_given_for_every_channel_or_not_at_all() -> None:
    assert given_statistics((), ()) is None
    assert given_statistics([0.5], [0.25]) == Statistics((0.5,), (0.25,))
    with pytest.raises(ValueError, match="one number for each channel, got 3 and 1"):
        given_statistics([0.5] * 3, [0.5])
    with pytest.raises(ValueError, match=r"std must be above 0, got \[0.0\]"):
        given_statistics([0.5], [0.0])


# -------------------------------------------------------------------------------------------- a new data set


@pytest.fixture
def stripes(monkeypatch: pytest.MonkeyPatch) -> datasets.DataSet:
    """A made-up data set: stripes that run one way or the other, known to recipes by one record."""

    def load_stripes(root: Path, split: str, _: bool) -> ImageSet:
        if not root.is_dir():
            raise FileNotFoundError(f"There are no stripes in {root}")
        count = {"unlabelled": 40, "train": 24, "test": 12}[split]
        noise = np.random.default_rng(count).integers(0, 120, (count, 20, 20), np.uint8)
        noise[::2, ::4] += 120
        noise[1::2, :, ::4] += 120
        labels = torch.arange(count) % 2 if split != "unlabelled" else torch.full((count,), -1)
        return ImageSet("stripes", GreyArrays(noise), labels, ("across", "down"))

    record = datasets.DataSet(
        name="stripes",
        loader=load_stripes,
        splits=("unlabelled", "train", "test"),
        size=20,
        channels=1,
        views="fashion-mnist",
        evaluation="fashion-mnist",
        moco_views=("digits",),
        pretraining="unlabelled",
        remedy="draw some into {root}.",
    )
    monkeypatch.setitem(datasets.DATASETS, "stripes", record)
    return record


def test_a_data_set_is_its_record_for_loading_pretraining_and_evaluation(
    stripes: datasets.DataSet, tmp_path: Path
) -> None:
    assert len(load("stripes", tmp_path, stripes.pretraining)) == 40
    with pytest.raises(FileNotFoundError, match=r"no stripes in .*nowhere; draw some into .*nowhere\."):
        load("stripes", tmp_path / "nowhere", "train")
    small: dict[str, Any] = {
        "data": "stripes", "arch": "small-conv", "dim": 8, "size": 20, "epochs": 1, "batch_size": 20,
        "workers": 0, "device": "cpu", "root": tmp_path,
    }  # fmt: skip
    assert two_view.run(two_view.options(out=tmp_path / "two-view", **small)) == 0
    chosen = moco.options(out=tmp_path / "moco", queue=40, **small)
    assert moco.run(chosen) == 0
    views, plain = moco.transforms(chosen)
    assert views.steps == training_transform("digits", size=20).steps
    assert plain.steps == evaluation_transform("fashion-mnist", size=20).steps
    with pytest.raises(ValueError, match="aug_plus"):
        moco.options(aug_plus=True, queue=40, **small)
    (encoder,) = (tmp_path / "two-view").glob("*/encoder.pth")
    measured = measure_statistics(load("stripes", tmp_path, "unlabelled"))
    card = EncoderCard.read_beside(encoder)
    assert card is not None
    assert card.statistics == measured
    judged = KnnOptions(
        encoder=encoder, data="stripes", arch="small-conv", dim=8, root=tmp_path, workers=0, device="cpu",
        out=tmp_path / "scores.json",
    )  # fmt: skip
    assert evaluate.knn(judged) == 0
    assert json.loads((tmp_path / "scores.json").read_text())["n"] == 12


def test_the_roles_and_presets_of_every_record_exist() -> None:
    for name, record in datasets.DATASETS.items():
        assert record.name == name
        assert {record.pretraining, record.labelled, record.judging} <= set(record.splits)
        for preset in (record.views, *record.moco_views):
            assert training_transform(preset, statistics=record.statistics)
        transform = evaluation_transform(record.evaluation, statistics=record.statistics)
        assert len(transform.statistics.mean) == record.channels


def test_the_records_add_no_package_to_what_the_package_itself_imports() -> None:
    program = (
        "import sys, align_uniform; before = set(sys.modules)\n"
        "from align_uniform.recipes.images import datasets; datasets.given_statistics([0.5], [1])\n"
        "heavy = {name.partition('.')[0] for name in set(sys.modules) - before}\n"
        "print(*heavy & {'torch', 'numpy', 'PIL', 'torchvision'})"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
