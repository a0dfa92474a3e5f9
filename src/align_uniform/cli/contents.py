"""The texts and pictures of rows: read, counted and looked for before anything is measured."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from align_uniform._messages import counted, shortened


@dataclass(frozen=True)
class ContentFiles:
    """The files with the texts and pictures of either view or tower."""

    texts: str | None = None
    positive_texts: str | None = None
    images: str | None = None
    positive_images: str | None = None


@dataclass(frozen=True)
class Contents:
    """The texts and pictures of the rows of either view or tower, as `write_report` takes them."""

    texts: Any = None
    images: Any = None


def read_contents(files: ContentFiles, counts: Sequence[int]) -> Contents:
    """Read texts and the paths of pictures, and check that there is one for each row.

    Args:
        files: the files.
        counts: the numbers of rows of features, and of positives if there are any.

    Raises:
        ValueError: a file has another number of values than there are rows, or none of the pictures exists.
        OSError: a file cannot be read.
    """
    texts = [_column(files.texts, counts[0]), _column(files.positive_texts, counts[-1])]
    images = [_column(files.images, counts[0]), _column(files.positive_images, counts[-1])]
    for path, column in zip((files.images, files.positive_images), images, strict=True):
        _look_for_pictures(str(path), column or [])
    return Contents(_sides(texts), _sides(images))


def counts_of_rows(*sources: str | None) -> list[int]:
    """Return the number of rows in each file of rows that is given; little of it is read."""
    from align_uniform.measuring.sources import sources as opened

    return [opened("features", path)[0].shape[0] for path in sources if path is not None]


def _sides(columns: Sequence[list[Any] | None]) -> Any:
    """Return the values of the first side alone, or those of both; None if there are none."""
    first, second = columns
    return first if second is None else (first, second)


def _column(path: str | None, count: int) -> list[Any] | None:
    if path is None:
        return None
    from align_uniform.files import read_column
    from align_uniform.files.tables import why_miscounted

    found = read_column(path)
    if len(found) != count:
        raise ValueError(
            f"{path} must have one value for each of the {counted(count, 'row')}, got "
            f"{len(found):,}{why_miscounted(path, found, count)}."
        )
    return found


def _look_for_pictures(path: str, pictures: Sequence[Any]) -> None:
    from align_uniform import _ranks as ranks

    missing = [picture for picture in map(str, pictures) if not os.path.exists(picture)]
    if not missing:
        return
    first = shortened(missing[0])
    if len(missing) == len(pictures):
        remedy = "" if Path(first).is_absolute() else "; paths are relative to the folder of the command"
        raise ValueError(
            f"{path} must name a picture for each row, but none of its {len(missing):,} exists, the first is "
            f"{first}{remedy}."
        )
    if ranks.rank() == 0:
        print(
            f"{path}: {len(missing):,} of {counted(len(pictures), 'picture')} do not exist, the first is "
            f"{first}",
            file=sys.stderr,
        )
