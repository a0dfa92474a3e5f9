"""The words that a run says on stderr: when it starts, when it stops early, and when it ends."""

from __future__ import annotations

import itertools
import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from align_uniform import _ranks as ranks
from align_uniform._messages import counted
from align_uniform.recipes.encoders.weights import EncoderCard
from align_uniform.recipes.images.datasets import data_set
from align_uniform.recipes.images.folders import split_folder
from align_uniform.recipes.pretrain.log import FILE, in_words
from align_uniform.recipes.pretrain.loop import Trainer

WRITTEN = (
    "encoder.pth",
    "encoder.safetensors",
    "encoder.json",
    "report.html",
    "trajectory.png",
    "trajectory.svg",
    FILE,
)
"""The files that a run leaves for others, in the order in which they are named at its end."""

MODULE = ["-m", "align_uniform"]


def opening(trainer: Trainer) -> str:
    """Return what starts, or what is resumed: the objective, images, encoder, device, length and folder."""
    options, images = trainer.options, trainer.views.images
    trained = sum(each.numel() for each in trainer.model.parameters() if each.requires_grad)
    processes = counted(ranks.world_size(), "process", "processes")
    batches = counted(trainer.sampler.batches, "batch", "batches")
    features, parameters = counted(options.dim, "output feature"), counted(trained, "parameter")
    lines = {
        "objective": options.formula,
        "images": f"{len(images):,} of {images.name}, in views of {options.size} x {options.size} pixels",
        "encoder": f"{options.arch} with {features}, {parameters}",
        "device": f"{trainer.device}, {processes}, {options.precision}",
        "rate": options.rate,
        "epoch": f"{batches} of {counted(min(options.batch_size, len(images)), 'image')}",
        "folder": str(trainer.folder),
    }
    return f"pretrain {options.recipe}, preset {options.preset}: {_place(trainer)}\n{_block(lines)}"


def _block(lines: Mapping[str, str]) -> str:
    """Return values below each other, with their names in front; empty ones are left out."""
    return "".join(f"  {name:<10} {value}\n" for name, value in lines.items() if value)


def _place(trainer: Trainer) -> str:
    """Return where the run starts."""
    if not trainer.batches_done:
        return f"starting, {counted(trainer.options.epochs, 'epoch')}"
    if trainer.epoch == trainer.options.epochs:
        return f"done already, after {counted(trainer.epoch, 'epoch')}"
    after = f" after batch {trainer.batch} of {trainer.sampler.batches}" if trainer.batch else ""
    return f"resuming at epoch {trainer.epoch + 1} of {trainer.options.epochs}{after}"


def interruption(trainer: Trainer) -> str:
    """Return where a run stopped early, and the command that resumes it."""
    text = f"{trainer.folder}: stopped after {_done(trainer)}, and saved."
    more = [*_more_steps(trainer), *_resuming(trainer)]
    if command := resuming_command(("--steps", "--resume"), more):
        why = f"{shlex.join(more)} outweighs the file of options, which may stop the run again.\n"
        return f"{text} To resume, run:\n  {command}\n{why if more else ''}"
    changed = "" if trainer.options.steps is None else ", without steps"
    changed += ", with resume auto" if trainer.options.resume == "never" else ""
    return f"{text} To resume, run it again with the same options{changed}.\n"


def loss_of_worker(trainer: Trainer) -> str:
    """Return what to do after the loss of a process that made views, in one line."""
    kept = f"saved after {_done(trainer)}" if ranks.rank() == 0 else "kept as its last checkpoint has it"
    command = resuming_command(("--workers", "--resume"), ["--workers", "0", *_resuming(trainer)])
    remedy = f"run {command}" if command else "run it again with the same options, and workers 0"
    return (
        "a process that makes views ended unexpectedly, most often because memory ran out; the run is "
        f"{kept}. To resume it without such processes, {remedy}"
    )


def _done(trainer: Trainer) -> str:
    """Return the epochs and batches that are done, in words."""
    done = f"{trainer.epoch} of {counted(trainer.options.epochs, 'epoch')}"
    of = counted(trainer.sampler.batches, "batch", "batches")
    return f"{done} and {trainer.batch} of {of}" if trainer.batch else done


def closing(trainer: Trainer) -> str:
    """Return the numbers of a run that has ended, its files, and the command to go on with."""
    options, folder = trainer.options, trainer.folder
    evaluations = [line for line in trainer.history if "evaluation" in line]
    numbers = in_words(evaluations[-1]) if evaluations else ""
    files = ", ".join(name for name in WRITTEN if (folder / name).exists())
    command = shlex.join([*_program(), *_next(trainer)])
    lines = {"result": numbers, "written": files, "next": command}
    done = f"{folder}: {trainer.epoch} of {counted(options.epochs, 'epoch')}"
    return f"{done}\n{_block(lines)}"


def _next(trainer: Trainer) -> list[str]:
    """Return the command that judges what a run has trained, or encodes images if none are for tests."""
    evaluations = [line for line in trainer.history if "evaluation" in line]
    if evaluations and "knn" not in evaluations[-1]:
        images = split_folder(trainer.options.root, "train") or trainer.options.root
        return ["encode", str(trainer.folder), str(images), "--out", _unused("features", ".npz")]
    return ["evaluate", "linear", *_judging(trainer)]


def _unused(stem: str, ending: str) -> str:
    """Return the name of a file that is not there yet, with a number in it if it needs one."""
    numbers = itertools.chain([""], (f"-{number}" for number in itertools.count(2)))
    return next(name for each in numbers if not os.path.lexists(name := f"{stem}{each}{ending}"))


def _judging(trainer: Trainer) -> list[str]:
    """Return the options by which a linear evaluation judges what a run has trained, as the papers do.

    The papers judge by the features before the head; images of any size are judged by ImageNet's protocol.
    """
    options, card = trainer.options, EncoderCard.read_beside(trainer.folder)
    layer = ["--layer", card.layers[-2]] if card is not None and len(card.layers) > 1 else []
    protocol = ["--protocol", "imagenet"] if data_set(options.data).evaluation == "imagenet" else []
    root = ["--root", str(options.root)] if options.root != Path("data") else []
    return ["--encoder", str(trainer.folder), *layer, *protocol, *root]


def _has_configs() -> bool:
    return any(word.partition("=")[0] == "--config" for word in sys.argv[1:])


def _more_steps(trainer: Trainer) -> list[str]:
    """Return the option that outweighs the steps in a file of options, which nothing that is typed takes out.

    More batches than the run has stop it nowhere.
    """
    if trainer.options.steps is None or not _has_configs():
        return []
    return ["--steps", str(trainer.options.epochs * trainer.sampler.batches + 1)]


def _resuming(trainer: Trainer) -> list[str]:
    """Return the option that outweighs a file of options by which a run is never resumed."""
    return ["--resume", "auto"] if trainer.options.resume == "never" and _has_configs() else []


def resuming_command(dropped: Sequence[str], more: Sequence[str] = ()) -> str:
    """Return the command that resumes this run; empty if no command was typed.

    Under torchrun on several machines torchrun's own options cannot be known, and are left to the reader.

    Args:
        dropped: the options that are left out of what was typed, which would stop the run again.
        more: the words that are added to it.
    """
    start = _program()
    if start == ["align-uniform"] and Path(sys.argv[0]).stem != "align-uniform":
        return ""
    if processes := os.environ.get("LOCAL_WORLD_SIZE"):
        is_whole = ranks.world_size() == int(processes)
        known = ["--nproc-per-node", processes] if is_whole else ["[the same options]"]
        start = ["torchrun", *known, *MODULE]
    return f"{' '.join(start)} {shlex.join([*_without(dropped, sys.argv[1:]), *more])}"


def _program() -> list[str]:
    """Return the words that start this package as it was started: as a module, or else as a command."""
    program = Path(sys.argv[0])
    is_module = (program.parent.name, program.name) == ("align_uniform", "__main__.py")
    return ["python", *MODULE] if is_module else ["align-uniform"]


def _without(options: Sequence[str], words: Sequence[str]) -> list[str]:
    """Return the words of a command line without some options, each of which has one value."""
    pairs = zip(["", *words], words, strict=False)
    return [word for before, word in pairs if before not in options and word.partition("=")[0] not in options]
