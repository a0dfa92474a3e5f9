"""The folder of a run: one run at a time has it, and a disk that fails is reported with what to do."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from align_uniform import _ranks as ranks
from align_uniform._locks import lock, release
from align_uniform.recipes.pretrain.state import BEFORE, LAST


@contextmanager
def folder_of_one_run(folder: Path, resume: str = "auto") -> Iterator[None]:
    """Make the folder of a run, and keep other runs out of it until the body is left.

    The first process holds a lock on the folder, which ends with the process, however that ends. A folder
    that is still empty at the end is removed.

    Args:
        folder: folder of the run.
        resume: the option of this name; `never` forbids the same command to resume the run.

    Raises:
        ValueError: another run has the folder.
        OSError: the folder cannot be made, or a file in it cannot be written.
    """
    if ranks.rank() != 0:
        yield
        return
    made = [each for each in (folder, *folder.parents) if not each.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(
            f"{folder} cannot be made ({error.strerror}); choose another place with --out."
        ) from error
    held = _lock(folder)
    try:
        with _failures_are_told(folder, resume):
            yield
    finally:
        if held is not None:
            release(held)
        for each in made:
            with suppress(OSError):  # it is not empty
                each.rmdir()


def _lock(folder: Path) -> int | None:
    """Lock the folder; None if its file system has no locks."""
    try:
        return lock(folder.resolve())
    except BlockingIOError:
        raise ValueError(
            f"{folder} is in use by another run of the same name; wait until it has ended, or choose another "
            "folder with --out."
        ) from None
    except OSError:
        return None


@contextmanager
def _failures_are_told(folder: Path, resume: str) -> Iterator[None]:
    """Say which file in the folder could not be written, and how the run goes on."""
    try:
        yield
    except OSError as error:
        path = Path(os.fsdecode(error.filename or folder))
        if error.errno is None or folder not in (path, *path.parents):
            raise
        has_state = any((folder / name).exists() for name in (LAST, BEFORE))
        resumes = (
            "it resumes at its last checkpoint" if has_state else "it starts again, without a checkpoint"
        )
        allowing = " with --resume auto" if has_state and resume == "never" else ""
        raise OSError(
            f"{path} cannot be written ({error.strerror}), and so the run has ended; make room on the disk "
            f"or bring the folder back, and run the same command again{allowing}: {resumes}."
        ) from error
