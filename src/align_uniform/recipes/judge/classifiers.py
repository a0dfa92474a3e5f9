"""Linear classifiers in the reference's files: a ResNet of torchvision whose `fc` is the classifier.

`checkpoint.pth.tar` has the last epoch, `model_best.pth.tar` the epoch that was best on the test images.
They hold epoch (the next one), arch, state_dict (`module.*`), best_acc1, acc1 and acc5 (%), and optimizer.
Training resumes from another file, with the `state` of a `LinearEpoch`, which `classifier_of` reads too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from align_uniform._messages import listed
from align_uniform.recipes.encoders.checkpoints import PREFIX, check_fits, read_checkpoint, write_checkpoint
from align_uniform.recipes.encoders.features import frozen

HEAD = "fc."
"""Prefix of the names of the classifier's parameters."""

LAST, BEST = "checkpoint.pth.tar", "model_best.pth.tar"
"""The names of the files of the last epoch, and of the best."""


def save_linear(
    folder: Path, encoder: nn.Module, state: Mapping[str, Any], *, arch: str, with_best: bool = True
) -> None:
    """Write checkpoint.pth.tar, and model_best.pth.tar if asked for, with the optimizer of the last epoch.

    Args:
        folder: folder of the files, which is made if it does not exist.
        encoder: a `ResNetEncoder`, whose backbone is written.
        state: the `state` of a `LinearEpoch`.
        arch: name of the encoder in torchvision.
        with_best: write the best epoch, too.
    """
    backbone = {name: value.cpu() for name, value in _backbone(encoder.state_dict()).items()}
    folder.mkdir(parents=True, exist_ok=True)
    best = state["best"]
    files = [(LAST, state["epoch"], state), (BEST, best["epoch"] + 1, best)]
    for name, epoch, part in files if with_best else files[:1]:
        network = backbone | {HEAD + key: value for key, value in part["classifier"].items()}
        top5 = part["scores"]["top5"]
        held = {
            "epoch": epoch,
            "arch": arch,
            "state_dict": {PREFIX + key: value for key, value in network.items()},
            "best_acc1": 100 * best["scores"]["top1"],
            "acc1": 100 * part["scores"]["top1"],
            "acc5": 100 * (1.0 if top5 is None else top5),  # with five classes or fewer, every image counts
            "optimizer": state["optimizer"],
        }
        write_checkpoint(folder / name, held)


def classifier_of(path: Path, encoder: nn.Module, layer: str, classes: Sequence[str]) -> nn.Linear:
    """Return the classifier in a file of the reference's layout, or in the `state` of a `LinearEpoch`.

    Args:
        path: the file.
        encoder: the encoder whose features are classified.
        layer: the layer of these features.
        classes: the names of the classes, in order.

    Raises:
        ValueError: the file holds no classifier, or, as far as it says so, the classifier of another encoder,
            of another layer, or of other classes.
    """
    held = read_checkpoint(path)
    held = held if isinstance(held, Mapping) else {}
    if isinstance(held.get("classifier"), Mapping):
        _check_trained_on(path, held, encoder, layer, tuple(classes))
        return _linear(held["classifier"], path)
    held = held["state_dict"] if isinstance(held.get("state_dict"), Mapping) else held
    state = {str(name).removeprefix(PREFIX): value for name, value in held.items()}
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


def _check_trained_on(
    path: Path, state: Mapping[str, Any], encoder: nn.Module, layer: str, classes: tuple[str, ...]
) -> None:
    """Refuse the state of a classifier that was trained on other features, or for other classes."""
    with frozen(encoder) as digest:
        if state.get("encoder", digest) != digest:
            raise ValueError(
                f"{path} has the classifier of another encoder; give the encoder that it was trained on."
            )
    if (trained := state.get("layer", layer)) != layer:
        raise ValueError(
            f"{path} has a classifier of the layer {trained}, got {layer}; pass --layer {trained}."
        )
    if (known := tuple(state.get("classes", classes))) != classes:
        raise ValueError(
            f"{path} has a classifier of the classes {listed(known, 4)}, and the images have "
            f"{listed(classes, 4)}, in this order; give the data that it was trained on."
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
