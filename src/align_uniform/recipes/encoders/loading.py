"""Encoders by their name or path, for use in Python: of a run, of a file, or of another library."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from align_uniform.recipes.encoders.options import SENTENCE_TRANSFORMERS, TIMM, takes_texts
from align_uniform.recipes.encoders.sentences import SentenceEncoder, load_sentence_encoder

if TYPE_CHECKING:
    from align_uniform.recipes.encoders.networks import Encoder


def load_encoder(
    path: str | os.PathLike[str],
    *,
    arch: str | None = None,
    dim: int | None = None,
    head: str | None = None,
    size: int | None = None,
    channels: int | None = None,
) -> Encoder | SentenceEncoder:
    """Return an encoder in eval mode and on the CPU: `encoder.encode(items)` returns features, [N, m].

    The encoder of a folder or a file takes pictures (`encoder.encode(pictures)`), or tensors
    (`encoder(images)`) that its `encoder.transform` makes of them: the pictures are resized, cut and
    normalised as in evaluation. An encoder of this package is described by the encoder.json next to it, and
    needs no argument but its path. The other arguments are for files without one: bare state dicts, and
    checkpoints of the reference.

    A model of sentence-transformers, from a folder or from the Hugging Face Hub, takes texts; a network of
    timm, by its name or from a folder, takes pictures, which are prepared as timm does.

    Args:
        path: folder of a run, encoder.pth, encoder.safetensors, or a checkpoint of either recipe; or
            sentence-transformers:MODEL, or timm:NAME.
        arch: small-alexnet, small-conv, or a ResNet of torchvision. By default the one that encoder.json or
            the checkpoint names, or that the weights are known by, else small-alexnet.
        dim: number of output features. By default as in encoder.json or in the weights.
        head: projection head of a ResNet, linear or mlp. By default as in encoder.json or in the weights.
        size: height and width of the images, on which the weights of small-alexnet alone depend. By default
            as in encoder.json, else 64.
        channels: number of channels of the images. By default as in encoder.json, else 3.

    Raises:
        OSError: there is no such file or folder, or a model cannot be fetched.
        ValueError: the file holds no encoder, or another one than the arguments say.
        ModuleNotFoundError: the library of the model is missing.

    Example:
        >>> from align_uniform import load_encoder
        >>> encoder = load_encoder("results/align1alpha2_unif1t2")  # doctest: +SKIP
        >>> encoder.encode(["cat.jpg", "dog.jpg"]).shape  # doctest: +SKIP
        torch.Size([2, 128])
        >>> image = encoder.transform("cat.jpg")[None]  # doctest: +SKIP
        >>> encoder(image, "fc7").shape  # doctest: +SKIP
        torch.Size([1, 4096])
        >>> encoder = load_encoder("sentence-transformers:all-MiniLM-L6-v2")  # doctest: +SKIP
        >>> encoder.encode(["A cat.", "A dog."]).shape  # doctest: +SKIP
        torch.Size([2, 384])
    """
    name = os.fspath(path)
    described: dict[str, Any] = {"arch": arch, "dim": dim, "head": head, "size": size, "channels": channels}
    if not name.startswith((SENTENCE_TRANSFORMERS, TIMM)):
        from align_uniform.recipes.encoders.weights import read_encoder

        return read_encoder(path, **described)
    if given := [key for key, value in described.items() if value is not None]:
        raise ValueError(
            f"only the encoder of a file takes {' and '.join(given)}; leave them out for {name}."
        )
    if takes_texts(name):  # an encoder of texts needs no library of images
        return load_sentence_encoder(name.removeprefix(SENTENCE_TRANSFORMERS))
    from align_uniform.recipes.encoders.timm_networks import NetworkOfTimm, timm_encoder

    return NetworkOfTimm(timm_encoder(name.removeprefix(TIMM)))
