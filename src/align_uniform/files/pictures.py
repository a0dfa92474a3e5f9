"""Pictures in files, as people see them: upright and with 8 bits a channel. Every error names the file."""

from __future__ import annotations

import os
import warnings
from typing import TYPE_CHECKING

from align_uniform._extras import needs
from align_uniform._messages import one_line

if TYPE_CHECKING:
    from PIL import Image

BITS_PER_SAMPLE = 258
"""The tag of a TIFF file that says how many bits a channel has."""


def read_picture(path: str | os.PathLike[str], *, draft: tuple[int, int] | None = None) -> Image.Image:
    """Return the picture in a file, upright, with 8 bits a channel, and in any mode of such pictures.

    Args:
        path: the file.
        draft: width and height of a preview, by which a JPEG file is read faster and smaller.

    Raises:
        ValueError: the file is no picture, is damaged, has too many pixels (Pillow's limit, 179 million), or
            has values whose scale is unknown. The message names the file, whatever the reason.
    """
    with needs("report"):
        from PIL import Image

    try:
        # Pillow warns of much that does no harm, such as damaged EXIF data, and does not name the file.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path) as opened:
                if draft is not None:
                    opened.draft("RGB", draft)
                return as_seen(opened)
    except Exception as error:  # the readers of damaged files raise whatever they stumble over
        reason = one_line(str(error) or type(error).__name__).rstrip(".")
        raise ValueError(
            f"{os.fspath(path)} cannot be read as an image ({reason}); remove or replace it."
        ) from error


def as_seen(image: Image.Image) -> Image.Image:
    """Return a picture with 8 bits, turned as its EXIF data ask for.

    Raises:
        ValueError: it has floating-point or 32-bit values, whose scale is not known.
    """
    return _upright(_with_8_bits(image))


def _with_8_bits(image: Image.Image) -> Image.Image:
    """Scale 16 bits to 8 by dropping the lower ones, as Pillow does in colour pictures.

    Raises:
        ValueError: the picture has floating-point or 32-bit values, whose scale is not known.
    """
    if not image.mode.startswith("I") and image.mode != "F":
        image.load()
        return image
    import numpy as np
    from PIL import Image

    bits = getattr(image, "tag_v2", {}).get(BITS_PER_SAMPLE, (16,))
    values = np.asarray(image)
    if image.mode == "F" or bits != (16,) or values.min() < 0 or values.max() > 65535:
        kind = "floating-point" if image.mode == "F" else f"{bits[0]}-bit"
        raise ValueError(
            f"its {kind} values are {values.min()} to {values.max()}, on a scale that is not known; save it "
            "with 8 or 16 bits without a sign"
        )
    scaled = Image.fromarray((values.astype(np.uint32) >> 8).astype(np.uint8))
    scaled.info = image.info
    return scaled


def _upright(image: Image.Image) -> Image.Image:
    """Turn a picture as its EXIF data ask for; damaged EXIF data are ignored."""
    from PIL import ImageOps

    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # the reader of EXIF data raises whatever it stumbles over
        return image.copy()
