"""Published encoders, with their weights: the paper's, and torchvision's networks without their classifiers.

Weights are data here: a file with anything but tensors and plain values is refused, and nothing in it is
executed.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import os
import re
import sys
from pathlib import Path
from urllib.parse import urlsplit

import torch
from torch import nn

from align_uniform._extras import needs
from align_uniform._writing import written_whole
from align_uniform.recipes.encoders.checkpoints import check_fits, state_like
from align_uniform.recipes.encoders.weights import read_encoder
from align_uniform.recipes.images.statistics import Statistics

__all__ = ["imagenet_resnet50_encoder", "torchvision_encoder", "weights_file"]

RELEASE = "https://github.com/SsnL/moco_align_uniform/releases/download/v1.0-checkpoints/"
ENCODER = "imagenet_align_uniform.pth.tar"
CLASSIFIER = "imagenet_align_uniform_with_linear_clf.pth.tar"


def imagenet_resnet50_encoder(
    with_linear_clf: bool = False,
    *,
    weights: str | os.PathLike[str] | None = None,
    sha256: str | None = None,
    progress: bool = True,
) -> nn.Module:
    """Return the ResNet-50 that was trained on ImageNet with alignment and uniformity, without labels.

    It takes images of 224x224 pixels, normalised by ImageNet's mean (.485, .456, .406) and standard deviation
    (.229, .224, .225), and returns points on the unit sphere: the 2,048 features of the backbone go through
    an MLP head and are divided by their norm. With the classifier it is torchvision's ResNet-50 and returns
    logits: the same backbone, and the linear layer that was trained on its features.

    Args:
        with_linear_clf: whether to return [N, 1000] logits instead of [N, 128] features of unit norm.
        weights: path or https address of other weights than the published ones: a checkpoint of this package
            or of the reference.
        sha256: the SHA-256 that the file must have, 64 hexadecimal digits. Without it, a file that was
            fetched must be the same at each later use.
        progress: whether to draw a bar on stderr during a download.

    Returns:
        The network, in eval mode and on the CPU, for images [N, 3, 224, 224].

    Raises:
        OSError: the file could not be fetched or read.
        ValueError: the file holds other weights, or code, or has another SHA-256.

    Example:
        >>> import torch
        >>> encoder = imagenet_resnet50_encoder()  # doctest: +SKIP
        >>> encoder(torch.zeros(1, 3, 224, 224)).shape  # doctest: +SKIP
        torch.Size([1, 128])

    Reference:
        Wang & Isola, ICML 2020, arXiv 2005.10242; Chen et al., arXiv 2003.04297 (the MLP head).
    """
    released = RELEASE + (CLASSIFIER if with_linear_clf else ENCODER)
    path = weights_file(released if weights is None else weights, sha256, progress=progress)
    if not with_linear_clf:
        return read_encoder(path, arch="resnet50", dim=128, head="mlp", size=224)
    from torchvision.models import resnet50  # type: ignore[import-untyped]  # it is not typed

    classified = read_encoder(path, arch="resnet50", dim=1000, head="linear", size=224)
    network: nn.Module = resnet50(weights=None)
    network.load_state_dict(classified.state_dict())
    return network.eval()


def weights_file(
    weights: str | os.PathLike[str], sha256: str | None = None, *, progress: bool = True
) -> Path:
    """Return the path of a file of weights, after a download to torch.hub's folder if it is an https address.

    A file that is in that folder is not fetched again. The SHA-256 of a file that is fetched is written next
    to it, is printed on stderr, and is compared at each later use.

    Args:
        weights: a path or an https address.
        sha256: the SHA-256 that the file must have, 64 hexadecimal digits; None for any file.
        progress: whether to draw a bar on stderr during a download.

    Raises:
        OSError: the file could not be fetched or read.
        ValueError: the address is none of https, or the file has another SHA-256.
    """
    address = os.fspath(weights)
    if sha256 is not None and not re.fullmatch(r"[0-9a-fA-F]{64}", sha256):
        raise ValueError(f"a SHA-256 must be 64 hexadecimal digits, got {sha256!r}.")
    if "://" not in address:
        path = Path(address)
        if sha256 is not None:
            _check_digest(path, sha256, f"give the file with this SHA-256, or the SHA-256 of {path}")
        return path
    path = _place_of(address)
    record = path.with_name(f"{path.name}.sha256")
    if not path.exists():
        _fetch(address, path, progress=progress)
        digest = _digest(path)
        with written_whole(record) as partial:
            partial.write_text(f"{digest}  {path.name}\n", encoding="ascii")
        sys.stderr.write(f"{path} was fetched from {address}; its SHA-256 is {digest}.\n")
    remedy = f"remove {path} and {record.name} next to it to fetch it again"
    if sha256 is not None:
        _check_digest(path, sha256, remedy)
    elif record.exists():
        _check_digest(path, record.read_text(encoding="ascii").split()[0], remedy)
    return path


def _place_of(address: str) -> Path:
    """Return where a file of an https address is kept.

    Raises:
        ValueError: the address is none of https, or names no file.
    """
    parts = urlsplit(address)
    if parts.scheme != "https" or not parts.hostname:
        hint = f", such as {parts.path}" if parts.scheme == "file" else ""
        raise ValueError(
            f"weights must be a path or an https address, got {address}; give a path{hint}, or https://..."
        )
    name = parts.path.rpartition("/")[2] or "weights"
    if not address.startswith(RELEASE):  # files of the same name elsewhere are other files
        name = f"{hashlib.sha256(address.encode()).hexdigest()[:8]}-{name}"
    return Path(torch.hub.get_dir(), "checkpoints", name)


def _fetch(url: str, path: Path, *, progress: bool) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        # whole or not at all; load_state_dict_from_url would print on stdout, among the results, unpack
        # zip files of the old format under the names in them, and read nothing but torch's own files
        torch.hub.download_url_to_file(url, str(path), progress=progress)
    except (OSError, http.client.HTTPException) as error:
        raise _not_fetched(url, error) from error


def _digest(path: Path) -> str:
    """Return the SHA-256 of a file."""
    found = hashlib.sha256()
    with path.open("rb") as file:
        while part := file.read(1 << 20):
            found.update(part)
    return found.hexdigest()


def _check_digest(path: Path, expected: str, remedy: str) -> None:
    """Refuse a file that has another SHA-256."""
    if (found := _digest(path)) != expected.lower():
        raise ValueError(f"{path} must have the SHA-256 {expected.lower()}, it has {found}; {remedy}.")


def torchvision_encoder(name: str, weights: Path | None = None) -> tuple[nn.Module, int, Statistics]:
    """Return a network of torchvision without its last layer, with the size and statistics of its images.

    Args:
        name: name of a classifier of torchvision, such as resnet50 or vit_b_16.
        weights: file of weights. By default the released ones are fetched.

    Raises:
        OSError: the weights could not be fetched or read.
        ValueError: there is no such network, it does not end in a linear layer, or the weights do not fit.
    """
    with needs("recipes"):
        from torchvision import models  # type: ignore[import-untyped]  # it is not typed

    names = models.list_models(module=models)
    if name not in names:
        raise ValueError(f"torchvision has no classifier {name!r}; choose from {', '.join(names)}.")
    released = models.get_model_weights(name).DEFAULT
    try:
        with contextlib.redirect_stdout(sys.stderr):  # torch reports downloads on stdout
            network: nn.Module = models.get_model(name, weights=released if weights is None else None)
    except (OSError, RuntimeError) as error:  # RuntimeError: another checksum than torchvision's
        raise _not_fetched(released.url, error) from error
    removed = _remove_last_layer(network, name)
    if weights is not None:
        own = network.state_dict()
        found = state_like(own, weights)
        state = {name: value for name, value in found.items() if not name.startswith(removed)}
        check_fits(weights, own, state, f"Give weights of torchvision's {name}.")
        network.load_state_dict(state)
        if hasattr(network, "transform_input"):  # as with the released weights of GoogLeNet and Inception
            setattr(network, "transform_input", True)  # noqa: B010  # mypy takes it for a tensor or module
    transforms = released.transforms()
    return network, transforms.crop_size[0], Statistics(tuple(transforms.mean), tuple(transforms.std))


def _remove_last_layer(network: nn.Module, name: str) -> str:
    """Put the identity in the place of the last layer, and return the prefix of that layer's parameters."""
    linear = [path for path, module in network.named_modules() if isinstance(module, nn.Linear)]
    last = linear[-1] if linear else ""
    if not linear or list(network.modules())[-1] is not network.get_submodule(last):
        raise ValueError(
            f"{name} does not end in a linear layer, whose input would be its features; choose another "
            "network."
        )
    parent, _, child = last.rpartition(".")
    setattr(network.get_submodule(parent), child, nn.Identity())
    return f"{last}."


def _not_fetched(url: str, error: Exception) -> OSError:
    return OSError(
        f"{url} could not be fetched ({error}); fetch it in another way and pass its path as weights."
    )
