"""Encoders on disk: written as the reference has them, and read from whatever holds one."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor, nn

from align_uniform._writing import written_whole
from align_uniform.recipes.encoders.networks import Encoder, build

PREFIX = "module."
"""Before each name of the reference's state dict."""


def save_encoder(encoder: nn.Module, folder: Path) -> None:
    """Write encoder.pth, the bare state dict as the reference has it, and the same as safetensors if that is
    installed.
    """
    state = {name: value.cpu().contiguous() for name, value in encoder.state_dict().items()}
    with written_whole(folder / "encoder.pth") as partial:
        torch.save(state, partial)
    try:
        from safetensors.torch import save_file
    except ModuleNotFoundError:
        return
    with written_whole(folder / "encoder.safetensors") as partial:
        save_file(state, partial)


def load_encoder(
    path: Path, arch: str, dim: int, *, size: int, channels: int = 3, head: str = "linear"
) -> Encoder:
    """Return the encoder of a file: a bare state dict, ours or the reference's, or a checkpoint of either
    recipe.

    Args:
        path: the file, see `encoder_state`.
        arch: of the encoder, as all that follows; see `encoders.build`.
        dim: features of its output.
        size: height and width of its images.
        channels: of its images.
        head: of a ResNet.

    Raises:
        OSError: there is no such file.
        ValueError: it holds no encoder, or another one.
    """
    encoder = build(arch, dim, size=size, channels=channels, head=head)
    state, own = encoder_state(path), encoder.state_dict()
    wrong = sorted(
        name
        for name in own | state
        if name not in own or name not in state or own[name].shape != state[name].shape
    )
    if wrong:
        raise ValueError(
            f"{path} is not of a {arch} with {dim} features and {size} pixels: {', '.join(wrong[:4])}."
        )
    encoder.load_state_dict(state)
    return encoder


def encoder_state(path: Path) -> dict[str, Tensor]:
    """The encoder's own entries of whatever a file holds, without prefixes."""
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            held: Any = load_file(path)
        except SafetensorError as error:
            raise ValueError(f"{path} must be a safetensors file; it cannot be read ({error}).") from error
    else:
        held = read_checkpoint(path)
    for key in ("model", "state_dict"):
        held = held.get(key, held) if isinstance(held, Mapping) else held
    if not isinstance(held, Mapping) or not all(isinstance(value, Tensor) for value in held.values()):
        raise ValueError(f"{path} must hold the state dict of an encoder, it holds {type(held).__name__}.")
    for prefix in ("module.encoder_q.", "encoder_q.", "module.encoder.", "encoder.", "module."):
        if any(name.startswith(prefix) for name in held):
            return {
                name.removeprefix(prefix): value for name, value in held.items() if name.startswith(prefix)
            }
    return dict(held)


def read_checkpoint(path: Path, device: torch.device | str = "cpu") -> Any:
    """What `torch.save` wrote, tensors and plain values alone.

    Raises:
        ValueError: the file is torn, is no checkpoint, or holds code.
    """
    try:
        return torch.load(path, map_location=device, weights_only=True)
    except (RuntimeError, UnpicklingError, EOFError, zipfile.BadZipFile, KeyError, ValueError) as error:
        reason = str(error).split("\n")[0].rstrip(".")
        raise ValueError(
            f"{path} must be a checkpoint of tensors and plain values; it cannot be read ({reason})."
        ) from error
