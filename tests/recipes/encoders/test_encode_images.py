"""`encode ENCODER IMAGES --out FILE`, and pictures that a loaded encoder takes itself."""

from __future__ import annotations

import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from align_uniform.cli import main
from align_uniform.files import open_rows, read_column
from align_uniform.recipes.encoders.networks import build
from align_uniform.recipes.encoders.weights import EncoderCard, read_encoder, save_encoder
from align_uniform.recipes.images.statistics import Statistics
from tests import processes
from tests.recipes.encoders import encode_worker

QUICK = ("--workers", "0", "--device", "cpu")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Grey and coloured pictures of two classes in `photos`, and an encoder of grey images in `run`."""
    rng = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(3):
            pixels = rng.integers(0, 256, (20 + number, 24, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{number}.png")
    torch.manual_seed(0)
    encoder = build("small-conv", 8, size=16, channels=1).eval()
    EncoderCard.of(encoder, Statistics((0.3,), (0.25,)), "digits").write(tmp_path / "run")
    save_encoder(encoder, tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def paths(place: Path) -> list[Path]:
    return sorted((place / "photos").rglob("*.png"))


def test_a_loaded_encoder_takes_pictures_and_tensors(place: Path) -> None:
    encoder = read_encoder("run")
    assert encoder.transform is not None
    pixels = np.asarray(Image.open(paths(place)[0]).convert("L").resize((19, 16), Image.Resampling.BILINEAR))
    image = encoder.transform(paths(place)[0])
    assert image.shape == (1, 16, 16)
    expected = (pixels[:, 2:18].astype(np.float64) / 255 - 0.3) / 0.25
    assert np.abs(image[0].numpy() - expected).max() < 0.05
    with torch.no_grad():
        alone = torch.cat([encoder(encoder.transform(path)[None]) for path in paths(place)])
    together = encoder.encode(paths(place), batch_size=4)
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)
    in_memory = encoder.encode([Image.open(path) for path in paths(place)], batch_size=4)
    assert torch.equal(in_memory, together)
    assert encoder.encode(paths(place), "features").shape[0] == 6
    with pytest.raises(ValueError, match=r"must be a list of pictures, got 'a\.png'; write \[picture\]"):
        encoder.encode("a.png")


def test_a_picture_in_memory_is_seen_as_the_one_in_its_file(place: Path, tmp_path: Path) -> None:
    """With 16 bits, and turned by its EXIF data."""
    levels = np.linspace(0, 2**16 - 1, 32 * 24).reshape(32, 24).astype(np.uint16)
    Image.fromarray(levels).save(tmp_path / "deep.png")
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    Image.fromarray((levels >> 8).astype(np.uint8)).save(tmp_path / "turned.png", exif=exif)
    transform = read_encoder("run").transform
    assert transform is not None
    for name in ("deep.png", "turned.png"):
        with Image.open(tmp_path / name) as picture:
            assert torch.equal(transform(picture), transform(tmp_path / name))


def test_an_encoder_whose_pictures_are_not_known_says_so(place: Path) -> None:
    (place / "run" / "encoder.json").unlink()
    encoder = read_encoder("run", arch="small-conv", channels=1)
    with pytest.raises(
        ValueError, match=r"no encoder\.json lies next to its weights; set encoder\.transform"
    ):
        encoder.encode(paths(place))


@pytest.mark.parametrize("ending", ["npy", "safetensors", "npz", "h5", "parquet"])
def test_a_folder_is_encoded_to_each_format(
    ending: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = f"out.{ending}"
    assert main(["encode", "run", "photos", "--out", file, *QUICK]) == 0
    told = capsys.readouterr().err
    has_columns = ending not in ("npy", "safetensors")
    columns = ", paths, labels" if has_columns else ""
    assert f"{file}: 6 images, 8 features each (output, on cpu){columns}\n" in told
    rows = open_rows(f"{file}::features" if has_columns else file)[0][:]
    expected = read_encoder("run").encode(paths(place))
    torch.testing.assert_close(rows, expected, atol=1e-5, rtol=1e-5)
    if has_columns:
        assert list(read_column(f"{file}::labels")) == ["cat"] * 3 + ["dog"] * 3
        assert list(read_column(f"{file}::paths"))[-1] == "dog/2.png"
    (command,) = [line.split("next", 1)[1] for line in told.splitlines() if line.startswith("  next ")]
    assert main(shlex.split(command)[1:]) == 0
    assert "6 rows of 8 features" in capsys.readouterr().out


def test_a_data_set_is_encoded_by_its_name(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("sklearn")
    assert main(["encode", "run", "digits", "--out", "d.npz", "--layer", "features", *QUICK]) == 0
    assert "360 images" in capsys.readouterr().err
    with np.load("d.npz") as file:
        assert len(file["features"]) == 360
        assert sorted(set(file["labels"])) == list("0123456789")
        assert "paths" not in file


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "photos", "--out", "there.npy"], "there.npy exists already; use --force to replace it"),
        (["run", "photos", "--out", "x.txt"], "--out must end in .npy"),
        (["run", "nowhere", "--out", "x.npy"], "There is no folder nowhere"),
        (["nowhere", "photos", "--out", "x.npy"], "there is no encoder nowhere"),
        (["run", "photos", "--out", "x.npy", "--split", "train"], "--split need"),
        (
            ["run", "digits", "--out", "x.npy", "--split", "val"],
            "--split must be one of train, test, got val",
        ),
        (["run", "photos", "--out", "x.npy", "--layer", "fc9"], "layer must be one of the encoder's"),
    ],
)
def test_what_cannot_be_encoded_is_told_in_one_line(
    arguments: list[str], message: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / "there.npy").write_bytes(b"mine")
    assert main(["encode", *arguments, *QUICK]) == 1
    told = capsys.readouterr().err
    assert message in told
    assert told.count("\n") == 1
    assert (place / "there.npy").read_bytes() == b"mine"
    assert not (place / "x.npy").exists()


def test_force_replaces_a_file(place: Path) -> None:
    (place / "there.npy").write_bytes(b"mine")
    assert main(["encode", "run", "photos", "--out", "there.npy", "--force", *QUICK]) == 0
    assert np.load("there.npy").shape == (6, 8)


def test_two_processes_share_the_images_and_write_the_file_once(place: Path) -> None:
    rng = np.random.default_rng(1)
    for count in encode_worker.COUNTS:
        (place / str(count)).mkdir()
        for number in range(count):
            pixels = rng.integers(0, 256, (20, 20, 3), np.uint8)
            Image.fromarray(pixels).save(place / str(count) / f"{number}.png")
    (place / "found").mkdir()
    worker = "recipes.encoders.encode_worker"
    first, second = processes.found_by(worker, place / "found", [2], str(place))[2]
    for count in encode_worker.COUNTS:
        code, told = first[str(count)]
        assert code == 0
        assert told.count("\n") == 2
        assert f"{count}.npz: {'1 image' if count == 1 else f'{count} images'}, 8 features each" in told
        assert second[str(count)] == (0, "")
        with np.load(place / f"{count}.npz") as file:
            assert file["paths"].tolist() == [f"{number}.png" for number in range(count)]
            alone = read_encoder("run").encode([place / str(count) / name for name in file["paths"]])
            np.testing.assert_allclose(file["features"], alone.numpy(), atol=1e-5, rtol=1e-5)
