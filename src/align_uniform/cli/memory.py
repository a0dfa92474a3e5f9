"""Too little memory: one line that says so, and options of the very command that need less of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from align_uniform._memory import amount_in, lacks_memory
from align_uniform._options import options_that_may_change, spelled, without_effect
from align_uniform.recipes.images.workers import LostWorkerError

ROWS = ("features", "embeddings", "old", "train_features")
"""The options, of several commands, that name files of rows."""


def told(error: BaseException, options: Any) -> str:
    """Return what to say of an error if memory ran out, also in a process of a loader; else nothing.

    Args:
        error: the error that ended a command.
        options: the options of the command.
    """
    if isinstance(error, LostWorkerError):
        remedies = [*_changed(options, "workers", 0), *_one_by_one(options, "--workers 0")]
        return f"{error}, most often because memory ran out; {_or(remedies)}."
    if not lacks_memory(error):
        return ""
    amount = amount_in(error)
    where = "this computer" if _place(error) == "cpu" else "the device"
    asked = f", where {amount} were asked for at once" if amount else ""
    return f"{where} has too little memory{asked}; {_or([*_remedies(error, options)])}."


def _place(error: BaseException) -> str:
    """Return the device whose memory ran out, cpu or any other."""
    text = str(error)
    return "device" if any(name in text for name in ("CUDA", "GPU", "HIP", "XPU", "MPS")) else "cpu"


def _remedies(error: BaseException, options: Any) -> Iterator[str]:
    """Yield what needs less memory, the best first."""
    size = getattr(options, "batch_size", 1)
    smaller = ([*_changed(options, "batch_size", each)] for each in range(size // 2, 0, -1))
    yield from next(filter(None, smaller), [])
    if (rows := getattr(options, "test_rows", 0)) > 100:
        yield from _changed(options, "test_rows", rows // 2)
    if _place(error) == "cpu" and getattr(options, "loading_processes", None):
        yield from _changed(options, "workers", 0)
    if _place(error) != "cpu":
        yield from _changed(options, "device", "cpu")
    if any(getattr(options, name, None) for name in ROWS):
        yield "give files of fewer rows, such as every tenth, rows[::10]"
    yield from _one_by_one(options, "--batch-size 32")


def _changed(options: Any, name: str, value: Any) -> Iterator[str]:
    """Yield what to type for another value of an option, if the command then runs and the option counts."""
    if getattr(options, name, value) == value:
        return
    try:
        if without_effect(replace(options, **{name: value}), {name}):
            return
    except ValueError:
        return
    words = f"add {spelled(name)} {value}"
    if _has_begun(options) and name not in options_that_may_change(options):
        words += f" --out {options.out}-smaller (a run that has begun keeps its own)"
    yield words


def _one_by_one(options: Any, option: str) -> Iterator[str]:
    """Yield the way to encode with less memory for the command that lacks the options for it."""
    if getattr(options, "encoder", None) and not hasattr(options, "batch_size"):
        yield (
            f"encode with one encoder at a time by `align-uniform measure --encoder`, with {option} and "
            "--json, and compare what they print"
        )


def _has_begun(options: Any) -> bool:
    """Return whether options are those of a run that has a checkpoint."""
    from align_uniform.recipes.pretrain.options import PretrainOptions

    if not isinstance(options, PretrainOptions):
        return False
    from align_uniform.recipes.pretrain.state import BEFORE, LAST

    return any((options.folder / name).exists() for name in (LAST, BEFORE))


def _or(remedies: list[str]) -> str:
    return ", or ".join(remedies) or "close other programs, or use a computer with more memory"
