"""Changes of the colours of one image, as Pillow makes them to the bit, and faster if several follow.

Planes are the channels of an image, [channels, height, width], as whole numbers 0 to 255 in float32,
contiguous. The functions change them in place. Pillow's roundings are restated; sums of whole numbers stay
below 2^24, up to which float32 has each of them. Pillow takes one pixel after the other, numpy several at
once, and hues are looked up. `recipes.images.batches` does the same to a batch of images.
"""

from __future__ import annotations

import threading
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Planes = NDArray[np.float32]
"""The channels of an image, [channels, height, width], as whole numbers 0 to 255."""

FULL = 255 * 255
"""The number that weights of hues and saturations are relative to."""
LIGHT = 19595, 38470, 7471
"""The weights of red, green and blue in grey, in units of 2^-16."""
PLACE = 511, -510, -1
"""The weights of red, green and blue in the place of a colour in the table of hues."""
FIRST = 255 * 512
"""The place of black in the table of hues."""

_BLACK, _WHITE = np.float32(0), np.float32(255)  # numpy takes longer with numbers of Python
_LIGHT, _PLACE = np.array(LIGHT, np.float32) / np.float32(2**16), np.array(PLACE, np.float32)


def brighten(planes: Planes, factor: float) -> None:
    """Blend planes with black: 0 is black, 1 the image."""
    _blend(planes, None, factor)


def change_contrast(planes: Planes, factor: float) -> None:
    """Blend planes with the mean grey of the image: 0 is grey, 1 the image."""
    light = grey(planes)
    total = int(light.sum(dtype=np.float32 if 255 * light.size < 2**24 else np.float64))
    _blend(planes, np.float32((2 * total + light.size) // (2 * light.size)), factor)


def saturate(planes: Planes, factor: float) -> None:
    """Blend planes with their grey version: 0 is grey, 1 the image; grey planes stay as they are."""
    if len(planes) == 3:
        _blend(planes, grey(planes), factor)


def turn_hue(planes: Planes, steps: int) -> None:
    """Rotate the hues; grey planes stay as they are.

    In Pillow's HSV, a pixel whose largest channel is v, with saturation s of 255, has in each channel the
    whole number nearest to v (1 - s w / 255^2), where w, 0 to 255, depends on the hue and the channel alone.

    Args:
        planes: the planes, which are changed.
        steps: the angle in parts of the circle, of which there are 256.
    """
    if len(planes) == 1:
        return
    channels = planes.reshape(3, -1)
    held, hues = _scratch(channels.shape[1]), tables()
    red, green, blue = channels
    value = np.maximum(np.maximum(red, green, out=held.value), blue, out=held.value)
    least = np.minimum(np.minimum(red, green, out=held.least), blue, out=held.least)
    place = np.dot(_PLACE, channels, out=held.place)
    place += np.float32(FIRST)
    held.whole[:] = place
    # mode="clip" writes to `out` without a copy in between; all places are within the tables
    hue = hues["hue"].take(held.whole, out=held.hue, mode="clip")
    np.multiply(value, np.float32(257), out=place)
    place -= least
    held.whole[:] = place
    strength = hues["strength"].take(held.whole, out=least, mode="clip")
    np.add(hue, steps, out=held.whole)
    hues["weights"].take(held.whole, axis=1, out=channels, mode="clip")
    channels *= strength
    value *= np.float32(FULL)
    value += np.float32(FULL // 2)
    np.subtract(value, channels, out=channels)
    channels /= np.float32(FULL)
    np.floor(channels, out=channels)


def hue_steps(turn: float) -> int:
    """Return the argument of `turn_hue` for a part of the circle, -.5 to .5."""
    return int(turn * 255) % 256


def grey(planes: Planes) -> Planes:
    """Return the brightness of each pixel, [height, width], which the next call overwrites."""
    if len(planes) == 1:
        only: Planes = planes[0]
        return only
    light = np.dot(_LIGHT, planes.reshape(3, -1), out=_scratch(planes[0].size).value)
    light += np.float32(0.5)
    rounded: Planes = np.floor(light, out=light).reshape(planes.shape[1:])
    return rounded


def _blend(planes: Planes, one: Any, factor: float) -> None:
    """Make planes one + factor (planes - one), cut off to whole numbers in 0 to 255."""
    if one is not None:
        planes -= one
    planes *= np.float32(factor)
    if one is not None:
        planes += one
    if factor > 1:  # a smaller factor leaves no value outside
        planes.clip(_BLACK, _WHITE, out=planes)
    np.floor(planes, out=planes)


class _Scratch:
    """Memory for intermediate values, used again for each image, so that it stays in the cache."""

    def __init__(self, pixels: int) -> None:
        self.pixels = pixels
        self.value, self.least, self.place = (np.empty(pixels, np.float32) for _ in range(3))
        self.hue = np.empty(pixels, np.int16)
        self.whole = np.empty(pixels, np.intp)


_HELD = threading.local()


def _scratch(pixels: int) -> _Scratch:
    held: _Scratch | None = getattr(_HELD, "scratch", None)
    if held is None or held.pixels != pixels:
        held = _HELD.scratch = _Scratch(pixels)
    return held


# ----------------------------------------------------------------------------------------------------- tables


@cache
def tables() -> dict[str, NDArray[Any]]:
    """Return the tables of hues.

    | table | entry | place |
    | --- | --- | --- |
    | hue | hue, 0 to 255 | 511 (red - green + 255) + green - blue + 255 |
    | strength | value times saturation, 0 to 255^2 | 257 largest - least channel |
    | weights | w of each channel, 0 to 255 | hue, 0 to 511 |
    """
    weights = np.zeros((3, 256), np.float32)
    for hue in range(256):
        sector, rising = divmod(6 * hue, 255)
        falling = 255 - rising
        weights[:, hue] = (
            (0, falling, 255), (rising, 0, 255), (255, 0, falling),
            (255, rising, 0), (falling, 255, 0), (0, 255, rising),
        )[sector % 6]  # fmt: skip
    levels = np.arange(256, dtype=np.float32)
    value, spread = np.meshgrid(levels, levels, indexing="ij")  # 256 value + spread = 257 value - least
    saturation = np.minimum(spread / np.maximum(value, 1), 1).astype(np.float64)
    return {
        "hue": _hues().ravel(),
        "strength": (value * np.floor(saturation * 255)).astype(np.float32).ravel(),
        "weights": np.concatenate([weights, weights], axis=1),
    }


def _hues() -> NDArray[np.int16]:
    """Return the hues by red - green + 255 and green - blue + 255, with the roundings of Pillow."""
    one, two = np.meshgrid(np.arange(-255, 256), np.arange(-255, 256), indexing="ij")
    channels = np.stack([one + two, two, np.zeros_like(one)])  # of red, green and blue, less blue
    below = (channels.max(0) - channels).astype(np.float32)
    red, green, blue = below / np.maximum(below.max(0), 1)
    sectors = (blue - green, 2.0 + red.astype(np.float64) - blue, 4.0 + green.astype(np.float64) - red)
    hue = np.choose(below.argmin(0), sectors).astype(np.float32).astype(np.float64)
    turns = np.fmod(hue / 6 + 1, 1).astype(np.float32).astype(np.float64)
    return np.where(below.max(0) > 0, turns * 255, 0).astype(np.int16)
