"""Linear classifiers in the reference's files: a ResNet of torchvision whose `fc` is the classifier.

`checkpoint.pth.tar` has the last epoch, `model_best.pth.tar` the epoch that was best on the test images.
They hold epoch (the next one), arch, state_dict (`module.*`), best_acc1, acc1 and acc5 (%), and optimizer.
Training resumes from another file, with the `state` of a `LinearEpoch`, which `classifier_of` reads too.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from align_uniform.recipes.encoders.checkpoints import PREFIX, check_fits, read_checkpoint, write_checkpoint
from align_uniform.recipes.judge.linear import LinearEpoch

HEAD = "fc."
"""Prefix of the names of the classifier's parameters."""


def save_linear(folder: Path, encoder: nn.Module, epoch: LinearEpoch, *, arch: str) -> None:
    """Write checkpoint.pth.tar, and model_best.pth.tar if the epoch is the best so far.

    Args:
        folder: folder of the files, which is made if it does not exist.
        encoder: a `ResNetEncoder`, whose backbone is written.
        epoch: the result of an epoch of `train_linear`.
        arch: name of the encoder in torchvision.
    """
    classifier = {HEAD + name: value for name, value in epoch.state["classifier"].items()}
    network = {name: value.cpu() for name, value in _backbone(encoder.state_dict()).items()} | classifier
    top5 = epoch.scores.top5
    held = {
        "epoch": epoch.epoch + 1,
        "arch": arch,
        "state_dict": {PREFIX + name: value for name, value in network.items()},
        "best_acc1": 100 * epoch.state["best"]["scores"]["top1"],
        "acc1": 100 * epoch.scores.top1,
        "acc5": 100 * (1.0 if top5 is None else top5),  # with five classes or fewer, every image counts
        "optimizer": epoch.state["optimizer"],
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("checkpoint.pth.tar", *(["model_best.pth.tar"] if epoch.is_best else [])):
        write_checkpoint(folder / name, held)


def classifier_of(path: Path, encoder: nn.Module) -> nn.Linear:
    """Return the classifier in a file of the reference's layout, or in the `state` of a `LinearEpoch`.

    Args:
        path: the file.
        encoder: the encoder whose features are classified.

    Raises:
        ValueError: the file holds no classifier, or the classifier of another backbone.
    """
    held = read_checkpoint(path)
    held = held if isinstance(held, Mapping) else {}
    if isinstance(held.get("classifier"), Mapping):
        return _linear(held["classifier"], path)
    state = {name.removeprefix(PREFIX): value for name, value in held.get("state_dict", held).items()}
    if theirs := _backbone(state):
        own = _backbone(encoder.state_dict())
        check_fits(path, own, theirs, "Give the encoder that the classifier was trained on.")
        if changed := [name for name in own if not torch.equal(own[name].cpu(), theirs[name].cpu())]:
            raise ValueError(
                f"{path} has the classifier of another encoder: {changed[0]} differs, and so on, "
                f"{len(changed)} in all; give the encoder that it was trained on."
            )
    return _linear(
        {name.removeprefix(HEAD): value for name, value in state.items() if name.startswith(HEAD)}, path
    )


def _backbone(state: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in state.items() if not name.startswith(HEAD)}


def _linear(state: Mapping[str, Any], path: Path) -> nn.Linear:
    shapes = {name: getattr(state.get(name), "ndim", None) for name in ("weight", "bias")}
    if shapes != {"weight": 2, "bias": 1}:
        raise ValueError(
            f"{path} must hold a linear classifier, like model_best.pth.tar or a file of --state, it holds "
            f"{', '.join(map(str, list(state)[:4])) or 'none'}."
        )
    classes, dim = state["weight"].shape
    classifier = nn.Linear(dim, classes)
    classifier.load_state_dict({name: state[name] for name in shapes})
    return classifier
