"""Pictures are read upright and with 8 bits a channel, and every error names the file."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from align_uniform.files import pictures
from align_uniform.files.pictures import read_picture

RAMP: NDArray[np.uint16] = np.linspace(0, 65535, 64, dtype=np.uint16).reshape(8, 8)


def write_pgm(path: Path, values: NDArray[np.uint16], most: int) -> None:
    path.write_bytes(f"P5\n8 8\n{most}\n".encode() + values.astype(">u2").tobytes())


@pytest.mark.parametrize("ending", ["png", "tif", "pgm"])
def test_16_bit_grey_is_scaled_to_8_bits(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"x.{ending}"
    if ending == "pgm":
        write_pgm(path, RAMP, 65535)
    else:
        Image.fromarray(RAMP).save(path)
    found = np.asarray(read_picture(path))
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, RAMP >> 8)


def test_10_bit_grey_is_scaled_by_what_the_file_says_is_white(tmp_path: Path) -> None:
    write_pgm(tmp_path / "x.pgm", RAMP // 64, 1023)
    found = np.asarray(read_picture(tmp_path / "x.pgm")).astype(int)
    assert abs(found - (RAMP >> 8)).max() <= 1


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            RAMP.astype(np.float32),
            "its floating-point values are 0.0 to 65535.0, on a scale that is not",
        ),
        (
            RAMP.astype(np.int32),
            "its 32-bit values are 0 to 65535, on a scale that is not",
        ),
        (np.array([[-5, 3]], np.int32), "its 32-bit values are -5 to 3"),
    ],
    ids=["float", "32 bits", "signed"],
)
def test_values_on_an_unknown_scale_are_refused(
    values: NDArray[np.generic], message: str, tmp_path: Path
) -> None:
    Image.fromarray(values).save(tmp_path / "x.tif")
    with pytest.raises(ValueError, match=rf"x\.tif cannot be read as an image \({message}"):
        read_picture(tmp_path / "x.tif")


@pytest.mark.parametrize(("orientation", "turned"), [(3, 2), (6, 3), (8, 1)])
def test_pictures_are_turned_as_their_exif_data_ask(orientation: int, turned: int, tmp_path: Path) -> None:
    pixels = np.zeros((16, 32), np.uint8)
    pixels[:8, :8] = 255
    image = Image.fromarray(pixels)
    exif = image.getexif()
    exif[0x112] = orientation
    image.save(tmp_path / "x.png", exif=exif)
    np.testing.assert_array_equal(np.asarray(read_picture(tmp_path / "x.png")), np.rot90(pixels, turned))


def test_damaged_exif_data_do_no_harm(tmp_path: Path) -> None:
    Image.new("RGB", (6, 4)).save(tmp_path / "x.jpg", exif=b"Exif\0\0garbage")
    assert read_picture(tmp_path / "x.jpg").size == (6, 4)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK"])
def test_pictures_of_8_bits_stay_as_they_are(mode: str, tmp_path: Path) -> None:
    path = tmp_path / ("x.tif" if mode == "CMYK" else "x.png")
    Image.new(mode, (4, 3)).save(path)
    assert read_picture(path).mode == mode


def hostile(folder: Path) -> dict[str, str]:
    """Write files that Pillow refuses in several ways, and return what is said of each."""
    info = PngImagePlugin.PngInfo()
    info.add_text("note", "y" * 2_000_000, zip=True)
    Image.new("RGB", (6, 4)).save(folder / "text.png", pnginfo=info)
    Image.new("L", (64, 64)).save(folder / "bomb.png")
    noise = np.random.default_rng(0).integers(0, 256, (30, 30), np.uint8)
    Image.fromarray(noise).save(folder / "cut.png")
    (folder / "empty.png").touch()
    (folder / "cut.png").write_bytes((folder / "cut.png").read_bytes()[:500])
    (folder / "folder.png").mkdir()
    return {
        "text.png": "MAX_TEXT_CHUNK|Decompressed Data Too Large",
        "bomb.png": "exceeds limit of 2000 pixels",
        "empty.png": "cannot identify image file",
        "cut.png": "truncated",
        "folder.png": "Is a directory",
        "nowhere.png": "No such file",
    }


def test_every_error_names_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = hostile(tmp_path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    for name, reason in expected.items():
        with pytest.raises(ValueError, match=rf"{name} cannot be read as an image \(.*{reason}.*\); remove"):
            read_picture(tmp_path / name)


def test_what_pillow_only_warns_of_is_read_in_silence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.new("L", (40, 40)).save(tmp_path / "large.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with pytest.warns(Image.DecompressionBombWarning):
            Image.open(tmp_path / "large.png").close()
        assert pictures.read_picture(tmp_path / "large.png").size == (40, 40)
    assert not caught
