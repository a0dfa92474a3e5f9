"""The views of a batch of images, made at once on any device: a GPU, if the processes that read are too slow.

The processes that read images draw the parameters of each view, from the generator of its seed, epoch, image
and view; here the pixels are changed, of all views at once, each by its own parameters. A view therefore
depends neither on the other images of its batch nor on the number of processes. Every step gives the values
that it gives one image (`recipes.images.augmentations`), since the roundings of Pillow's whole numbers are
restated. One thing may differ, by one grey level before colours change: crops are resized along rows and then
along columns, where Pillow 13 takes the columns of some tall crops first.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from align_uniform.recipes.images import colours
from align_uniform.recipes.images.augmentations import (
    ColorJitter,
    RandomAffine,
    RandomBlur,
    RandomFlip,
    RandomGrayscale,
    RandomResizedCrop,
    Resize,
    Step,
    affine_coefficients,
    as_image,
)
from align_uniform.recipes.images.image_set import path_of
from align_uniform.recipes.images.views import Key, Transform, TwoViews, generator

AT_ONCE = 256
"""The number of views whose pixels are changed at once, which bounds the memory."""


class Draft(NamedTuple):
    """An image, and the parameters of its views."""

    image: Image.Image
    drawn: tuple[list[tuple[float, ...]], ...]
    """The parameters of each step, of each view."""
    row: int
    """The index of the image."""


class Drafts(NamedTuple):
    """The images of a batch, and what is still to be done to make two views of each."""

    pixels: Tensor
    """The images, [N, channels, height, width], or the begun views, [2 N, ...], uint8."""
    drawn: tuple[Tensor, ...]
    """The parameters of the steps to come, [2 N, parameters] each, float64; all first views come first."""
    indices: Tensor
    """The indices of the images, [N]."""


class Drafting(Dataset[Draft]):
    """The images of `TwoViews` with the parameters of their views, from which `render` makes whole batches.

    Images in files differ in size, and may be large: the first step of their views, a crop, is done when they
    are read. Other images have one size, and are sent to the device as they are, once for both views.
    """

    def __init__(self, views: TwoViews) -> None:
        self.views = views
        self.done = 0 if path_of(views.images.pictures, 0) is None else 1
        """The number of steps that are done when an image is read."""

    def __len__(self) -> int:
        return len(self.views)

    def __getitem__(self, key: Key) -> Draft:
        epoch, index = key
        image = self.views.images[index]
        generators = (generator(self.views.seed, epoch, index, view) for view in (0, 1))
        return Draft(image, tuple(self.views.transform.draw(image.size, each) for each in generators), index)

    def collate(self, drafts: Sequence[Draft]) -> Drafts:
        """Return the drafts of a batch."""
        images = [draft.image for draft in drafts]
        drawn = [draft.drawn[view] for view in (0, 1) for draft in drafts]
        for number, step in enumerate(self.views.transform.steps[: self.done]):
            views = images if len(images) == len(drawn) else images * 2
            images = [
                as_image(step.apply(*each))
                for each in zip(views, (row[number] for row in drawn), strict=True)
            ]
        columns = [
            torch.tensor(column, dtype=torch.float64)
            for column in list(zip(*drawn, strict=True))[self.done :]
        ]
        pixels = np.stack([np.asarray(image) for image in images])
        return Drafts(
            torch.from_numpy(pixels.reshape(*pixels.shape[:3], -1)).permute(0, 3, 1, 2).contiguous(),
            tuple(columns),
            torch.tensor([draft.row for draft in drafts]),
        )


def render(drafts: Drafts, transform: Transform, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the first and the second views, [N, channels, height, width] each, float32, on the device."""
    count = 2 * len(drafts.indices)
    steps = transform.steps[len(transform.steps) - len(drafts.drawn) :]
    transform.check(drafts.pixels.shape[1])
    pixels = drafts.pixels.to(device, non_blocking=True)
    parts = []
    for rows in torch.arange(count).split(AT_ONCE):
        planes = pixels[(rows % len(pixels)).to(device)].float()
        for step, drawn in zip(steps, drafts.drawn, strict=True):
            planes = _STEPS[type(step)](step, planes, drawn[rows])
        parts.append(_normalised(planes, transform))
    first, second = torch.cat(parts).chunk(2)
    return first, second


def _normalised(planes: Tensor, transform: Transform) -> Tensor:
    mean, std = (
        torch.tensor(moment, dtype=torch.float32).view(-1, 1, 1).to(planes.device)
        for moment in transform.statistics
    )
    return _quotient(planes, 255).sub_(mean).div_(std)


# ----------------------------------------------------------------------------------------------------- shapes


def _crop(step: RandomResizedCrop, planes: Tensor, drawn: Tensor) -> Tensor:
    left, top, width, height = drawn.T
    across = _resized(planes.int(), -1, left, width, step.size)
    return _resized(across, -2, top, height, step.size).float()


def _resize(step: Resize, planes: Tensor, _: Tensor) -> Tensor:
    height, width = planes.shape[-2:]
    if (size := step.resized((width, height))) == (width, height):
        return planes
    none, all_rows = (
        torch.zeros(len(planes), dtype=torch.float64),
        torch.ones(len(planes), dtype=torch.float64),
    )
    across = _resized(planes.int(), -1, none, all_rows * width, size[0])
    return _resized(across, -2, none, all_rows * height, size[1]).float()


def _resized(values: Tensor, axis: int, start: Tensor, length: Tensor, size: int) -> Tensor:
    """Resize a part of each image along one axis, where the part has the given start and length, [N] each.

    Pillow's weights are whole numbers, in units of 2^-22.
    """
    places, weights = _taps(start, length, size, values.device)
    along = (-1, 1, 1, size) if axis == -1 else (-1, 1, size, 1)
    shape = list(values.shape)
    shape[axis] = size
    total = torch.full(shape, 2**21, dtype=torch.int32, device=values.device)
    for place, weight in zip(
        places.clamp(max=values.shape[axis] - 1).unbind(-1), weights.unbind(-1), strict=True
    ):
        total += values.gather(axis, place.view(along).expand(shape)) * weight.view(along)
    return (total >> 22).clamp_(0, 255)


def _taps(start: Tensor, length: Tensor, size: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the places that each resized place depends on, and their weights, [N, size, places].

    The weights are a triangle around the centre, as wide as the reduction.
    """
    taps = 2 * math.ceil(max(1, float(length.max()) / size)) + 1
    exact = _exact(device)
    start, length = start.to(exact)[:, None], length.to(exact)[:, None]
    scale = length / torch.full_like(length, size)  # a GPU would multiply by the inverse of a number
    reach = scale.clamp(min=1)
    centre = (torch.arange(size, device=exact) + 0.5) * scale
    first = (centre - reach + 0.5).clamp(min=0).trunc()[..., None]
    last = (centre + reach + 0.5).trunc().minimum(length)[..., None]
    place = first + torch.arange(taps, device=exact)
    weight = 1 - ((place - centre[..., None] + 0.5) * (torch.ones_like(reach) / reach)[..., None]).abs()
    weight = torch.where(place < last, weight.clamp(min=0), 0)
    total = weight[..., :1].clone()
    for each in weight[..., 1:].split(1, dim=-1):  # in Pillow's order
        total += each
    whole = (weight / total * 2**22 + 0.5).int()
    return (start[..., None] + place).long().to(device), whole.to(device)


def _exact(device: torch.device) -> torch.device:
    """Return the device, or the CPU if the device has no float64."""
    return torch.device("cpu") if device.type == "mps" else device


def _flip(_: RandomFlip, planes: Tensor, drawn: Tensor) -> Tensor:
    return torch.where(drawn.bool().view(-1, 1, 1, 1).to(planes.device), planes.flip(-1), planes)


def _affine(_: RandomAffine, planes: Tensor, drawn: Tensor) -> Tensor:
    height, width = planes.shape[-2:]
    rows = [affine_coefficients((width, height), *row) for row in drawn.tolist()]
    exact = _exact(planes.device)
    numbers = torch.tensor(rows, dtype=torch.float64).to(exact).T[..., None, None]
    down, right = (torch.arange(count, dtype=torch.float64, device=exact) + 0.5 for count in (height, width))
    x = numbers[0] * right + numbers[1] * down[:, None] + numbers[2]
    y = numbers[3] * right + numbers[4] * down[:, None] + numbers[5]
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    x, y = x - 0.5, y - 0.5
    left, top = x.floor(), y.floor()
    values = planes.to(exact).double().flatten(2)

    def at(dx: int, dy: int) -> Tensor:
        place = (top + dy).clamp(0, height - 1) * width + (left + dx).clamp(0, width - 1)
        return values.gather(2, place.long().flatten(1)[:, None].expand_as(values)).view(planes.shape)

    x, y = (x - left)[:, None], (y - top)[:, None]
    upper, lower = (at(0, dy) + (at(1, dy) - at(0, dy)) * x for dy in (0, 1))
    return ((upper + (lower - upper) * y).trunc() * inside[:, None]).to(planes)


def _blur(_: RandomBlur, planes: Tensor, drawn: Tensor) -> Tensor:
    rows = drawn[:, 0].nonzero().flatten()
    if not len(rows):
        return planes
    weights = _box(drawn[rows, 0]).to(planes.device)
    chosen = rows.to(planes.device)
    values = planes[chosen].long()
    for axis in (-1, -1, -1, -2, -2, -2):
        values = _boxed(values, axis, weights)
    return planes.index_copy_(0, chosen, values.float())


def _box(sigma: Tensor) -> Tensor:
    """Return the weights, in units of 2^-24, of places at distance 0, 1, ... in a box applied three times.

    The box has a radius that is no whole number, and a third of the Gaussian's variance. Pillow finds it in
    float32.
    """
    one = np.float32(1)
    radii = sigma.numpy().astype(np.float32)
    variance = radii * radii / np.float32(3)
    length = np.sqrt(12.0 * variance.astype(np.float64) + 1.0).astype(np.float32)
    whole = np.floor((length.astype(np.float64) - 1.0) / 2.0).astype(np.float32)
    rest = (2 * whole + one) * (whole * (whole + one) - 3 * variance)
    rest /= 6 * (variance - (whole + one) * (whole + one))
    radius = whole + rest
    inner = radius.astype(np.int64)
    weight = (np.float32(2**24) / (radius * 2 + one)).astype(np.int64)
    edge = (2**24 - (2 * inner + 1) * weight) // 2
    distance = np.arange(inner.max() + 2)
    weights = np.where(distance <= inner[:, None], weight[:, None], 0)
    return torch.from_numpy(np.where(distance == inner[:, None] + 1, edge[:, None], weights))


def _boxed(values: Tensor, axis: int, weights: Tensor) -> Tensor:
    """Blur whole numbers along one axis; outside of the image its edge goes on."""
    size = values.shape[axis]
    place = torch.arange(size, device=values.device)
    total = values * weights[:, 0].view(-1, 1, 1, 1)
    for distance, weight in enumerate(weights.T[1:], start=1):
        before = values.index_select(axis, (place - distance).clamp(min=0))
        after = values.index_select(axis, (place + distance).clamp(max=size - 1))
        total += (before + after) * weight.view(-1, 1, 1, 1)
    return (total + 2**23) >> 24


# ---------------------------------------------------------------------------------------------------- colours


def _jitter(_: ColorJitter, planes: Tensor, drawn: Tensor) -> Tensor:
    places, factors = drawn[:, ::2], drawn[:, 1::2]
    order = torch.where(places < 0, math.inf, places).argsort(dim=1, stable=True)
    for turn in range(4):
        for which, change in enumerate((_brightened, _contrasted, _saturated, _turned)):
            rows = ((order[:, turn] == which) & (places[:, which] >= 0)).nonzero().flatten()
            if len(rows):
                chosen = rows.to(planes.device)
                changed = change(planes[chosen], factors[rows, which])
                planes.index_copy_(0, chosen, changed)
    return planes


def _brightened(planes: Tensor, factors: Tensor) -> Tensor:
    return _blended(0, planes, factors)


def _contrasted(planes: Tensor, factors: Tensor) -> Tensor:
    light, count = _light(planes), planes.shape[-2] * planes.shape[-1]
    total = light.sum((-2, -1), dtype=torch.int64, keepdim=True)
    return _blended(((2 * total + count) // (2 * count)).float()[:, None], planes, factors)


def _saturated(planes: Tensor, factors: Tensor) -> Tensor:
    return planes if planes.shape[1] == 1 else _blended(_light(planes)[:, None], planes, factors)


def _turned(planes: Tensor, turns: Tensor) -> Tensor:
    """Rotate the hues; see `colours.turn_hue`."""
    if planes.shape[1] == 1:
        return planes
    steps = torch.tensor([colours.hue_steps(turn) for turn in turns.tolist()]).view(-1, 1, 1)
    value, least = planes.amax(1), planes.amin(1)
    hue = _entries("hue", _mixed(planes, colours.PLACE) + colours.FIRST) + steps.to(planes.device)
    strength = _entries("strength", value * 257 - least)
    base = value * colours.FULL + colours.FULL // 2
    lost = _entries("weights", hue) * strength
    return _quotient(base - lost, colours.FULL).floor_().movedim(0, 1)


def _grey(_: RandomGrayscale, planes: Tensor, drawn: Tensor) -> Tensor:
    grey = _light(planes)[:, None].expand_as(planes)
    return torch.where(drawn.bool().view(-1, 1, 1, 1).to(planes.device), grey, planes)


def _light(planes: Tensor) -> Tensor:
    """Return the brightness of each pixel, [N, height, width]."""
    if planes.shape[1] == 1:
        return planes[:, 0]
    return ((_mixed(planes, colours.LIGHT) + 2**15) * 2**-16).floor_()


def _mixed(planes: Tensor, weights: tuple[int, int, int]) -> Tensor:
    """Return the weighted sum of the channels; a GPU may round a product of matrices to ten bits."""
    red, green, blue = planes.unbind(1)
    return red * weights[0] + green * weights[1] + blue * weights[2]


def _blended(one: Any, planes: Tensor, factors: Tensor) -> Tensor:
    by = factors.float().view(-1, 1, 1, 1).to(planes.device)
    blended: Tensor = (planes - one) * by + one
    return blended.clamp_(0, 255).floor_()


def _quotient(values: Tensor, by: int) -> Tensor:
    """Return values divided by a number; a GPU would multiply by the inverse of a number."""
    return values / torch.full((), by, dtype=values.dtype, device=values.device)


def _entries(name: str, places: Tensor) -> Tensor:
    entries: Tensor = _table(name, places.device)[..., places.long()]
    return entries


@cache
def _table(name: str, device: torch.device) -> Tensor:
    return torch.from_numpy(colours.tables()[name].astype(np.float32)).to(device)


_STEPS: dict[type[Step], Callable[[Any, Tensor, Tensor], Tensor]] = {
    RandomResizedCrop: _crop,
    RandomFlip: _flip,
    RandomAffine: _affine,
    RandomBlur: _blur,
    Resize: _resize,
    ColorJitter: _jitter,
    RandomGrayscale: _grey,
}
