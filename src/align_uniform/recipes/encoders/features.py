"""Features of a frozen encoder, at any layer and on any number of processes.

The encoder's weights and buffers are hashed before and after, to prove that they stayed the same.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from align_uniform._messages import listed
from align_uniform._ranks import gather_objects, gather_rows

Loader = Iterable[Any]
"""Batches `(images, labels, ...)`, of which each process has its own; further items are ignored."""
Layer = str | Callable[[Tensor], Tensor]
"""The place where features are taken: a name among the encoder's `layers`, such as "fc7"; "output", which
every encoder has; the name of a submodule, such as "layer4"; or a function from images to features."""


def features(
    encoder: nn.Module,
    loader: Loader,
    layer: Layer = "output",
    *,
    device: str | torch.device | None = None,
    gather: bool = False,
    on_batch: Callable[[int], None] | None = None,
) -> tuple[Tensor, Tensor]:
    """Return the features of all images of a loader, and their labels.

    Args:
        encoder: a network, which runs in eval mode and without gradients; every module's mode is restored.
        loader: batches `(images, labels)`, whose order is kept.
        layer: a name in `layer_names`, or a function; features are flattened.
        device: the device that computes, to which the encoder is moved. By default the device that it is on.
        gather: whether to return the rows of all processes, in order of rank, on each of them; every process
            must then call this.
        on_batch: called after every batch with its number of images.

    Returns:
        [N, m], float32 or float64, and [N], int64; both on the CPU. [0, 0] if the loader is empty.

    Raises:
        ValueError: there is no such layer, or the encoder's weights or buffers have changed.
    """
    device = placed(encoder, device)
    rows, labels = [], []
    with frozen(encoder):
        for batch, batch_labels in batches_of(loader):
            rows.append(extract(encoder, layer, batch.to(device)).cpu())
            labels.append(batch_labels.cpu())
            if on_batch is not None:
                on_batch(len(batch))
    kept = torch.cat(rows) if rows else torch.empty(0, 0)
    kept_labels = torch.cat(labels) if labels else torch.empty(0, dtype=torch.long)
    if not gather:
        return kept, kept_labels
    dim, dtype = agreed(kept)
    kept = kept if len(kept) else torch.empty(0, dim, dtype=dtype)
    return gather_rows(kept.to(device)).cpu(), gather_rows(kept_labels.to(device)).cpu()


def check_layer(encoder: nn.Module, layer: str) -> None:
    """Refuse a layer that the encoder does not have.

    Raises:
        ValueError: `layer` is none of `layer_names`.
    """
    if layer not in layer_names(encoder):
        raise ValueError(f"layer must be one of the encoder's, got {layer!r}; it has {_known(encoder)}.")


def layer_names(encoder: nn.Module) -> list[str]:
    """Return the names of layers: the encoder's own names for them, "output", and those of its submodules."""
    return list(
        dict.fromkeys(
            [*_own_layers(encoder), "output", *(name for name, _ in encoder.named_modules() if name)]
        )
    )


def _own_layers(encoder: nn.Module) -> tuple[str, ...]:
    layers = getattr(encoder, "layers", ())
    return layers if isinstance(layers, tuple) else ()


class _ReachedError(Exception):
    """Signals that the layer has its output, so that the rest of the encoder need not run."""

    def __init__(self, output: Tensor) -> None:
        super().__init__()
        self.output = output


@torch.no_grad()
def extract(encoder: nn.Module, layer: Layer, images: Tensor) -> Tensor:
    """Return the features of a batch of images at a layer, [B, m]."""
    if callable(layer):
        output = layer(images)
    elif layer in _own_layers(encoder):
        output = encoder(images, layer)
    elif layer == "output":
        output = encoder(images)
    else:
        output = _output_of(_module(encoder, layer), encoder, images, layer)
    if not isinstance(output, Tensor) or output.dim() < 2:
        got = list(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise ValueError(
            f"layer {layer!r} must give a tensor [N, ...], got {got}; choose another: {_known(encoder)}."
        )
    output = output.flatten(1)
    return output if output.dtype == torch.float64 else output.float()


def _output_of(module: nn.Module, encoder: nn.Module, images: Tensor, name: str) -> Tensor:
    def stop(module: nn.Module, inputs: Any, output: Tensor) -> None:
        raise _ReachedError(output)

    hook = module.register_forward_hook(stop)
    try:
        encoder(images)
    except _ReachedError as reached:
        return reached.output
    finally:
        hook.remove()
    raise ValueError(f"layer {name!r} is never called by the encoder; choose another: {_known(encoder)}.")


def _module(encoder: nn.Module, layer: str) -> nn.Module:
    found: nn.Module | None = dict(encoder.named_modules()).get(layer)
    if found is None or found is encoder:
        raise ValueError(f"layer must be one of the encoder's, got {layer!r}; it has {_known(encoder)}.")
    return found


def _known(encoder: nn.Module) -> str:
    return listed(layer_names(encoder), 40)


@contextmanager
def frozen(encoder: nn.Module) -> Iterator[str]:
    """Put an encoder into eval mode, and restore each module's own mode at the end.

    Yield the digest of the weights and buffers.

    Raises:
        ValueError: they have changed at the end.
    """
    modes = {module: module.training for module in encoder.modules()}
    before = _digests(encoder)
    encoder.eval()
    try:
        yield hashlib.sha256("".join(before.values()).encode()).hexdigest()
    finally:
        for module, mode in modes.items():
            module.training = mode
    after = _digests(encoder)
    if changed := [name for name in before | after if before.get(name) != after.get(name)]:
        raise ValueError(
            f"the encoder must come out as it went in, but {', '.join(changed[:3])} changed, {len(changed)} "
            "in all: its forward pass writes to them, so the accuracy is not that of one encoder; make it "
            "leave them alone in eval mode."
        )


def _digests(encoder: nn.Module) -> dict[str, str]:
    tensors = [*encoder.named_parameters(), *encoder.named_buffers()]
    return {name: hashlib.sha256(_bytes(tensor)).hexdigest() for name, tensor in tensors}


def _bytes(tensor: Tensor) -> memoryview:
    values = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
    return values.data


def batches_of(loader: Loader) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the images and the integer labels of each batch."""
    for images, labels, *_ in loader:
        yield images, torch.as_tensor(labels).long()


def placed(encoder: nn.Module, device: str | torch.device | None) -> torch.device:
    """Move an encoder to a device, and return the device; None leaves it where it is."""
    if device is not None:
        encoder.to(device)
        return torch.device(device)
    return next((parameter.device for parameter in encoder.parameters()), torch.device("cpu"))


def agreed(rows: Tensor) -> tuple[int, torch.dtype]:
    """Return the number of features and their dtype, also on a process that has seen no image."""
    kinds = {
        other
        for other in gather_objects((rows.shape[1], rows.dtype) if len(rows) else None)
        if other is not None
    }
    if len(kinds) != 1:
        raise ValueError(
            "the loaders of all processes must bring images, and features of one kind, got "
            f"{kinds or 'no image'}; check the data set and the layer."
        )
    return kinds.pop()
