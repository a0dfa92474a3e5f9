"""Files of data sets: fetched whole, and reported when they are damaged."""

from __future__ import annotations

from pathlib import Path

from align_uniform._writing import written_whole


def fetch(url: str, path: Path, md5: str) -> None:
    """Download a file unless it is already there; it gets its name only once its checksum is right."""
    from torchvision.datasets.utils import (  # type: ignore[import-untyped]  # it is not typed; takes seconds to import
        check_integrity,
        download_url,
    )

    if check_integrity(str(path), md5):
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(path) as partial:
        try:
            download_url(url, str(partial.parent), partial.name, md5)
        except (OSError, RuntimeError) as error:
            raise OSError(
                f"{url} could not be fetched ({error}); fetch it in another way and put it at {path}."
            ) from error


def damaged(path: Path, why: str) -> ValueError:
    """Return the error to raise for a damaged file."""
    return ValueError(f"{path} is damaged: {why}; remove it and fetch it again.")
